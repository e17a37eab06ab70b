"""The checks that a sign-off makes itself, as far as its gates or testpoints ask for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from etchproof.quantize.quantized_model import QuantizedAdapter
from etchproof.regress.recorded import record
from etchproof.run import flow, slots
from etchproof.run.design import Loaded
from etchproof.run.testrun import Chip
from etchproof.signoff import checks, derive, readback
from etchproof.signoff.capabilities import ABSENT, OBSERVABILITY
from etchproof.signoff.evidence import (
    CheckEvidence,
    InjectionEvidence,
    QualityEvidence,
    RomEvidence,
)
from etchproof.signoff.gates import observed as observed_bits
from etchproof.signoff.known_bad import check_known_bad, known_bad_spec
from etchproof.signoff.plan import Plan, SignoffRequest
from etchproof.signoff.testplan import CHECKS, Stage


def examine_all(
    plan: Plan,
    stage: Stage,
    chip: Chip,
    rom: RomEvidence | None,
    injection: InjectionEvidence | None,
    read: readback.ReadBack | None,
    request: SignoffRequest,
) -> tuple[tuple[CheckEvidence, ...], int, QualityEvidence | None]:
    """The checks that this stage's gates or testpoints ask for."""
    design, padding = chip.design, 0
    wanted = {f"signoff.{name}" for name in plan.gates.gates}
    wanted |= {test for point in plan.testplan.stage_points(stage) for test in point.tests}
    if {"quality_kl", "quality_top1"} & set(plan.gates.gates):
        wanted.add("signoff.quality")
    quality: list[QualityEvidence] = []

    def rom_files() -> checks.Found:
        nonlocal padding
        if isinstance(design.source, Loaded):
            return checks.check_memories(design, chip.images)
        passed, message, padding = checks.check_rom_files(design, chip.model, chip.images)
        return passed, message

    def measured() -> checks.Found:
        report = checks.measure_quality(design, chip.model)
        quality.append(
            QualityEvidence(
                kl_mean=report.kl_mean,
                same_top1=report.same_top1,
                perplexity_golden=report.perplexity_golden,
                perplexity_float=report.perplexity_float,
                tokens=report.tokens,
                taps=report.taps,
            )
        )
        return (
            report.tokens > 0,
            f"mean KL {report.kl_mean:.5f}, {100 * report.same_top1:.1f} % the same top token",
        )

    def observed() -> checks.Found:
        if rom is None:
            return False, ABSENT[OBSERVABILITY]
        return derive.observed(rom), observed_bits(rom)

    def integers() -> list[QuantizedAdapter]:
        cache = flow.quantized_folder(flow.cache_folder())
        placed = slots.prepare(design, chip.model, plan.adapters, cache) if plan.adapters else ()
        return [adapter.quantized for adapter in placed]

    def known_bad() -> checks.Found:
        spec, folder = known_bad_spec(request, design), request.out / "known-bad"
        shutil.rmtree(folder, ignore_errors=True)
        recorded = record(spec, chip, (), folder)
        return check_known_bad(recorded, flow.make_golden(design, chip.model))

    def injected() -> checks.Found:
        bits = injection.bits if injection else ()
        good = sum(bit.caught and bit.located for bit in bits)
        return derive.injected(injection), f"{good} of {len(bits)} caught where they have to be seen"

    table: dict[str, Callable[[], checks.Found]] = {
        "signoff.lint": lambda: checks.check_lint(design, chip.fabric),
        "signoff.fabric_invariance": lambda: checks.check_fabric_invariance(design, chip.fabric, chip.images),
        "signoff.rom_files": rom_files,
        "signoff.rom_readback": lambda: readback.check_rom_readback(chip.images, read or readback.NONE),
        "signoff.rom_signature": lambda: readback.check_rom_signature(chip.images, read or readback.NONE),
        "signoff.rom_observability": observed,
        "signoff.injected_faults": injected,
        "signoff.quality": measured,
        "signoff.checker": known_bad,
        "signoff.quantized": lambda: checks.check_quantized(
            design, chip.model, list(zip(plan.adapters, integers(), strict=True))
        ),
        "signoff.arithmetic": lambda: checks.check_arithmetic(design, chip.model, integers()),
    }
    # What is padding in the images is no part of the mask: the files say how much that is.
    always = {"signoff.rom_observability", "signoff.rom_files"} if rom is not None else set()
    always |= {"signoff.injected_faults"} if injection else set()
    found = tuple(checks.examine(name, table[name]) for name in CHECKS if name in wanted | always)
    return found, padding, quality[0] if quality else None
