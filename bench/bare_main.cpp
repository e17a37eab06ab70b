// The bare harness: clocks the same Verilated chip through the same tokens, without cocotb, Python or taps.
//
// Usage: bare TOKENS_FILE; the file holds one token id per line. Prints what the chip answered to each, and how many
// seconds that took.

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

namespace {
constexpr int kNext = 0, kFirst = 1, kNoSlot = 15;  // ep_pkg
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
    root->ep_sim_top__DOT__rst_n = 0;
    while (context->time() < 9000) advance();  // picoseconds
    root->ep_sim_top__DOT__rst_n = 1;
    while (context->time() < 13000) advance();

    std::vector<double> seconds;
    std::vector<uint32_t> answers;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const auto start = std::chrono::steady_clock::now();
        root->ep_sim_top__DOT__req_token = tokens[i];
        root->ep_sim_top__DOT__req_op = i == 0 ? kFirst : kNext;
        root->ep_sim_top__DOT__req_slot = kNoSlot;
        root->ep_sim_top__DOT__req ^= 1;
        const auto answered = root->ep_sim_top__DOT__rsp;
        while (root->ep_sim_top__DOT__rsp == answered) advance();
        // Bits 44 to 75 of the answer: the token.
        answers.push_back(static_cast<uint32_t>(
            (uint64_t{root->ep_sim_top__DOT__answer[2]} << 32 | root->ep_sim_top__DOT__answer[1]) >> 12));
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    for (std::size_t i = 0; i < tokens.size(); ++i) std::printf("%u %.9f\n", answers[i], seconds[i]);
    return 0;
}
