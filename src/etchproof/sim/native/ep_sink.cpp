// What a simulation holds in memory for Python: taps out of the chip, ROM images into the chip. Ports of the chip have
// C++ of their own, which sees ep_sink.h.
//
// RTL calls ep_tap_write_* and ep_rom_load_* (DPI-C); Python calls the ep_sink_* functions through ctypes
// (src/etchproof/sim/sink.py), which is why the simulator is linked with -rdynamic. One thread, no locks.
//
// Every open array is read where Verilator keeps it: row-major, each element in the smallest of 1, 2, 4 or 8 bytes
// that holds it, bits above its width zero. svGetArrayPtr gives null for arrays of `logic`, hence the Verilator header.
//
// An error is kept: the first one stands, no record is written after it, and the simulator's exit status is not zero.

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "ep_sink.h"
#if VM_TRACE_FST
#include "ep_waves.h"
#endif
#include "svdpi.h"
#include "verilated.h"
#include "verilated_sym_props.h"

// The name that the compiler gives to VL_READMEM_N; src/etchproof/sim/build.py has it, too.
#define EP_READMEM "_Z12VL_READMEM_NbimiRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEPvmm"

namespace {

// Ahead of each tap; sink.py unpacks the same layout.
struct Header {
    uint32_t id;
    int32_t layer;
    uint32_t pos;
    uint32_t count;          // elements
    uint32_t element_bytes;  // 1, 2, 4 or 8
    uint32_t sequence;       // consecutive from 0, modulo 2^32
    uint64_t time;           // simulation time, in units of the time precision
};
static_assert(sizeof(Header) == 32, "sink.py unpacks 32 bytes");

constexpr uint64_t kDefaultTapBytes = 64ULL << 20;
constexpr uint64_t kMinTapBytes = 4096;

constexpr int kErrorsShown = 10;  // on stderr; each counts

struct Image {
    uint64_t bytes;
    std::string path;
    uint64_t loads = 0;
};

// The end of a token's records.
struct Mark {
    uint64_t used;
    uint64_t records;
};
static_assert(sizeof(Mark) == 16, "sink.py unpacks 2 words");

struct Sink {
    uint8_t* base = nullptr;
    uint64_t capacity = 0;
    uint64_t used = 0;           // bytes that Python has not taken: where the next record goes
    uint64_t records = 0;        // ever written
    std::vector<Mark> marks;     // the ends of tokens that Python has not taken
    uint64_t largest_token = 0;  // bytes of its records
    bool enabled = true;
    std::string error;
    int errors_shown = 0;
    bool index_read = false;
    std::map<std::pair<int, std::string>, Image> images;
    std::string unloaded;  // what ep_sink_unloaded returns
    std::map<std::string, int> tap_ids;
    std::vector<std::string> tap_names;  // by id
    std::string names;                   // what ep_sink_names returns
};

Sink sink;

}  // namespace

extern "C" std::FILE* __real_fopen(const char* name, const char* mode);

void ep_fail(const char* name, const std::string& message) {
    if (sink.errors_shown < kErrorsShown) {
        ++sink.errors_shown;
        std::fprintf(stderr, "etchproof: %s: %s\n", name, message.c_str());
        std::fflush(stderr);
    }
    Verilated::threadContextp()->errorCountInc();
    if (sink.error.empty()) sink.error = std::string{name} + ": " + message;
}

namespace {

bool allocate(uint64_t bytes) {
    const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    bytes = (bytes + page - 1) / page * page;
    void* const base =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        ep_fail("tap_memory", "cannot map " + std::to_string(bytes) + " bytes");
        return false;
    }
    sink.base = static_cast<uint8_t*>(base);
    sink.capacity = bytes;
    return true;
}

bool ensure_memory() {
    if (sink.base) return true;
    uint64_t bytes = kDefaultTapBytes;
    if (const char* const text = std::getenv("ETCHPROOF_TAP_BYTES")) {
        char* end = nullptr;
        bytes = std::strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || bytes < kMinTapBytes || bytes > (1ULL << 40)) {
            ep_fail("tap_bytes", std::string{"ETCHPROOF_TAP_BYTES is '"} + text + "', expected 4096 .. 2^40");
            return false;
        }
    }
    return allocate(bytes);
}

// Where a record of `bytes` goes, or null when there is no room beside what Python has not taken.
uint8_t* reserve(uint64_t bytes) {
    if (bytes > sink.capacity - sink.used) return nullptr;
    uint8_t* const to = sink.base + sink.used;
    sink.used += bytes;
    return to;
}

std::string image_name(int layer, const std::string& name) {
    return "layer " + std::to_string(layer) + " " + name;
}

// Reads the text index: a line `layer name bytes path` for each image, the path last and up to the line's end.
bool read_index() {
    if (sink.index_read) return true;
    const char* const file = std::getenv("ETCHPROOF_IMAGES");
    if (!file || !*file) {
        ep_fail("image_index", "ETCHPROOF_IMAGES is not set");
        return false;
    }
    std::ifstream stream{file};
    if (!stream) {
        ep_fail("image_index", std::string{file} + " cannot be read");
        return false;
    }
    std::string line;
    for (int number = 1; std::getline(stream, line); ++number) {
        if (line.empty()) continue;
        std::istringstream words{line};
        int layer = 0;
        std::string name;
        Image image;
        words >> layer >> name >> image.bytes;
        if (words) words.ignore(1);
        if (!words || !std::getline(words, image.path) || image.path.empty()
            || !sink.images.emplace(std::make_pair(layer, name), image).second) {
            ep_fail("image_index", std::string{file} + " line " + std::to_string(number) + ": '" + line
                                    + "' is a repeated entry or not 'layer name bytes path'");
            return false;
        }
    }
    sink.index_read = true;
    return true;
}

uint64_t power_of_two_above(uint64_t n) {
    uint64_t power = 2;
    while (power < n) power *= 2;
    return power;
}

template <typename T>
bool exceeds(const uint8_t* data, uint64_t bytes, int bits) {
    const T mask = static_cast<T>(~T{0} << bits);
    T seen = 0;
    for (uint64_t at = 0; at < bytes; at += sizeof(T)) {
        T element;
        std::memcpy(&element, data + at, sizeof(T));
        seen |= element;
    }
    return (seen & mask) != 0;
}

bool exceeds(const uint8_t* data, uint64_t bytes, int bits, uint64_t element_bytes) {
    if (static_cast<uint64_t>(bits) == 8 * element_bytes) return false;
    switch (element_bytes) {
    case 1: return exceeds<uint8_t>(data, bytes, bits);
    case 2: return exceeds<uint16_t>(data, bytes, bits);
    case 4: return exceeds<uint32_t>(data, bytes, bits);
    default: return exceeds<uint64_t>(data, bytes, bits);
    }
}

// Bytes of one element where Verilator keeps it; 0 above 64 bits.
uint64_t storage_bytes(int bits) { return bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : bits <= 64 ? 8 : 0; }

// A simulator must not outlive the run that started it, not even when that was killed.
__attribute__((constructor)) void die_with_parent() {
    const char* const parent = std::getenv("ETCHPROOF_PARENT");
    if (!parent) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != std::atoi(parent)) _exit(1);  // it died before the line above
}

}  // namespace

// From ep_ports.cpp ---------------------------------------------------------------------------------------------

void ep_sink_mark() {
    const uint64_t before = sink.marks.empty() ? 0 : sink.marks.back().used;
    sink.largest_token = std::max(sink.largest_token, sink.used - before);
    sink.marks.push_back({sink.used, sink.records});
}

// Records grow with the position, but from one token to the next not to twice the size.
bool ep_sink_has_room() { return sink.capacity - sink.used >= 2 * sink.largest_token; }

// From RTL ------------------------------------------------------------------------------------------------------

// The number of a tap's name: the next one for a name that was not asked for before.
extern "C" int ep_tap_find(const char* name) {
    const auto [entry, is_new] = sink.tap_ids.try_emplace(name, static_cast<int>(sink.tap_names.size()));
    if (is_new) sink.tap_names.emplace_back(name);
    return entry->second;
}

extern "C" void ep_tap_unwritten(int layer, int id, int pos, int element) {
    if (!sink.enabled) return;
    ep_fail("tap_unwritten", "layer " + std::to_string(layer) + " " + sink.tap_names[static_cast<size_t>(id)]
                              + " of position " + std::to_string(pos) + ": element " + std::to_string(element)
                              + " was not written");
}

// Appends the first `count` elements of `data`, in row-major order.
extern "C" void ep_tap_write(int layer, int id, int pos, int count, const svOpenArrayHandle data) {
    if (!sink.enabled || !sink.error.empty()) return;
    const VerilatedDpiOpenVar* const array = static_cast<const VerilatedDpiOpenVar*>(data);
    if (id < 0 || static_cast<uint64_t>(id) >= sink.tap_names.size()) {
        return ep_fail("unknown_tap", "layer " + std::to_string(layer) + " id " + std::to_string(id) + " has no name");
    }
    const auto tap = [&] { return "layer " + std::to_string(layer) + " " + sink.tap_names[static_cast<size_t>(id)]; };
    const int bits = array->entBits();
    if (bits != 8 && bits != 16 && bits != 32 && bits != 64) {
        return ep_fail("tap_width", tap() + " has elements of " + std::to_string(bits) + " bits, not 8, 16, 32 or 64");
    }
    const uint64_t element_bytes = static_cast<uint64_t>(bits) / 8;
    const uint64_t elements = array->totalSize() / element_bytes;
    if (count < 1 || static_cast<uint64_t>(count) > elements) {
        return ep_fail("tap_count", tap() + " has a count of " + std::to_string(count) + ", expected 1 .. "
                                     + std::to_string(elements));
    }
    if (!ensure_memory()) return;
    const uint64_t payload = static_cast<uint64_t>(count) * element_bytes;
    const uint64_t bytes = sizeof(Header) + (payload + 7) / 8 * 8;
    uint8_t* const to = reserve(bytes);
    if (!to) {
        return ep_fail("tap_overflow", tap() + " needs " + std::to_string(bytes) + " bytes, "
                                        + std::to_string(sink.used) + " of " + std::to_string(sink.capacity)
                                        + " are not taken");
    }
    const Header header{static_cast<uint32_t>(id),
                        layer,
                        static_cast<uint32_t>(pos),
                        static_cast<uint32_t>(count),
                        static_cast<uint32_t>(element_bytes),
                        static_cast<uint32_t>(sink.records),
                        static_cast<uint64_t>(Verilated::time())};
    std::memcpy(to, &header, sizeof header);
    std::memcpy(to + sizeof header, array->datap(), payload);
    ++sink.records;
#if VM_TRACE_FST
    ep_waves_tap(layer, sink.tap_names[static_cast<size_t>(id)].c_str(), pos, count, static_cast<int>(element_bytes),
                 array->datap());
#endif
}

// Fills `data` from the image of (layer, name). The array may be deeper than the image in its first dimension, when
// its depth is the next power of two (at least 2): the rest is zero. Every other difference in size is an error.
extern "C" void ep_rom_load(int layer, const char* name, const svOpenArrayHandle data) {
    const VerilatedDpiOpenVar* const array = static_cast<const VerilatedDpiOpenVar*>(data);
    uint8_t* const storage = static_cast<uint8_t*>(array->datap());
    const uint64_t total = array->totalSize();
    const std::string key = image_name(layer, name);
    std::memset(storage, 0, total);
    if (!read_index()) return;
    const auto entry = sink.images.find({layer, name});
    if (entry == sink.images.end()) return ep_fail("image_missing", key + " is not in the index of images");
    Image& image = entry->second;
    const std::string where = key + ": " + image.path;

    const int bits = array->entBits();
    const uint64_t element_bytes = storage_bytes(bits);
    if (!element_bytes) return ep_fail("image_width", where + ": the ROM's elements are wider than 64 bits");
    const uint64_t depth = static_cast<uint64_t>(array->elements(1));
    const uint64_t row_bytes = total / depth;
    const uint64_t rows = image.bytes / row_bytes;
    if (image.bytes == 0 || image.bytes % row_bytes || (depth != rows && depth != power_of_two_above(rows))) {
        return ep_fail("image_size", where + " has " + std::to_string(image.bytes) + " bytes, the ROM "
                                      + std::to_string(depth) + " rows of " + std::to_string(row_bytes) + " bytes");
    }
    std::FILE* const file = __real_fopen(image.path.c_str(), "rb");  // the engine's own reading is not listed
    if (!file) return ep_fail("image_missing", where + " cannot be opened");
    const uint64_t got = std::fread(storage, 1, image.bytes, file);
    const bool is_longer = std::fgetc(file) != EOF;
    std::fclose(file);
    if (got != image.bytes) {
        return ep_fail("image_short", where + " has " + std::to_string(got) + " bytes, " + std::to_string(image.bytes)
                                       + " in the index");
    }
    if (is_longer) return ep_fail("image_long", where + " is longer than its " + std::to_string(image.bytes) + " bytes");
    if (exceeds(storage, image.bytes, bits, element_bytes)) {
        std::memset(storage, 0, total);
        return ep_fail("image_bits", where + " has an element that does not fit in " + std::to_string(bits) + " bits");
    }
    // What lies outside the layers (tables) may be held by several of them.
    if (++image.loads > 1 && layer >= 0) ep_fail("image_repeated", key + " is loaded by two ROMs");
}

// Every fopen of the simulator comes here (linked with --wrap=fopen), that of $readmemh among them. What is opened for
// reading is listed in the file that ETCHPROOF_OPENED names, a line each.
extern "C" std::FILE* __wrap_fopen(const char* name, const char* mode) {
    std::FILE* const file = __real_fopen(name, mode);
    static const char* const list = std::getenv("ETCHPROOF_OPENED");
    static std::set<std::string> listed;
    if (file && list && *mode == 'r' && listed.insert(name).second) {
        std::ofstream{list, std::ios::app} << "file " << name << '\n';
    }
    return file;
}

// Every $readmemh and $readmemb of an array with a size comes here, likewise: the array, its rows, the first and last
// that are filled, and their bits. Verilator cuts a word that is wider without a warning.
using ReadMemory = void(bool, int, QData, int, const std::string&, void*, QData, QData);
[[maybe_unused]] static ReadMemory* const kReadMemory = &VL_READMEM_N;  // of the type that EP_READMEM spells
void __real_readmem(bool hex, int bits, QData depth, int lsb, const std::string& name, void* memory, QData start,
                    QData end) __asm__("__real_" EP_READMEM);
void __wrap_readmem(bool hex, int bits, QData depth, int lsb, const std::string& name, void* memory, QData start,
                    QData end) __asm__("__wrap_" EP_READMEM);
void __wrap_readmem(bool hex, int bits, QData depth, int lsb, const std::string& name, void* memory, QData start,
                    QData end) {
    __real_readmem(hex, bits, depth, lsb, name, memory, start, end);
    static const char* const list = std::getenv("ETCHPROOF_OPENED");
    if (!list) return;
    const QData first = std::max<QData>(start, lsb), last = std::min<QData>(end, lsb + depth - 1);
    std::ofstream{list, std::ios::app} << "array " << memory << ' ' << depth << ' ' << first - lsb << ' ' << last - lsb << ' '
                                       << bits << ' ' << name << '\n';
}

// The standard wants one type of argument for each C name (IEEE 1800-2017, 35.5.4), so every element width, and for
// ROMs every number of dimensions and signedness, has a name of its own: ep_tap_write_16, ep_rom_load_6_3 (6 bits,
// 3 dimensions), ep_rom_load_s6_3 (the same, for a ROM of signed elements).
#define EP_TAP(bits) \
    extern "C" void ep_tap_write_##bits(int, int, int, int, const svOpenArrayHandle) \
        __attribute__((alias("ep_tap_write")));
#define EP_ROM_OF(bits, dims) \
    extern "C" void ep_rom_load_##bits##_##dims(int, const char*, const svOpenArrayHandle) \
        __attribute__((alias("ep_rom_load")));
#define EP_ROM(bits) \
    EP_ROM_OF(bits, 1) EP_ROM_OF(bits, 2) EP_ROM_OF(bits, 3) \
    EP_ROM_OF(s##bits, 1) EP_ROM_OF(s##bits, 2) EP_ROM_OF(s##bits, 3)
EP_TAP(8) EP_TAP(16) EP_TAP(32) EP_TAP(64)
EP_ROM(1) EP_ROM(2) EP_ROM(3) EP_ROM(4) EP_ROM(5) EP_ROM(6) EP_ROM(7) EP_ROM(8) EP_ROM(9) EP_ROM(10) EP_ROM(11)
EP_ROM(12) EP_ROM(13) EP_ROM(14) EP_ROM(15) EP_ROM(16) EP_ROM(17) EP_ROM(18) EP_ROM(19) EP_ROM(20) EP_ROM(21)
EP_ROM(22) EP_ROM(23) EP_ROM(24) EP_ROM(25) EP_ROM(26) EP_ROM(27) EP_ROM(28) EP_ROM(29) EP_ROM(30) EP_ROM(31)
EP_ROM(32) EP_ROM(64)

// From Python ---------------------------------------------------------------------------------------------------

// Sets the capacity, before the first tap; 0 when it is too late or impossible.
extern "C" int ep_sink_configure(uint64_t bytes) {
    if (sink.base || bytes < kMinTapBytes) return 0;
    return allocate(bytes);
}

extern "C" const uint8_t* ep_sink_base() { return ensure_memory() ? sink.base : nullptr; }
extern "C" uint64_t ep_sink_capacity() { return sink.capacity; }
extern "C" uint64_t ep_sink_used() { return sink.used; }
extern "C" uint64_t ep_sink_records() { return sink.records; }
extern "C" const char* ep_sink_error() { return sink.error.c_str(); }
// The names of all taps, by id, a line each.
extern "C" const char* ep_sink_names() {
    sink.names.clear();
    for (const std::string& name : sink.tap_names) sink.names += name + "\n";
    return sink.names.c_str();
}
extern "C" void ep_sink_enable(int enabled) { sink.enabled = enabled != 0; }

// The ends of tokens; those before were taken.
extern "C" const Mark* ep_sink_marks(uint64_t* count) {
    *count = sink.marks.size();
    return sink.marks.data();
}

// Python has copied the first `bytes`, whole tokens or everything: what is left moves to the beginning, so that the next
// records go where the last ones went, within the same cached pages.
extern "C" void ep_sink_taken(uint64_t bytes) {
    sink.used -= bytes;
    std::memmove(sink.base, sink.base + bytes, sink.used);
    sink.marks.clear();
}

extern "C" uint64_t ep_sink_index_count() { return read_index() ? sink.images.size() : 0; }

// Distinct images that were loaded.
extern "C" uint64_t ep_sink_loaded_count() {
    uint64_t loaded = 0;
    for (const auto& [key, image] : sink.images) loaded += image.loads != 0;
    return loaded;
}

// The images of the index that no ROM has loaded, one a line: `layer name`.
extern "C" const char* ep_sink_unloaded() {
    sink.unloaded.clear();
    if (!read_index()) return "";
    for (const auto& [key, image] : sink.images) {
        if (!image.loads) sink.unloaded += std::to_string(key.first) + " " + key.second + "\n";
    }
    return sink.unloaded.c_str();
}
