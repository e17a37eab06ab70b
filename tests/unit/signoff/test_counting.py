"""Only runs of the chip under sign-off count, each kind by its rule."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etchproof.regress.spec import ItemSpec, ShapeEntry
from etchproof.signoff import counting

MODEL = Path("/models/tiny")
FABRIC, ROM, SHORT_FABRIC, SHORT_ROM, CORNERS = ("fabric", "rom", "fabric18", "rom18", "rom of corners")


def chip(fabric: str = FABRIC, rom: str = ROM, context: int = 64, recipe: str = "w6a16") -> Any:
    design = SimpleNamespace(
        source=SimpleNamespace(sha256="checkpoint", label=f"tiny-{recipe}"),
        context=context,
        project=None,
    )
    return SimpleNamespace(
        design=design, fabric=SimpleNamespace(sha256=fabric), images=SimpleNamespace(sha256=rom)
    )


def spec(**changes: Any) -> ItemSpec:
    fields: dict[str, Any] = {
        "name": "one",
        "test": "RandomTokens",
        "model": str(MODEL),
        "shape": None,
        "recipe": "w6a16",
        "context": None,
        "kind": "fast",
        "adapters": (),
        "seed": 1,
    }
    return ItemSpec(**(fields | changes))


def result(fabric: str = FABRIC, rom: str = ROM, checkpoint: str = "checkpoint") -> Any:
    return SimpleNamespace(fabric_sha256=fabric, rom_sha256=rom, checkpoint_sha256=checkpoint)


def etched(spec: ItemSpec, project: Any, out: Path) -> Any:
    """What is rendered and etched now for an item."""
    if spec.context is not None:
        return chip(SHORT_FABRIC, SHORT_ROM, spec.context, spec.recipe)
    return chip(rom=CORNERS if spec.corners is not None else ROM, recipe=spec.recipe)


@pytest.fixture(autouse=True)
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "etched_of", etched)


def why_not(item: ItemSpec, ran: Any, under: Any = None) -> str:
    outcome: Any = SimpleNamespace(plan=SimpleNamespace(items=(item,)), results={item.name: ran})
    return counting.counted(MODEL, under or chip(), outcome, Path("runs"))[item.name]


@pytest.mark.parametrize("kind", ["fast", "plain", "strict", "coverage"])
def test_what_counts(kind: str) -> None:
    assert why_not(spec(kind=kind), result()) == ""
    assert why_not(spec(kind=kind, context=18), result(SHORT_FABRIC, SHORT_ROM)) == ""
    assert why_not(spec(kind=kind, corners=1), result(rom=CORNERS)) == ""


@pytest.mark.parametrize(
    ("item", "ran", "said"),
    [
        (spec(), None, "left no result"),
        (spec(), result(fabric="other"), "it simulated fabric other"),
        (spec(), result(rom="other"), "it read ROM other"),
        (spec(), result(checkpoint="other"), "the checkpoint was another one"),
        (spec(context=18), result(), "it simulated fabric fabric, not fabric18"),
        (spec(context=18), result(SHORT_FABRIC), "it read ROM rom, not rom18"),
        (spec(corners=1), result(), "it read ROM rom, not rom of corn"),
        (spec(model="/models/other"), result(), "another model"),
        (spec(model=None, shape=ShapeEntry(shape="odd", weights=1)), result(), "another model"),
        (spec(recipe="w8a16"), result(), "another recipe"),
    ],
)
def test_what_does_not(item: ItemSpec, ran: Any, said: str) -> None:
    assert said in why_not(item, ran)


def test_a_chip_that_is_not_the_one_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rendered for the items is not what is under sign-off: nothing counts."""
    assert "not those under sign-off" in why_not(spec(), result(), chip(rom="edited"))
    assert "not the one under sign-off" in why_not(spec(), result(), chip(fabric="edited"))
    assert "not the one under sign-off" in why_not(
        spec(corners=1), result(rom=CORNERS), chip(fabric="edited")
    )
