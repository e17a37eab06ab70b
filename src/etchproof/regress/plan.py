"""What a regression's workers are told: ``regression.json``, in the regression's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from etchproof.errors import InputError, shown
from etchproof.files.atomic import write_atomically
from etchproof.files.json_record import read_json_record
from etchproof.regress.key import item_key
from etchproof.regress.spec import ItemSpec

PLAN_FILE: Final = "regression.json"
_LISTED: Final = 8

PARENT_ENV: Final = "ETCHPROOF_REGRESSION"
"""Environment variable of pytest and its workers: the process that started the regression."""

REFUSALS_ENV: Final = "ETCHPROOF_REFUSALS"
"""Environment variable of pytest: the descriptor that takes what the machine refused, a line each."""


class RegressionPlan(BaseModel):
    """A regression with every choice made.

    Attributes:
        name: of the list.
        project: the project's root.
        sources_sha256: of everything that its results depend on beside the items themselves.
        items: what to run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    project: str
    sources_sha256: str
    items: tuple[ItemSpec, ...]

    def key(self, spec: ItemSpec) -> str:
        """The key that a stored result of an item must carry."""
        return item_key(spec, self.sources_sha256)

    def write(self, out: Path) -> None:
        """Put it in the regression's folder, in one step."""
        write_atomically(out / PLAN_FILE, self.model_dump_json(indent=1))

    @classmethod
    def read(cls, out: Path) -> RegressionPlan:
        """The plan of a regression's folder.

        Raises:
            InputError: there is none, or it is broken.
        """
        return read_json_record(out / PLAN_FILE, cls)


def only(items: Sequence[ItemSpec], names: Sequence[str]) -> tuple[ItemSpec, ...]:
    """The items of these names.

    Raises:
        InputError: there is none of a name.
    """
    known = {item.name for item in items}
    for name in names:
        if name not in known:
            hint = f"it has {', '.join([*sorted(known)[:_LISTED], *(['and more'] if len(known) > _LISTED else [])])}"
            raise InputError(f"{shown(name)} is no item of this list", key="--only", hint=hint)
    return tuple(item for item in items if not names or item.name in names)
