// Waves of a simulation (ep_waves.h).
//
// Arguments, each `+name=value`:
//   ep_waves        the FST file; without it nothing is written
//   ep_waves_taps   a text file with a line for each tap that gets signals: `layer name bits elements scope tap-scope`
//   ep_waves_scopes a text file with a line for each scope that is written, `levels scope`: 1 is its own signals alone.
//                   Without it every scope is
//   ep_waves_from   the first time that is written, in units of time's precision; ep_waves_until the last
//   ep_waves_bytes  where the file has grown to so many bytes, nothing more is written
//   ep_waves_only   write the file's signals, at time 0, and end
//
// A tap's signals stand in taps.SCOPE.TAP-SCOPE: `records` counts its records, `pos` and `count` are of the last one, and
// `lane_I` is its element I. They change where the record is written, at the edge of the clock.
//
// What is written is handed to the system four times a second, so that a simulator that is killed loses little. The FST
// library writes the names of signals at the very end; etchproof.waves.fst puts them into a file that was left without.

#include "ep_waves.h"

#include <sys/stat.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "Vtop.h"
#include "ep_sink.h"
#include "verilated.h"
#include "verilated_fst_c.h"

namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr int kDepth = 99;          // levels of the hierarchy
constexpr int kStepsPerLook = 256;  // between two looks at the clock of the wall
constexpr std::chrono::milliseconds kFlush{250};

struct Tap {
    int layer = 0;
    std::string name, scope, own_scope;
    int bits = 0;
    std::uint32_t elements = 0;
    std::uint32_t code = 0;  // of its first signal
    std::uint32_t records = 0, pos = 0, count = 0;
    std::vector<std::uint64_t> lanes;
    bool changed = false;

    std::uint32_t words() const { return bits > 32 ? 2 : 1; }  // codes of a lane
    std::uint32_t codes() const { return 3 + words() * elements; }
};

std::vector<Tap> taps;
std::map<std::pair<int, std::string>, std::size_t> places;

std::string argument(VerilatedContext& context, const char* name) {
    const std::string prefix = std::string{name} + "=";
    const std::string found = context.commandArgsPlusMatch(prefix.c_str());  // with its plus sign
    return found.empty() ? found : found.substr(prefix.size() + 1);
}

std::uint64_t number(VerilatedContext& context, const char* name, std::uint64_t otherwise) {
    const std::string text = argument(context, name);
    return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 10);
}

void read_taps(const std::string& file) {
    std::ifstream stream{file};
    std::string line;
    while (std::getline(stream, line)) {
        std::istringstream words{line};
        Tap tap;
        if (!(words >> tap.layer >> tap.name >> tap.bits >> tap.elements >> tap.scope >> tap.own_scope)) {
            ep_fail("waves_taps", file + ": '" + line + "' is no tap");
            return;
        }
        tap.lanes.resize(tap.elements);
        places.emplace(std::make_pair(tap.layer, tap.name), taps.size());
        taps.push_back(std::move(tap));
    }
}

void read_scopes(const std::string& file, VerilatedFstC& trace) {
    std::ifstream stream{file};
    std::string line;
    while (std::getline(stream, line)) {
        std::istringstream words{line};
        int levels = 0;
        std::string scope;
        if (!(words >> levels >> scope) || levels < 1) {
            ep_fail("waves_scopes", file + ": '" + line + "' is no scope");
            return;
        }
        trace.dumpvars(levels, scope);
    }
}

void declare(void*, VerilatedFst* trace, std::uint32_t code) {
    constexpr auto kNone = VerilatedTraceSigDirection::NONE;
    constexpr auto kVar = VerilatedTraceSigKind::VAR;
    constexpr auto kLogic = VerilatedTraceSigType::LOGIC;
    constexpr auto kScope = VerilatedTracePrefixType::SCOPE_MODULE;
    trace->pushPrefix("taps", kScope);
    for (std::size_t at = 0; at < taps.size(); ++at) {
        Tap& tap = taps[at];
        if (at == 0 || taps[at - 1].scope != tap.scope) trace->pushPrefix(tap.scope.c_str(), kScope);
        trace->pushPrefix(tap.own_scope.c_str(), kScope);
        tap.code = code;
        trace->declBus(code, "records", -1, kNone, kVar, kLogic, 31, 0);
        trace->declBus(code + 1, "pos", -1, kNone, kVar, kLogic, 31, 0);
        trace->declBus(code + 2, "count", -1, kNone, kVar, kLogic, 31, 0);
        for (std::uint32_t lane = 0; lane < tap.elements; ++lane) {
            const std::uint32_t own = code + 3 + lane * tap.words();
            const std::string name = "lane_" + std::to_string(lane);  // viewers differ on elements of arrays
            if (tap.bits > 32) {
                trace->declQuad(own, name.c_str(), -1, kNone, kVar, kLogic, tap.bits - 1, 0);
            } else {
                trace->declBus(own, name.c_str(), -1, kNone, kVar, kLogic, tap.bits - 1, 0);
            }
        }
        code += tap.codes();
        trace->popPrefix();
        if (at + 1 == taps.size() || taps[at + 1].scope != tap.scope) trace->popPrefix();
    }
    trace->popPrefix();
}

template <bool kFull>
void dump(void*, VerilatedFst::Buffer* buffer) {
    for (Tap& tap : taps) {
        if (!kFull && !tap.changed) continue;
        tap.changed = false;
        const std::uint32_t values[] = {tap.records, tap.pos, tap.count};
        for (std::uint32_t at = 0; at < 3; ++at) {
            std::uint32_t* const old = buffer->oldp(tap.code + at);
            kFull ? buffer->fullIData(old, values[at], 32) : buffer->chgIData(old, values[at], 32);
        }
        for (std::uint32_t lane = 0; lane < tap.elements; ++lane) {
            std::uint32_t* const old = buffer->oldp(tap.code + 3 + lane * tap.words());
            const std::uint64_t value = tap.lanes[lane];
            if (tap.bits > 32) {
                kFull ? buffer->fullQData(old, value, tap.bits) : buffer->chgQData(old, value, tap.bits);
            } else {
                const auto narrow = static_cast<IData>(value);
                kFull ? buffer->fullIData(old, narrow, tap.bits) : buffer->chgIData(old, narrow, tap.bits);
            }
        }
    }
}

}  // namespace

void ep_waves_tap(int layer, const char* name, int pos, int count, int bytes, const void* data) {
    if (taps.empty()) return;
    const auto found = places.find({layer, name});
    if (found == places.end()) return;
    Tap& tap = taps[found->second];
    if (8 * bytes != tap.bits) return;  // another type than was declared: the run fails for it
    ++tap.records;
    tap.pos = static_cast<std::uint32_t>(pos);
    tap.count = static_cast<std::uint32_t>(count);
    tap.changed = true;
    const auto* from = static_cast<const std::uint8_t*>(data);
    for (std::size_t lane = 0; lane < tap.lanes.size() && lane < tap.count; ++lane, from += bytes) {
        std::uint64_t value = 0;
        std::memcpy(&value, from, static_cast<std::size_t>(bytes));
        tap.lanes[lane] = value;
    }
}

struct EpWaves::Impl {
    VerilatedContext& context;
    VerilatedFstC trace;
    std::string file;
    std::uint64_t from, until, bytes;
    bool only;
    bool ended = false;
    int steps = 0;
    std::chrono::steady_clock::time_point flushed = std::chrono::steady_clock::now();

    explicit Impl(VerilatedContext& of)
        : context{of}
        , file{argument(of, "ep_waves")}
        , from{number(of, "ep_waves_from", 0)}
        , until{number(of, "ep_waves_until", kNever)}
        , bytes{number(of, "ep_waves_bytes", kNever)}
        , only{!argument(of, "ep_waves_only").empty()} {}

    void end() {
        ended = true;
        if (trace.isOpen()) trace.close();
    }
};

EpWaves::EpWaves(VerilatedContext& context, Vtop& top)
    : m_impl{std::make_unique<Impl>(context)} {
    if (m_impl->file.empty()) {
        m_impl->ended = true;
        return;
    }
    if (const std::string file = argument(context, "ep_waves_taps"); !file.empty()) read_taps(file);
    context.traceEverOn(true);
    if (const std::string file = argument(context, "ep_waves_scopes"); !file.empty()) {
        read_scopes(file, m_impl->trace);
    }
    top.trace(&m_impl->trace, kDepth);
    if (!taps.empty()) {
        std::uint32_t codes = 0;
        for (const Tap& tap : taps) codes += tap.codes();
        VerilatedFst* const trace = m_impl->trace.spTrace();
        trace->addInitCb(&declare, nullptr, "taps", false, codes);
        trace->addFullCb(&dump<true>, 0, nullptr);
        trace->addChgCb(&dump<false>, 0, nullptr);
    }
    if (m_impl->only) {
        m_impl->trace.open(m_impl->file.c_str());
        m_impl->trace.dump(std::uint64_t{0});
        m_impl->end();
    }
}

EpWaves::~EpWaves() { close(); }

bool EpWaves::only_signals() const { return m_impl->only; }

void EpWaves::step() {
    Impl& own = *m_impl;
    if (own.ended) return;
    const std::uint64_t now = own.context.time();
    if (now < own.from) return;
    if (now > own.until) return own.end();
    if (!own.trace.isOpen()) own.trace.open(own.file.c_str());
    own.trace.dump(now);
    if (++own.steps % kStepsPerLook) return;
    const auto clock = std::chrono::steady_clock::now();
    if (clock - own.flushed < kFlush) return;
    own.flushed = clock;
    own.trace.flush();
    struct stat found {};
    if (stat(own.file.c_str(), &found) == 0 && static_cast<std::uint64_t>(found.st_size) > own.bytes) own.end();
}

void EpWaves::close() {
    if (m_impl) m_impl->end();
}
