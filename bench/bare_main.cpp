// The bare harness: clocks the same Verilated chip through the same tokens, without cocotb, Python or taps.
//
// Usage: bare TOKENS_FILE; the file holds one token id per line. Prints how many seconds reset and the loading of the
// ROMs took; then what the chip answered to each token, and how many seconds that took.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "Vtop___024root.h"
#include "verilated.h"

extern "C" void ep_sink_enable(int enabled);
extern "C" void ep_host_ask(const uint32_t* requests, uint64_t count, const uint32_t* stop_tokens, uint64_t stop_count,
                            int ends_at_refusal, uint64_t pause_cycles);
extern "C" const uint32_t* ep_host_answers(uint64_t* count);
extern "C" void ep_host_taken();

namespace {
constexpr uint32_t kNext = 0, kFirst = 1, kNoSlot = 15;  // ep_pkg
constexpr int kTokenOut = 3;                             // word of an answer
}

int main(int argc, char** argv) {
    std::vector<uint32_t> tokens;
    std::ifstream file{argc > 1 ? argv[1] : ""};
    for (uint32_t token; file >> token;) tokens.push_back(token);
    if (tokens.empty()) {
        std::fprintf(stderr, "bare: no tokens in %s\n", argc > 1 ? argv[1] : "(no file named)");
        return 2;
    }
    ep_sink_enable(0);
    auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(argc, argv);
    auto top = std::make_unique<Vtop>(context.get());
    auto* root = top->rootp;

    const auto advance = [&] {
        top->eval();
        if (context->gotFinish() || !top->eventsPending()) std::exit(1);
        context->time(top->nextTimeSlot());
    };
    using Clock = std::chrono::steady_clock;
    const auto seconds_since = [](Clock::time_point start) {
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    const auto reset = Clock::now();
    root->ep_sim_top__DOT__rst_n = 0;
    while (context->time() < 9000) advance();  // picoseconds
    root->ep_sim_top__DOT__rst_n = 1;
    while (context->time() < 13000) advance();
    const double reset_s = seconds_since(reset);

    std::vector<double> seconds;
    std::vector<uint32_t> answers;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const auto start = Clock::now();
        // Token, operation, slot, no stalls, not fed back.
        const uint32_t request[] = {tokens[i], i == 0 ? kFirst : kNext, kNoSlot, 0, 0, 0};
        ep_host_ask(request, 1, nullptr, 0, 0, 0);
        root->ep_sim_top__DOT__play ^= 1;
        const auto done = root->ep_sim_top__DOT__done;
        while (root->ep_sim_top__DOT__done == done) advance();
        uint64_t count = 0;
        answers.push_back(ep_host_answers(&count)[kTokenOut]);
        ep_host_taken();
        seconds.push_back(seconds_since(start));
    }
    std::printf("%.9f\n", reset_s);
    for (std::size_t i = 0; i < tokens.size(); ++i) std::printf("%u %.9f\n", answers[i], seconds[i]);
    return 0;
}
