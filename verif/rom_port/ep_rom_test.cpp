// What Python and the ROM test port's transactor (ep_rom_bfm.sv) hand each other: a range of words, and what came.
//
// RTL calls ep_rom_test_* (DPI-C); Python calls ep_rom_read_* through ctypes (port.py). One thread, no locks.

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace {

// A range of words asked of the ROM test port, and what came.
constexpr unsigned kRomTestFields = 5;  // operation, unit, first word, words, seed of stalls
struct RomTest {
    std::array<uint32_t, kRomTestFields> fields{};
    std::vector<uint32_t> slices;
    uint32_t status = 0;
    uint32_t cycles = 0;
    bool ended = false;
};

RomTest rom_test;

}  // namespace

// From RTL ------------------------------------------------------------------------------------------------------

// The host's request to the ROM test port, field by field.
extern "C" unsigned ep_rom_test_field(unsigned field) { return rom_test.fields[field % kRomTestFields]; }

// An answer of the ROM test port; a refusal has no data.
extern "C" void ep_rom_test_answer(unsigned data, unsigned status) {
    rom_test.status = status;
    if (!status) rom_test.slices.push_back(data);
}

extern "C" void ep_rom_test_end(unsigned cycles) {
    rom_test.cycles = cycles;
    rom_test.ended = true;
}

// From Python ---------------------------------------------------------------------------------------------------

// The next request to the ROM test port.
extern "C" void ep_rom_read_ask(const uint32_t* fields) {
    std::copy_n(fields, kRomTestFields, rom_test.fields.begin());
    rom_test.slices.clear();
    rom_test.ended = false;
}

// The slices that were answered since; null while the request is not ended.
extern "C" const uint32_t* ep_rom_read_answer(uint64_t* count, uint32_t* status, uint32_t* cycles) {
    *count = rom_test.slices.size();
    *status = rom_test.status;
    *cycles = rom_test.cycles;
    static const uint32_t nothing = 0;
    return !rom_test.ended ? nullptr : rom_test.slices.empty() ? &nothing : rom_test.slices.data();
}
