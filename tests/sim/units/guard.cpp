// A check of a testbench's own: fails the run where an element has the refused value.

#include "guard.h"

#include <string>

#include "ep_sink.h"

extern "C" void guard_sees(int element) {
    if (element == kRefused) ep_fail("refused_element", "the module gave " + std::to_string(element));
}
