"""What is traced around one unit, and what a layout shows of it."""

from __future__ import annotations

from dataclasses import replace

from etchproof.contract.diagnosis import Place
from etchproof.replay.neighbours import neighbours
from etchproof.waves.layout import Focus, groups
from etchproof.waves.scopes import Around, traced
from tests.unit.waves.test_layout import FOCUS, KEYS, waves

INSIDE = ("top", "u_chip", "gen_1")


class Unit:
    """Of a chip: its tap, what it reads, where it is."""

    def __init__(self, tap: str, sources: tuple[str, ...], instance: str | None) -> None:
        self.result, self.sources = (1, tap), tuple((1, name) for name in sources)
        self.place = Place(instance=instance)


UNITS = (
    Unit("norm", (), "gen_1.u_norm"),
    Unit("q", ("norm",), "gen_1.u_q"),
    Unit("k", ("norm",), "gen_1.u_k"),
    Unit("scores", ("q", "k"), "gen_1.u_attention"),
    Unit("softmax", ("scores",), "gen_1.u_attention"),
    Unit("nowhere", ("softmax",), None),
)


def test_neighbours_in_dataflow() -> None:
    found = neighbours(UNITS, (1, "q"))  # type: ignore[arg-type]
    assert found == Around((1, "q"), "gen_1.u_q", ("gen_1.u_norm", "gen_1.u_attention"))
    found = neighbours(UNITS, (1, "scores"))  # type: ignore[arg-type]
    assert found.neighbours == ("gen_1.u_q", "gen_1.u_k"), "the module itself is no neighbour"
    for key in ((1, "nowhere"), (2, "q")):
        assert neighbours(UNITS, key) == Around(key)  # type: ignore[arg-type]


def test_a_unit_and_what_is_beside_it() -> None:
    found = traced(
        waves().signals, "top", KEYS, Around((1, "mul.a"), "gen_1.u_mul", ("gen_1.u_other", "u_gone"))
    )
    assert found is not None
    assert (found.unit, found.neighbours) == ((*INSIDE, "u_mul"), ((*INSIDE, "u_other"),))
    assert found.lines == (
        (1, ("top",)),
        (1, INSIDE),
        (99, (*INSIDE, "u_mul")),
        (99, (*INSIDE, "u_other")),
        (99, ("taps",)),
    )


def test_a_place_that_only_the_tap_tells() -> None:
    """Two instances end in the name, or none does: the scope of the tap is taken; then everything."""
    for instance in (None, "u_mul", "u_gone"):
        found = traced(waves().signals, "top", KEYS, Around((1, "mul.a"), instance))
        assert found is not None
        assert (found.unit, found.neighbours) == (INSIDE, ())
        assert found.lines == ((1, ("top",)), (99, INSIDE), (99, ("taps",)))
    assert traced(waves().signals, "top", KEYS, Around((1, "unknown"))) is None


def test_a_layout_of_a_unit() -> None:
    focus: Focus = replace(FOCUS, unit=(*INSIDE, "u_mul"), neighbours=((*INSIDE, "u_other"),))
    found = {group.name: group for group in groups(waves(), "top", KEYS, focus)}
    inside = "top.u_chip.gen_1"
    assert [one.name for one in found[f"addresses in {inside}.u_mul"].signals] == ["rd_addr"]
    assert [one.name for one in found[f"state in {inside}.u_mul"].signals] == ["state_q"]
    beside = found[f"beside it: {inside}.u_other"]
    assert [one.name for one in beside.signals] == ["wr_addr", "addr"]
    assert not beside.open
