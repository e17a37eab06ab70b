// The bare harness: clocks the same Verilated chip through the same tokens, without cocotb, Python or taps.
//
// Usage: bare TOKENS_FILE; the file holds one token id per line. Prints the tokens that the chip answered, then
// "cycles N seconds S" of the time after the first token was requested.

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

    const auto start = std::chrono::steady_clock::now();
    const uint32_t first_cycle = root->ep_sim_top__DOT__cycle;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        root->ep_sim_top__DOT__req_token = tokens[i];
        root->ep_sim_top__DOT__req_first = i == 0;
        root->ep_sim_top__DOT__req ^= 1;
        const auto answered = root->ep_sim_top__DOT__rsp;
        while (root->ep_sim_top__DOT__rsp == answered) advance();
        std::printf("%u\n", root->ep_sim_top__DOT__rsp_token);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("cycles %u seconds %.6f\n", root->ep_sim_top__DOT__cycle - first_cycle, seconds.count());
    return 0;
}
