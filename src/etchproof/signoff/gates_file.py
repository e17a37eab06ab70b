"""The file that says what has to hold at each stage, read and held against what gates there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from etchproof.errors import InputError
from etchproof.files.yaml_file import read_yaml_record
from etchproof.signoff.gates import (
    COVERGROUP,
    FAMILIES,
    GATES,
    QUALIFIED,
    QUALIFIED_DRAWN,
    QUALIFIED_KINDS,
    StageGates,
)
from etchproof.signoff.testplan import Stage


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    stages: dict[Stage, StageGates]


class Range(NamedTuple):
    """What a gate's limit may be: more than ``least``, at most ``most``."""

    unit: str
    least: float
    most: float


_ENDLESS: Final = 1e300
PER_CENT: Final = Range("per cent", 0, 100)
COUNT: Final = Range("a count", 0, _ENDLESS)
LIMITS: Final[Mapping[str, Range]] = {
    **dict.fromkeys((*GATES, COVERGROUP), PER_CENT),
    "elements_compared": COUNT,
    "injected_faults_drawn": COUNT,
    QUALIFIED_DRAWN: COUNT,
    "dead": Range("a count", -1, _ENDLESS),
    "quality_kl": Range("a mean divergence in nats", 0, 10),
}
"""The unit and the range of each gate's limit."""


def load_gates(path: Path, stage: Stage, covergroups: tuple[str, ...]) -> StageGates:
    """The gates of a stage, held against the coverage model.

    Raises:
        InputError: as ``read_gates``, or a covergroup is unknown, or has no gate and the file does not say why.
    """
    found = read_gates(path, stage)
    key = f"stages.{stage}.gates.{COVERGROUP}"
    limits = found.gates.get(COVERGROUP)
    if limits is None:
        return found
    assert isinstance(limits, dict)
    for group in limits:
        if group not in covergroups:
            raise InputError(f"{group!r} is not in the coverage model", source=path, key=key)
    for group in covergroups:
        if group not in limits and COVERGROUP not in found.not_measured:
            raise InputError(f"covergroup {group!r} has no gate", source=path, key=key)
    return found


def read_gates(path: Path, stage: Stage) -> StageGates:
    """The gates of a stage as the file says them.

    Raises:
        InputError: the file is bad, or has no such stage, an unknown gate or a limit that no figure can meet or miss.
    """
    content = read_yaml_record(path, _File)
    if stage not in content.stages:
        raise InputError(f"has no stage {stage}", source=path, key="stages")
    found = content.stages[stage]
    key = f"stages.{stage}.gates"
    if not found.gates:
        raise InputError("is empty: everything would pass", source=path, key=key)
    for name, limit in found.gates.items():
        if isinstance(limit, dict) != (name in FAMILIES) or (name not in FAMILIES and name not in GATES):
            raise InputError(
                f"{name!r} is no gate, or has no such limit",
                source=path,
                key=key,
                hint=f"known are {', '.join((*FAMILIES, *GATES))}",
            )
    for name in found.not_measured:
        if name not in (*GATES, COVERGROUP):
            raise InputError(f"{name!r} is no gate", source=path, key=f"stages.{stage}.not_measured")
        if name in found.gates and name != COVERGROUP:  # the other groups
            raise InputError(
                f"{name!r} is a gate of this stage, and so measured",
                source=path,
                key=f"stages.{stage}.not_measured",
            )
    for name, limit in found.gates.items():
        limits = limit if isinstance(limit, dict) else {name: limit}
        if not limits:
            raise InputError("is empty: nothing has a limit", source=path, key=f"{key}.{name}")
        for group, value in limits.items():
            where = f"{key}.{name}" if group == name else f"{key}.{name}.{group}"
            _check_limit(LIMITS[name], value, path, where)
    planted = found.gates.get(QUALIFIED_DRAWN, {})
    assert isinstance(planted, dict)
    for kind in planted:
        if kind not in QUALIFIED_KINDS:
            known = ", ".join(QUALIFIED_KINDS)
            raise InputError(
                f"{kind!r} is no kind of faults",
                source=path,
                key=f"{key}.{QUALIFIED_DRAWN}",
                hint=f"known are {known}",
            )
    if QUALIFIED in found.gates and not planted:
        raise InputError(
            "does not say how many faults have to be planted", source=path, key=f"{key}.{QUALIFIED_DRAWN}"
        )
    return found


def _check_limit(allowed: Range, value: float, path: Path, key: str) -> None:
    if not allowed.least < value <= allowed.most:  # NaN is not either
        most = f" and at most {allowed.most:g}" if allowed.most != _ENDLESS else ""
        raise InputError(
            f"is {value}, expected {allowed.unit} of more than {allowed.least:g}{most}", source=path, key=key
        )
