"""Layouts: the tap that differs first, what stands around it, every other tap; in the words of two viewers."""

from __future__ import annotations

from pathlib import Path

from etchproof.waves.fst import Signal, Waves
from etchproof.waves.layout import Focus, Group, groups, gtkwave, scopes, surfer

KEYS = ((-1, "emb"), (0, "mul.a"), (1, "mul.a"))
FOCUS = Focus((1, "mul.a"), 5, 7000, "lane 5 of token 2, expected 3, got 4")


def signal(path: str, bits: int = 16) -> Signal:
    return Signal(tuple(path.split(".")), bits, f"[{bits - 1}:0]" if bits > 1 else "")


def waves() -> Waves:
    """A chip of two layers, each with a tap's instance of which only its order tells the layer."""
    found = [signal("top.clk", 1), signal("top.answer"), signal("pkg.Constant")]
    for layer in range(2):
        inside = f"top.u_chip.gen_{layer}"
        found += [signal(f"{inside}.u_tap_mul_a.{name}") for name in ("clk_i", "layer_i", "pos_i", "state_q")]
        found += [signal(f"{inside}.u_mul.{name}") for name in ("rd_addr", "state_q", "acc", "row[3]")]
        found += [signal(f"{inside}.u_other.wr_addr"), signal(f"{inside}.u_other.u_deep.u_deeper.addr")]
    for layer, tap in KEYS:
        scope = ".".join(("taps", *scopes(KEYS)[layer, tap]))
        found += [signal(f"{scope}.{name}", 32) for name in ("records", "pos", "count")]
        found += [signal(f"{scope}.lane_{lane}") for lane in range(12)]
    return Waves(Path("run/waves.fst"), tuple(found), 0, 2_000_000, 1)


def named(group: Group) -> list[str]:
    return [".".join(one.path) for one in group.signals]


def test_scopes_are_words_and_differ() -> None:
    found = scopes([(-1, "a.b"), (-1, "a_b"), (0, "a.b"), (0, "x[0]")])
    assert list(found.values()) == [
        ("model", "a_b"),
        ("model", "a_b_2"),
        ("layer_0", "a_b"),
        ("layer_0", "x_0_"),
    ]


def test_groups_of_a_difference() -> None:
    found = {group.name: group for group in groups(waves(), "top", KEYS, FOCUS)}
    assert list(found) == [
        "clock, reset and ports",
        "layer 1 mul.a: lane 5 of token 2, expected 3, got 4",
        "addresses in top.u_chip.gen_1",
        "state in top.u_chip.gen_1",
        "taps outside the layers",
        "taps of layer 0",
        "taps of layer 1",
    ]
    first, addresses, state = (list(found.values())[number] for number in (1, 2, 3))
    lanes = [f"taps.layer_1.mul_a.lane_{lane}" for lane in range(1, 10)]
    assert named(first) == [f"taps.layer_1.mul_a.{name}" for name in ("records", "pos", "count")] + lanes
    assert named(addresses) == ["top.u_chip.gen_1.u_mul.rd_addr", "top.u_chip.gen_1.u_other.wr_addr"]
    assert named(state) == ["top.u_chip.gen_1.u_mul.state_q"]
    assert [found[name].open for name in list(found)[4:]] == [False, False, True]


def test_groups_without_a_difference() -> None:
    found = groups(waves(), "top", KEYS, None)
    assert [group.name for group in found][1:] == [
        "taps outside the layers",
        "taps of layer 0",
        "taps of layer 1",
    ]
    assert all(group.open for group in found)


def test_a_tap_whose_place_names_do_not_tell() -> None:
    """Three layers' taps, and instances of two: none is taken for another."""
    keys = (*KEYS, (2, "mul.a"))
    names = [group.name for group in groups(waves(), "top", keys, FOCUS)]
    assert not [name for name in names if name.startswith(("addresses", "state"))]


def test_gtkwave() -> None:
    shown = groups(waves(), "top", KEYS, FOCUS)
    lines = gtkwave(waves(), shown, FOCUS).splitlines()
    assert '[dumpfile] "waves.fst"' in lines
    assert [line for line in lines if line.startswith("*-")] == [f"*-9.000000 7000{' -1' * 26}"]
    assert lines.count("@800200") == lines.count("@1000200") == 5
    assert lines.count("@c00200") == lines.count("@1401200") == 2
    at = lines.index("taps.layer_1.mul_a.lane_5[15:0]")
    assert lines[at - 1] == "@420"
    assert lines[lines.index("top.clk") - 1] == "@28"


def test_surfer() -> None:
    shown = groups(waves(), "top", KEYS, FOCUS)
    lines = surfer(waves(), shown, FOCUS).splitlines()
    assert lines[0] == "load_file waves.fst"
    assert lines[-3:] == ["marker_set first_wrong 7000", "cursor_set 7000", "goto_cursor"]
    assert "variable_add taps.layer_1.mul_a.lane_5" in lines
    assert "divider_add taps of layer 1" in lines
    assert "divider_add taps of layer 0" not in lines
    assert not any("marker" in line for line in surfer(waves(), shown, None).splitlines())
