"""The result of an item, ``item.json``: what it says, and what of it follows from the run's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.compare.readback import READBACK_FILE
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.project.sources import file_sha256
from etchproof.regress.spec import ItemSpec
from etchproof.sim.build import Kind
from etchproof.sim.rewrite.rewrites import Rewrites
from etchproof.verdict.result import Reason

ITEM_FILE: Final = "item.json"
DIRECTED_FILE: Final = "directed.json"
CODE_COVERAGE_FILE: Final = "coverage.npz"
NOT_RUN: Final = "it has not run"
_COUNTED: Final = (COMPARISON_FILE, READBACK_FILE, CODE_COVERAGE_FILE, DIRECTED_FILE)
"""Files of a run that count beside ``item.json``, where they are there."""


class ItemAdapter(BaseModel):
    """An adapter of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str


class ItemSequence(BaseModel):
    """The accepted tokens of a sequence; ``adapter`` is an index of the run's, None for the base alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: int | None
    tokens: tuple[int, ...]


class ItemResult(BaseModel):
    """``item.json``, written last and in one step: no file, no result.

    Attributes:
        key: hash of the item and of everything that it depends on; a result of another key is none.
        reasons: why it is no PASS; empty exactly when it is.
        adapters: of the run.
        rewrites: what Etchproof changed in the simulator's C++; None for a simulator as Verilator wrote it.
        sequences: with them every tap can be computed again.
        statuses: how often each status was answered.
        answers: to tokens, and to loads that the host did not stall.
        in_cycles: of them, those that took exactly the cycles that the cycle model says.
        files: hash of each file of the run that the result follows from or that counts beside it.
        rerun: the command that repeats the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    test: str
    key: str
    verdict: Literal["PASS", "FAIL"]
    reasons: tuple[Reason, ...]
    seed: int
    kind: Kind
    rewrites: Rewrites | None
    model_name: str
    checkpoint_sha256: str
    recipe_name: str
    recipe_sha256: str
    context: int | None
    fabric_sha256: str
    rom_sha256: str
    adapters: tuple[ItemAdapter, ...]
    sequences: tuple[ItemSequence, ...]
    statuses: dict[int, int]
    vectors: int
    elements: int
    answers: int
    in_cycles: int
    cycles: int
    wall_s: float
    files: dict[str, str]
    rerun: str

    @property
    def base_sequences(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of those without an adapter."""
        return tuple(sequence.tokens for sequence in self.sequences if sequence.adapter is None)


def files_sha256(folder: Path) -> dict[str, str]:
    """Hash of each file of a run that counts."""
    return {name: file_sha256(folder / name) for name in _COUNTED if (folder / name).is_file()}


def derived(comparison: Comparison | None) -> dict[str, Any]:
    """The fields of an item that follow from its comparison."""
    if comparison is None:
        return {
            **{"sequences": (), "statuses": {}},
            **dict.fromkeys(("vectors", "elements", "answers", "in_cycles", "cycles"), 0),
        }
    adapters = {count.sequence: count.adapter for count in comparison.sequences}
    sequences: dict[int, list[int]] = {}
    statuses: dict[int, int] = {}
    for token in comparison.tokens:
        statuses[token.status] = statuses.get(token.status, 0) + 1
        if token.status == 0:
            sequences.setdefault(token.sequence, []).append(token.token_in)
    timed = comparison.timed
    return {
        "sequences": tuple(
            ItemSequence(adapter=adapters.get(number), tokens=tuple(tokens))
            for number, tokens in sorted(sequences.items())
        ),
        "statuses": statuses,
        "vectors": comparison.vectors,
        "elements": comparison.elements,
        "answers": len(timed),
        "in_cycles": sum(answer.cycles == answer.cycles_model for answer in timed),
        "cycles": sum(token.cycles for token in comparison.tokens),
    }


def read_item(folder: Path, spec: ItemSpec, key: str) -> ItemResult | str:
    """The stored result of an item, or why there is none that counts.

    It has to be of this item under this key, its files have to be those that it names, and what follows from them has
    to follow: what was edited is as good as not there.
    """
    if not (folder / ITEM_FILE).exists():
        return NOT_RUN
    try:
        result = read_json_record(folder / ITEM_FILE, ItemResult)
    except InputError:
        return f"its {ITEM_FILE} is broken"
    if result.key != key:
        return "what it depends on has changed"
    if (result.name, result.test, result.seed, result.kind) != (spec.name, spec.test, spec.seed, spec.kind):
        return f"its {ITEM_FILE} is another item's"
    try:
        if files_sha256(folder) != result.files:
            return "its files are not those of its run"
    except InputError:
        return "its files cannot be read"
    if result.verdict == "PASS" and COMPARISON_FILE not in result.files:
        return f"it passed without a {COMPARISON_FILE}"
    try:
        return result if _follows(result, folder) else f"its {ITEM_FILE} does not follow from its run"
    except InputError:
        return f"its {COMPARISON_FILE} is broken"


def _follows(result: ItemResult, folder: Path) -> bool:
    comparison = None
    if COMPARISON_FILE in result.files:
        try:
            comparison = read_json_record(folder / COMPARISON_FILE, Comparison, strict=True)
        except InputError:
            if result.verdict == "PASS":
                raise
    expected = derived(comparison)
    found = {name: getattr(result, name) for name in expected}
    passed = result.verdict == "PASS"
    clean = comparison is not None and not comparison.failures and comparison.mismatches == 0
    return (
        found == expected
        and passed == (not result.reasons)
        and (not passed or (clean and result.elements > 0))
    )
