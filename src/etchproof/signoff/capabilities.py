"""What a project has of all that sign-off can measure; what it does not have is said, and is no failure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from etchproof.project.declaration import Project
from etchproof.signoff.evidence import LINKS
from etchproof.signoff.testplan import CHECKS, all_tests

RECIPE: Final = "recipe"
ROM: Final = "rom"
ROM_FILES: Final = "rom_files"
READBACK: Final = "readback"
COVERAGE: Final = "coverage"
OBSERVABILITY: Final = "observability"
TABLES: Final = "tables"
INJECTION: Final = "injection"
CYCLES: Final = "cycles"
LINT: Final = "lint"
KNOWN_BAD: Final = "known_bad"

ABSENT: Final = {
    RECIPE: "models are of the project's own kind: nobody quantized them here",
    ROM: "the project declares no [rom]",
    ROM_FILES: "the project does not say how ROM files follow from the model",
    READBACK: "the project declares no [signoff] readback",
    COVERAGE: "the project declares no [coverage]",
    OBSERVABILITY: "the project declares no [coverage] rom",
    TABLES: "the project declares no [coverage] tables",
    INJECTION: "the project declares neither [coverage] rom nor [rom] memories with a [host]",
    CYCLES: "the project has no cycle model",
    KNOWN_BAD: "models are of the project's own kind: runs are played to the checker again where a chip takes tokens",
    LINT: "the project declares no [rtl] hw: linters look at the engine's own conventions",
}
"""Each capability, and why what takes it is not measured without it."""

NEEDS: Final = {
    "covergroup": COVERAGE,
    **dict.fromkeys(("rom_observability", "rom_words", "accumulators"), OBSERVABILITY),
    "table_bits": TABLES,
    **dict.fromkeys(("injected_faults", "injected_faults_drawn", "injected_faults_caught"), INJECTION),
    **dict.fromkeys(
        (
            *("quality", "quality_kl", "quality_top1", "saturation", "dead"),
            *("quantized", "arithmetic", "fabric_invariance"),
        ),
        RECIPE,
    ),
    **dict.fromkeys(("rom_readback", "rom_signature"), READBACK),
    "rom_files": ROM_FILES,
    "cycle_model": CYCLES,
    "checker": KNOWN_BAD,
    "lint": LINT,
}
"""The capability that a gate or a check takes; what does not stand here takes none."""

_LINK_NEEDS: Final = {
    "quantized": RECIPE,
    "images": ROM,
    "files": ROM_FILES,
    "read back": READBACK,
    "signatures": READBACK,
}


def capabilities(project: Project) -> tuple[str, ...]:
    """Those that a project declares."""
    rom, coverage = project.rom, project.coverage is not None
    observed = project.coverage is not None and project.coverage.rom is not None
    memories = rom is not None and rom.memories is not None
    has = {
        RECIPE: project.model is None,
        ROM: rom is not None,
        ROM_FILES: memories or (rom is not None and coverage),
        READBACK: project.signoff.readback is not None,
        COVERAGE: coverage,
        OBSERVABILITY: observed,
        TABLES: project.coverage is not None and project.coverage.tables is not None,
        INJECTION: observed or (memories and project.host is not None),
        CYCLES: project.host is None or project.cycles is not None,
        LINT: project.rtl.hw is not None,
        KNOWN_BAD: project.model is None,
    }
    return tuple(name for name, there in has.items() if there)


def without(what: str, held: Collection[str]) -> str | None:
    """Why a gate, or a check of ``CHECKS``, is not measured; None where the project has what it takes."""
    need = NEEDS.get(what.removeprefix("signoff."))
    return None if need is None or need in held else ABSENT[need]


def links(held: Collection[str]) -> tuple[str, ...]:
    """The links of the provenance chain that a project has."""
    return tuple(name for name in LINKS if _LINK_NEEDS.get(name) is None or _LINK_NEEDS[name] in held)


def due_claims(project: Project, held: Collection[str]) -> tuple[str, ...]:
    """The tests that a testpoint has to claim: every one of the project's own, and the checks that it has."""
    own = all_tests(project, of_engine=False)
    return (*own, *(check for check in CHECKS if without(check, held) is None))
