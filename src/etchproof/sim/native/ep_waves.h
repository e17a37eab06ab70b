// Waves of a simulation: what Verilator traces of the chip, and every tap beside it, in one FST file. Only in a simulator
// that is built for waves.

#pragma once

#include <cstdint>
#include <memory>

class VerilatedContext;
class Vtop;

// A tap wrote a record: `count` elements of `bytes` each. Nothing happens where no waves are written.
void ep_waves_tap(int layer, const char* name, int pos, int count, int bytes, const void* data);

class EpWaves {
public:
    // Before anything is simulated; the arguments of the command say what is asked for (ep_waves.cpp).
    EpWaves(VerilatedContext& context, Vtop& top);
    ~EpWaves();
    EpWaves(const EpWaves&) = delete;
    EpWaves& operator=(const EpWaves&) = delete;

    // Whether the file's signals are all that is asked for: then nothing is simulated.
    bool only_signals() const;

    // The end of a time step.
    void step();

    // Nothing more is simulated.
    void close();

private:
    struct Impl;
    std::unique_ptr<Impl> m_impl;
};
