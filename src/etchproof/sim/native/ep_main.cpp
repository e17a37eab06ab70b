// The simulator's main: time advances, the chip is evaluated, Python is called where it waits.
//
// Python acts only inside VPI callbacks, so between two of them nothing that VPI holds can change. A time step in
// which none is due costs one look at the signals that Python waits on; the full round of IEEE 1800-2017, 4.4,
// callbacks is made only in steps where something was called.

#include <dlfcn.h>

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_vpi.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif
#if VM_TRACE_FST
#include "ep_waves.h"
#endif

extern "C" void vlog_startup_routines_bootstrap();  // cocotb's VPI library

namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};

// Python's lock, which cocotb's callbacks take for themselves. Released while the chip is evaluated, so that threads
// of the testbench run beside it. Python, if any, was loaded by cocotb: its functions are looked up by name.
class PythonUnlocked {
public:
    PythonUnlocked() {
        if (const auto save = reinterpret_cast<void* (*)()>(dlsym(RTLD_DEFAULT, "PyEval_SaveThread"))) m_state = save();
    }
    ~PythonUnlocked() {
        // cocotb may have ended Python's work in a callback and kept the lock.
        if (!m_state || reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "PyGILState_Check"))()) return;
        reinterpret_cast<void (*)(void*)>(dlsym(RTLD_DEFAULT, "PyEval_RestoreThread"))(m_state);
    }
    PythonUnlocked(const PythonUnlocked&) = delete;
    PythonUnlocked& operator=(const PythonUnlocked&) = delete;

private:
    void* m_state{nullptr};
};

class Simulation {
public:
    explicit Simulation(VerilatedContext& context)
        : m_context{context}
        , m_top{std::make_unique<Vtop>(&context, "")}
#if VM_TRACE_FST
        , m_waves{context, *m_top}
#endif
    {}

    int run() {
#if VM_TRACE_FST
        if (m_waves.only_signals()) return 0;
#endif
        vlog_startup_routines_bootstrap();
        Verilated::addExitCb([](void* self) { static_cast<Simulation*>(self)->end(); }, this);
        VerilatedVpi::callCbs(cbStartOfSimulation);
        settle();
        read_limit();
        if (!m_context.gotFinish()) {
            const PythonUnlocked unlocked;
            advance();
        }
        m_top->final();
        end();
        return m_context.errorCount() > 0 ? 1 : 0;  // an assertion or $error fails the run
    }

private:
    // +ep_until=N: a simulation that goes past N units of time's precision has failed: a chip that waits forever.
    void read_limit() {
        const char* const text = m_context.commandArgsPlusMatch("ep_until=");
        if (*text) m_until = std::strtoull(text + std::strlen("+ep_until="), nullptr, 10);
    }

    void advance() {
        bool called = true;
        while (!m_context.gotFinish()) {
            m_top->eval_step();
            VerilatedVpi::clearEvalNeeded();
            called = called || VerilatedVpi::callValueCbs();
            if (called) serve();
            m_top->eval_end_step();
#if VM_TRACE_FST
            m_waves.step();
#endif
            if (called) read_only();
            const std::uint64_t next
                = std::min(m_deadline, m_top->eventsPending() ? m_top->nextTimeSlot() : kNever);
            if (next == kNever || m_context.gotFinish()) break;  // what was still to come is not waited for
            if (next > m_until) {
                std::printf("%%Error: the simulation has not ended at its limit of time, %" PRIu64 "\n", m_until);
                m_context.errorCountInc();
                break;
            }
            m_context.time(next);
            called = m_waiting || next == m_deadline;
            if (called) {
                VerilatedVpi::callCbs(cbNextSimTime);
                settle();
                VerilatedVpi::callTimedCbs();
                settle();
            }
        }
    }

    // Callbacks on value changes, until none changes anything.
    static void settle() {
        while (VerilatedVpi::callValueCbs()) {}
    }

    // The writes of callbacks take effect and may cause others, until the time step is quiet.
    void serve() {
        bool again;
        do {
            VerilatedVpi::doInertialPuts();
            settle();
            again = VerilatedVpi::evalNeeded();
            if (!again) {
                VerilatedVpi::callCbs(cbReadWriteSynch);
                VerilatedVpi::doInertialPuts();
                settle();
                again = VerilatedVpi::evalNeeded();
            }
            if (again) {
                m_top->eval_step();
                VerilatedVpi::clearEvalNeeded();
            }
        } while (again);
    }

    // The end of a time step with callbacks; what is waited for from here on.
    void read_only() {
        VerilatedVpi::callCbs(cbReadOnlySynch);
        m_deadline = VerilatedVpi::cbNextDeadline();
        m_waiting = VerilatedVpi::hasCbs(cbNextSimTime) || VerilatedVpi::hasCbs(cbReadWriteSynch)
                    || VerilatedVpi::hasCbs(cbReadOnlySynch);
    }

    void end() {
        if (m_ended) return;
        m_ended = true;
        VerilatedVpi::callCbs(cbEndOfSimulation);
#if VM_COVERAGE
        m_context.coveragep()->write();
#endif
#if VM_TRACE_FST
        m_waves.close();
#endif
    }

    VerilatedContext& m_context;
    std::unique_ptr<Vtop> m_top;
#if VM_TRACE_FST
    EpWaves m_waves;
#endif
    std::uint64_t m_deadline{0};
    std::uint64_t m_until{kNever - 1};
    bool m_waiting{true};
    bool m_ended{false};
};

}  // namespace

// Python calls these in a simulator that was forked from another one, before anything is simulated.

static bool forked = false;
extern "C" void ep_forked() { forked = true; }

// One more argument, as of the command line.
extern "C" void ep_argument(const char* text) { Verilated::threadContextp()->commandArgsAdd(1, &text); }

int main(int argc, char** argv) {
    VerilatedContext& context = *Verilated::threadContextp();
    context.commandArgs(argc, argv);
    context.fatalOnVpiError(false);  // cocotb asks for much that is not there
    const int status = Simulation{context}.run();
    if (forked) {  // Verilator's threads, for which it would wait, are not in this process
        std::fflush(nullptr);
        std::_Exit(status);
    }
    return status;
}
