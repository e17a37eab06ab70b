// What Python and the transactors of the chip's ports hand each other: requests and answers of the host port, words of
// the load port, requests and answers of the ROM test port.
//
// RTL calls ep_host_next, ep_host_field, ep_host_answer, ep_load_word and ep_rom_test_* (DPI-C); Python calls the others
// through ctypes (src/etchproof/sim/host_port.py, load_port.py, rom_port.py). One thread, no locks.

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

// ep_sink.cpp
void ep_fail(const char* name, const std::string& message);
void ep_sink_mark();
bool ep_sink_has_room();

namespace {

// host_port.py packs and unpacks the same layouts.
constexpr unsigned kHostFields = 5;  // token, operation, slot, request stall, response stall
struct HostRequest {
    uint32_t fields[kHostFields];
    uint32_t fed_back;  // the token is the one that was answered last
};
static_assert(sizeof(HostRequest) == 24, "host_port.py packs 6 words");

struct HostAnswer {
    uint32_t token_in;
    uint32_t op;
    uint32_t slot;
    uint32_t token_out;
    uint32_t position;
    uint32_t status;
    uint32_t cycles;
    uint32_t request_stall;
    uint32_t response_stall;
};
static_assert(sizeof(HostAnswer) == 36, "host_port.py unpacks 9 words");

struct Host {
    std::vector<HostRequest> requests;
    std::vector<uint32_t> stop_tokens;
    bool ends_at_refusal = false;
    uint64_t pause_cycles = 0;
    uint64_t next = 0;    // index of the request that is next
    uint64_t cycles = 0;  // of this burst's answers
    bool paused = false;
    HostRequest current{};
    HostAnswer last{};
    std::vector<HostAnswer> answers;  // that Python has not taken
};

// A range of words asked of the ROM test port, and what came.
constexpr unsigned kRomTestFields = 5;  // operation, unit, first word, words, seed of stalls
struct RomTest {
    std::array<uint32_t, kRomTestFields> fields{};
    std::vector<uint32_t> slices;
    uint32_t status = 0;
    uint32_t cycles = 0;
    bool ended = false;
};

Host host;
std::vector<uint32_t> load_words;  // what the host sends next to the load port
RomTest rom_test;

}  // namespace

// From RTL ------------------------------------------------------------------------------------------------------

// Makes the next request the current one; 0 where the burst ends.
extern "C" unsigned ep_host_next() {
    if (host.next == host.requests.size()) return 0;
    HostRequest request = host.requests[host.next];
    if (host.next > 0) {
        if (host.ends_at_refusal && host.last.status) return 0;
        if (request.fed_back) {
            const auto& stop = host.stop_tokens;
            if (std::find(stop.begin(), stop.end(), host.last.token_out) != stop.end()) return 0;
            request.fields[0] = host.last.token_out;
        }
        host.paused = host.cycles >= host.pause_cycles || !ep_sink_has_room();
        if (host.paused) return 0;
    }
    host.current = request;
    ++host.next;
    return 1;
}

extern "C" unsigned ep_host_field(unsigned field) { return host.current.fields[field % kHostFields]; }

extern "C" void ep_host_answer(unsigned token_in, unsigned op, unsigned slot, unsigned token_out, unsigned position,
                               unsigned status, unsigned cycles) {
    host.last = {token_in,
                 op,
                 slot,
                 token_out,
                 position,
                 status,
                 cycles,
                 host.current.fields[3],
                 host.current.fields[4]};
    host.cycles += cycles;
    host.answers.push_back(host.last);
    ep_sink_mark();
}

// The host's word at `index`.
extern "C" unsigned ep_load_word(unsigned index) {
    if (index < load_words.size()) return load_words[index];
    ep_fail("load_words", "word " + std::to_string(index) + " of " + std::to_string(load_words.size()));
    return 0;
}

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

// The next burst. It pauses after an answer when its answers have taken `pause_cycles`, or memory for taps runs out.
extern "C" void ep_host_ask(const HostRequest* requests, uint64_t count, const uint32_t* stop_tokens,
                            uint64_t stop_count, int ends_at_refusal, uint64_t pause_cycles) {
    host.requests.assign(requests, requests + count);
    host.stop_tokens.assign(stop_tokens, stop_tokens + stop_count);
    host.ends_at_refusal = ends_at_refusal != 0;
    host.pause_cycles = pause_cycles;
    host.next = host.cycles = 0;
    host.paused = false;
}

// The answers since `ep_host_taken`.
extern "C" const HostAnswer* ep_host_answers(uint64_t* count) {
    *count = host.answers.size();
    return host.answers.data();
}

extern "C" void ep_host_taken() { host.answers.clear(); }

// Whether requests are left that would have been played but for a pause.
extern "C" int ep_host_paused() { return host.paused; }

// The words that the load port's host sends from now on.
extern "C" void ep_load_set(const uint32_t* words, uint64_t count) { load_words.assign(words, words + count); }

extern "C" const uint32_t* ep_load_get(uint64_t* count) {
    *count = load_words.size();
    return load_words.data();
}

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
