"""The cases of every unit, by the bench that they are built in."""

from __future__ import annotations

from tests.rtl.cases import attention, linear, lora, norm, rope, small, swiglu
from tests.rtl.harness import Bench

BENCHES = {
    bench.name: bench
    for bench in (
        Bench("linear", linear.CASES),
        Bench("lora", lora.CASES),
        Bench("attention", attention.CASES),
        Bench("vector", (*norm.CASES, *rope.CASES, *swiglu.CASES, *small.CASES)),
    )
}
