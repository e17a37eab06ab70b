// What Python and the host port's transactor (ep_host_queue.sv) hand each other: requests of a burst, and their answers.
//
// RTL calls ep_host_next, ep_host_field and ep_host_answer (DPI-C); Python calls the others through ctypes (port.py). One
// thread, no locks.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ep_sink.h"

namespace {

// port.py packs and unpacks the same layouts.
constexpr unsigned kHostFields = 5;  // token, operation, slot, request stall, response stall
struct HostRequest {
    uint32_t fields[kHostFields];
    uint32_t fed_back;  // the token is the one that was answered last
};
static_assert(sizeof(HostRequest) == 24, "port.py packs 6 words");

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
static_assert(sizeof(HostAnswer) == 36, "port.py unpacks 9 words");

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

Host host;

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
