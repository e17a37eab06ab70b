"""``replay.json``: what a replay is of, and all that repeats it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from etchproof.contract.taps import TapKey
from etchproof.files.validation import as_tuple
from etchproof.regress.spec import ItemSpec

REPLAY_FILE: Final = "replay.json"

_Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FedSequence(_Record):
    """A sequence that a replay feeds.

    Attributes:
        adapter: index of the run's adapters; None for the base alone.
        items: token ids; of a chip that takes vectors, and of a layer alone, rows of the array beside the record.
    """

    adapter: Annotated[int, Field(ge=0)] | None
    items: Annotated[_Numbers, Field(min_length=1)]


class ReplayRecord(_Record):
    """``replay.json``.

    Attributes:
        run: the stored run.
        project: its project's name.
        layer: of the unit that fails; -1 outside the layers.
        tap: its name.
        first: whether the unit has to differ first; otherwise it has to differ.
        fed: how many tokens the stored run fed.
        places: which of them are left, by their number.
        trials: simulations that it took.
        minimal: whether no single one of those that are left can go.
        alone: whether the unit's layer is simulated alone; it has number 0 there.
        scenario: the test that is run as it was, where its tokens do not fail by themselves.
        waves: whether waves are written.
        spec: what the run was of. Paths begin at the folder of this file.
        injected: faults that only the simulator sees.
        model_sha256: of the model.
        sequences: what is fed, in order; nothing where a scenario is run.
    """

    schema_version: Literal[2] = 2
    run: str
    project: str
    layer: Annotated[int, Field(ge=-1)]
    tap: str
    first: bool
    fed: Annotated[int, Field(ge=1)]
    places: _Numbers
    trials: int
    minimal: bool
    alone: bool = False
    scenario: str | None = None
    waves: bool = False
    spec: ItemSpec
    injected: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    model_sha256: str
    sequences: Annotated[tuple[FedSequence, ...], BeforeValidator(as_tuple)] = ()

    @property
    def unit(self) -> TapKey:
        """The unit, as the stored run has it."""
        return self.layer, self.tap


def named(unit: TapKey) -> str:
    """A unit as ``--unit`` names it."""
    return unit[1] if unit[0] < 0 else f"{unit[0]}.{unit[1]}"
