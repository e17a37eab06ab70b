// What Python and the load port's transactor (ep_load_bfm.sv) hand each other: the words of a frame. And a back door into
// the SRAMs that loads fill.
//
// RTL calls ep_load_word and ep_sram_open (DPI-C); Python calls the others through ctypes (port.py). One thread, no locks.
//
// svGetArrayPtr gives null for arrays of `logic`, hence the Verilator header.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ep_sink.h"
#include "svdpi.h"
#include "verilated.h"
#include "verilated_sym_props.h"

namespace {

// A memory of the chip where Verilator keeps it.
struct Sram {
    void* data;
    uint64_t words;
    uint64_t lanes;
};

std::vector<uint32_t> load_words;  // what the host sends next
std::map<std::pair<int, std::string>, Sram> srams;

}  // namespace

// From RTL ------------------------------------------------------------------------------------------------------

// The host's word at `index`.
extern "C" unsigned ep_load_word(unsigned index) {
    if (index < load_words.size()) return load_words[index];
    ep_fail("load_words", "word " + std::to_string(index) + " of " + std::to_string(load_words.size()));
    return 0;
}

// Shows an SRAM of 16-bit elements to Python; it stays where it is as long as the simulation lives.
extern "C" void ep_sram_open(int layer, const char* name, const svOpenArrayHandle data) {
    const VerilatedDpiOpenVar* const array = static_cast<const VerilatedDpiOpenVar*>(data);
    const uint64_t words = static_cast<uint64_t>(array->elements(1));
    const uint64_t lanes = static_cast<uint64_t>(array->elements(2));
    const std::string what = "layer " + std::to_string(layer) + " " + name;
    if (array->entBits() != 16 || array->totalSize() != words * lanes * 2) {
        return ep_fail("sram_width", what + " is not of 16-bit elements");
    }
    if (!srams.emplace(std::make_pair(layer, std::string{name}), Sram{array->datap(), words, lanes}).second) {
        ep_fail("sram_repeated", what + " is opened twice");
    }
}

// From Python ---------------------------------------------------------------------------------------------------

// The words that the load port's host sends from now on.
extern "C" void ep_load_set(const uint32_t* words, uint64_t count) { load_words.assign(words, words + count); }

extern "C" const uint32_t* ep_load_get(uint64_t* count) {
    *count = load_words.size();
    return load_words.data();
}

// Where an SRAM lies, int16 [words][lanes]; null when there is none of that name.
extern "C" void* ep_sram_find(int layer, const char* name, uint64_t* words, uint64_t* lanes) {
    const auto entry = srams.find({layer, name});
    if (entry == srams.end()) return nullptr;
    *words = entry->second.words;
    *lanes = entry->second.lanes;
    return entry->second.data;
}
