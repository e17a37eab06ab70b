// The ROM linear alone against a plain loop with the same arithmetic, compiled with the same flags, in one process.
//
// Usage: linear ROWS COLS GROUP SHIFT CODES SCALES X Y REPEATS
// CODES int8 and X int16 as (ROWS, COLS) and (COLS), SCALES uint16 (ROWS, COLS / GROUP), Y int16 (ROWS): what must come out.
// Prints, for each repeat, the nanoseconds of a pass through the Verilated module and of a pass through the loop.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

template <typename T>
std::vector<T> read(const char* path, std::size_t count) {
    std::vector<T> values(count);
    std::ifstream file{path, std::ios::binary};
    if (!file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)))) {
        std::fprintf(stderr, "linear: cannot read %zu bytes of %s\n", count * sizeof(T), path);
        std::exit(2);
    }
    return values;
}

// docs/numerics.md, section 4, as one would write it.
template <std::size_t Group>
void plain(const int8_t* codes, const uint16_t* scales, const int16_t* x, int16_t* y, std::size_t rows, std::size_t cols,
           int shift) {
    for (std::size_t row = 0; row < rows; ++row) {
        int64_t acc = 0;
        for (std::size_t g = 0; g < cols / Group; ++g) {
            int32_t part = 0;
            for (std::size_t k = 0; k < Group; ++k) part += codes[row * cols + g * Group + k] * x[g * Group + k];
            acc += int64_t{part} * scales[row * (cols / Group) + g];
        }
        const int64_t rounded = (acc + (int64_t{1} << (shift - 1))) >> shift;
        y[row] = static_cast<int16_t>(std::clamp<int64_t>(rounded, -32768, 32767));
    }
}

double now_ns() {
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 10) return 2;
    const std::size_t rows = std::strtoull(argv[1], nullptr, 10), cols = std::strtoull(argv[2], nullptr, 10);
    const std::size_t group = std::strtoull(argv[3], nullptr, 10);
    const int shift = std::atoi(argv[4]), repeats = std::atoi(argv[9]);
    const auto codes = read<int8_t>(argv[5], rows * cols);
    const auto scales = read<uint16_t>(argv[6], rows * (cols / group));
    const auto x = read<int16_t>(argv[7], cols), expected = read<int16_t>(argv[8], rows);
    std::vector<int16_t> y(rows);
    const auto loop = group == 16 ? plain<16> : group == 64 ? plain<64> : plain<128>;

    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vtop>(context.get());
    const auto clock = [&] {
        top->clk_i = 1;
        top->eval();
        top->clk_i = 0;
        top->eval();
    };
    top->load_i = 0;
    top->rst_ni = 1;
    top->eval();
    top->rst_ni = 0;
    top->load_i = 1;
    clock();
    top->rst_ni = 1;
    top->shift_i = static_cast<uint8_t>(shift);
    constexpr std::size_t kLanes = 16;
    for (std::size_t k = 0; k < cols; ++k) top->x_i[k / kLanes][k % kLanes] = static_cast<uint16_t>(x[k]);

    for (int repeat = 0; repeat < repeats; ++repeat) {
        const double start = now_ns();
        top->start_i = 1;
        clock();
        top->start_i = 0;
        while (top->busy_o) clock();
        const double middle = now_ns();
        loop(codes.data(), scales.data(), x.data(), y.data(), rows, cols, shift);
        const double end = now_ns();
        for (std::size_t row = 0; row < rows; ++row) {
            const auto got = static_cast<int16_t>(top->y_o[row / kLanes][row % kLanes]);
            if (got != expected[row] || y[row] != expected[row]) {
                std::fprintf(stderr, "linear: row %zu is %d in the module, %d in the loop, expected %d\n", row, got,
                             y[row], expected[row]);
                return 1;
            }
        }
        std::printf("%.0f %.0f\n", middle - start, end - middle);
    }
    return 0;
}
