"""Bits of RoPE's tables, of shifts and of the tables in logic: proven where a whole golden model with the bit inverted
has another tap, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from etchproof.contract.mask import TriedUnit
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage.closure import close, taps_needed
from etchproof.coverage.corpus import Corpus, Segment, gather
from etchproof.coverage.observability import observe, witnesses
from etchproof.coverage.proven import Proven, UnsoundError, in_any, in_every
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.signoff.evidence import RomEvidence
from etchproof.signoff.gates import rom_observability, table_bits
from etchproof.signoff.observed import Weights, observe_all, rom_evidence, shared
from models import chip
from models.golden import Golden
from models.numerics import ops, tables
from models.rom import logic
from models.rom.rope import RomRope
from models.rom.words import NO_BIAS, NOT_CONNECTED, RomWords
from models.rom.writer import images, site
from tests.unit.models.conftest import drawn_model
from tests.unit.signoff.test_gates import good
from verif.coverage.corners import corner_model
from verif.coverage.rom import logic_tables, rom

SEQUENCES = ((1, 30, 7, 5, 12, 9, 11, 3), (9, 20, 31), (33, 2))

Taps = list[Mapping[TapKey, TokenArrays]]


def run(golden: Golden, sequences: Sequence[Sequence[int]] = SEQUENCES) -> Taps:
    return [golden.session().predict(list(tokens), True) for tokens in sequences]


def same(one: Taps, other: Taps) -> bool:
    return all(
        np.array_equal(mine, its)
        for left, right in zip(one, other, strict=True)
        for key in left
        for mine, its in zip(left[key], right[key], strict=True)
    )


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return drawn_model()


@pytest.fixture(scope="module")
def plan(model: QuantizedModel) -> chip.ChipPlan:
    return chip.plan(model.config, model.recipe)


def corpus_of(model: QuantizedModel, units: Sequence[Any]) -> Corpus:
    golden = Golden(model)
    segment = Segment("run", SEQUENCES)
    return gather([segment], lambda tokens: golden.session().predict(tokens, True), taps_needed(units))


def test_rope_bits(model: QuantizedModel, plan: chip.ChipPlan) -> None:
    """All copies inverted at once are seen where one of them is; positions that no sequence reaches stay open."""
    units = [unit for unit in rom(model, plan) if isinstance(unit, RomRope)]
    assert len(units) == 2
    corpus = corpus_of(model, units)
    right = run(Golden(model))
    found = [observe(unit, corpus) for unit in units]
    counts = {True: 0, False: 0}
    for number, name in enumerate(("_cos", "_sin")):
        bits = np.logical_or.reduce([parts[number].bits for parts in found])
        assert not bits[8:].any() and bits[:8].any()
        for position in range(8):
            for pair in range(3):
                for bit in (0, 1, 2, 9, 15):
                    golden = Golden(model)
                    table = getattr(golden, name)
                    raw = (int(table[position, pair]) ^ (1 << bit)) & 0xFFFF
                    table[position, pair] = raw - (1 << 16) if raw >> 15 else raw
                    seen = not same(right, run(golden))
                    assert bits[position, pair, bit] == seen, (name, position, pair, bit)
                    index = (position, pair, bit)
                    kind = name.strip("_")
                    assert any(witnesses(unit, kind, index, corpus).any() for unit in units) == seen
                    counts[seen] += 1
    assert counts[True] > 100
    every = [in_every(copies) for copies in zip(*found, strict=True)]
    for number, merged in enumerate(every):
        assert merged.copies == 2
        assert np.array_equal(merged.bits, found[0][number].bits & found[1][number].bits)


def test_word_bits(model: QuantizedModel, plan: chip.ChipPlan) -> None:
    """Each bit of each shift, those that no unit takes included."""
    units = [unit for unit in rom(model, plan) if isinstance(unit, RomWords)]
    corpus = corpus_of(model, units)
    right = run(Golden(model))
    for unit in units:
        (proven,) = observe(unit, corpus)
        for at, word in enumerate(unit.uses):
            for bit in range(8):
                golden = Golden(model)
                value = unit.values[at] ^ ((1 << bit) if bit < word.bits else 0)
                _set(golden, unit.site, word.name, value)
                assert proven.bits[at, bit] == (not same(right, run(golden))), (unit.site, word.name, bit)
        assert not proven.bits[:, 6:].any() and proven.redundant[:, 6:].all()
        assert not proven.open.any()


def _set(golden: Golden, site: str, name: str, value: int) -> None:
    """Give a golden model another shift."""
    base, _, word = name.partition(".")
    if site == "params":
        golden._params[name] = value
        if base == "lm_head":
            golden._head._shift = value
        return
    layer = golden._layers[int(site.split(".")[2])]
    layer._params[name] = value
    if base in layer._linears:
        linear = layer._linears[base]
        if word == "shift":
            linear._shift = value
        elif word == "bias_shift" and linear._bias is not None:
            bias = linear._matrix.bias
            assert bias is not None
            linear._bias = torch.from_numpy(bias.astype("int64")) << value


def test_a_bias_that_is_not_there() -> None:
    model = drawn_model()
    layers = tuple(
        replace(
            layer,
            linears={
                name: replace(matrix, bias=None, bias_shift=0) for name, matrix in layer.linears.items()
            },
        )
        for layer in model.layers
    )
    model = replace(model, layers=layers)
    plan = chip.plan(model.config, model.recipe)
    units = [unit for unit in rom(model, plan) if isinstance(unit, RomWords)]
    (proven,) = observe(units[0], corpus_of(model, units))
    assert {reason: int(bits.sum()) for reason, bits in proven.reasons}[NO_BIAS] == 7 * 32
    assert NOT_CONNECTED in dict(proven.reasons)


@pytest.mark.parametrize("name", ["rsqrt", "recip", "exp2", "sigmoid"])
def test_table_bits(
    name: str, model: QuantizedModel, plan: chip.ChipPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the golden model with the entry inverted. The highest bits of a seed overflow there, not in the RTL."""
    unit = next(unit for unit in logic_tables(model, plan) if unit.site == f"logic.{name}")
    assert isinstance(unit, TriedUnit)
    corpus = corpus_of(model, [unit])
    (proven,) = observe(unit, corpus)
    assert proven.count
    right = run(Golden(model))
    rng = np.random.default_rng(3)
    attribute = f"_{name.upper()}"
    table = getattr(ops, attribute)
    high = 13 if name in ("rsqrt", "recip") else unit.bits
    counts = {True: 0, False: 0}
    for wanted in (True, False):
        places = np.argwhere(proven.bits[:, :high] == wanted)
        for entry, bit in rng.permutation(places)[:40].tolist():
            other = table.clone()
            other[entry] ^= 1 << bit
            monkeypatch.setattr(ops, attribute, other)
            assert (not same(right, run(Golden(model)))) == wanted, (entry, bit)
            assert witnesses(unit, "entries", (entry, bit), corpus).any() == wanted
            counts[wanted] += 1
    assert min(counts.values()) > 20


def test_a_unit_that_is_not_what_the_golden_model_computes(
    model: QuantizedModel, plan: chip.ChipPlan
) -> None:
    units = rom(model, plan)
    rope = next(unit for unit in units if isinstance(unit, RomRope))
    words = next(unit for unit in units if isinstance(unit, RomWords))
    table = logic_tables(model, plan)[3]
    wrong = (
        replace(rope, sin=rope.sin + np.int16(900)),
        replace(words, values=tuple(value + 1 for value in words.values)),
        replace(table, values=tuple(value // 2 for value in table.values)),
    )
    corpus = corpus_of(model, wrong)
    for unit in wrong:
        with pytest.raises(UnsoundError, match="is not what"):
            observe(unit, corpus)


def test_a_reason_that_a_token_refutes_is_refused(model: QuantizedModel, plan: chip.ChipPlan) -> None:
    table = logic_tables(model, plan)[2]
    every = np.ones((len(table.values), table.bits), dtype=bool)
    wrong = replace(table, unreached=lambda: (("nothing reaches it", every),))
    wanted = replace(
        table, unreached=lambda: (("nothing reaches it", every & (np.arange(129) < 128)[:, None]),)
    )
    corpus = corpus_of(model, [wanted])
    with pytest.raises(UnsoundError, match=r"a bit of logic\.exp2 is proven, and the project says"):
        observe(wanted, corpus)
    (proven,) = observe(wrong, corpus)  # nothing is asked for, so nothing is proven
    assert proven.count == 0 and not proven.open.any()


def test_what_is_refined_from_a_seed_hardly_changes() -> None:
    """The bound holds at mantissas drawn at random and at the ends of each entry; what it does not cover is more."""
    rng = np.random.default_rng(7)
    for values, first, faint, refined in (
        (tables.rsqrt_table(), 64, logic._faint_roots, _root),
        (tables.recip_table(), 128, logic._faint_reciprocals, _reciprocal),
    ):
        ((_, hidden),) = faint()
        assert 0 < hidden.sum() < hidden.size and not hidden[:, 10:].any()
        seeds = np.array(values)
        low = (first + np.arange(len(seeds), dtype=np.int64)) << 24
        largest = 0.0
        for offset in (0, (1 << 24) - 1, *rng.integers(1 << 24, size=60).tolist()):
            right = refined(seeds, low + offset)
            for bit in range(10):
                other = refined(seeds ^ (1 << bit), low + offset)
                change = np.abs(other / right - 1)
                largest = max(largest, float(change[hidden[:, bit]].max(initial=0)))
        assert 0 < largest < logic.FAINT


def _root(seeds: np.ndarray, m: np.ndarray) -> np.ndarray:
    y = seeds << 14
    for _ in range(2):
        y = (y * ((3 << 28) - ((m * ((y * y) >> 28)) >> 32))) >> 29
    return y


def _reciprocal(seeds: np.ndarray, m: np.ndarray) -> np.ndarray:
    y = seeds << 14
    for _ in range(2):
        y = (y * ((2 << 28) - ((m * y) >> 32))) >> 28
    return y


def test_entries_that_no_gate_reaches() -> None:
    """With 16 bits every entry has a gate; with 8 bits those between two gates have none, whatever the shift."""
    ((_, wide),) = logic._beyond_gates(16)
    assert not wide.any()
    ((_, narrow),) = logic._beyond_gates(8)
    unreached = narrow.all(axis=1)
    assert unreached.any() and not unreached[0] and not unreached[512]


def test_weights_for_the_corners_prove_what_they_share(model: QuantizedModel, plan: chip.ChipPlan) -> None:
    """RoPE's tables and those in logic; never a weight, nor a shift that differs."""
    units = (*rom(model, plan), *logic_tables(model, plan))
    other = corner_model(model, plan, 1)
    others = (*rom(other, plan), *logic_tables(other, plan))
    held = {units[number].site for number in shared(units, others)}
    assert held == {"rope", "logic.rsqrt", "logic.recip", "logic.exp2", "logic.sigmoid"}
    golden, its = Golden(model), Golden(other)
    long = tuple(np.random.default_rng(2).integers(37, size=20).tolist())
    own = Weights(units, [Segment("own", SEQUENCES)], lambda tokens: golden.session().predict(tokens, True))
    more = Weights(others, [Segment("c1", (long,))], lambda tokens: its.session().predict(tokens, True))
    alone, both = observe_all(own), observe_all(own, [more])
    assert both.names == ("own", "c1")
    figures = {
        one.units[0].site: [sum(part.count for part in other.found) for other in (first, one)]
        for first, one in zip((*alone.rom, *alone.tables), (*both.rom, *both.tables), strict=True)
    }
    assert figures["rope"][0] < figures["rope"][1]
    assert all(before == after for name, (before, after) in figures.items() if name not in held)
    evidence = rom_evidence(both.rom, both)
    assert evidence.proven == sum(evidence.by_run.values()) and evidence.by_run["c1"] > 0
    # Bits to be inverted have to be shown by the checkpoint's own runs.
    rope = next(one for one in both.drawable if one.units[0].site == "rope")
    assert sum(part.count for part in rope.found) == figures["rope"][0]


def test_an_open_bit_and_a_bit_outside_of_the_count_fail_the_gate(
    model: QuantizedModel, plan: chip.ChipPlan
) -> None:
    """The mask of a small chip: eight of twenty positions were reached, so that RoPE's bits stay open."""
    units = rom(model, plan)
    golden = Golden(model)
    every = tuple((token,) for token in range(37))
    own = Weights(
        units, [Segment("own", (*SEQUENCES, *every))], lambda tokens: golden.session().predict(tokens, True)
    )
    mask = observe_all(own)
    made = list(images(model, plan))
    sizes = [(image.layer, image.name, image.data.size * image.bits) for image in made]
    found = rom_evidence(mask.rom, mask)
    padding = sum(bits for _, _, bits in sizes) - found.total
    assert padding > 0
    listed = [{"layer": layer, "name": name, "bits": bits} for layer, name, bits in sizes]

    def evidence(**changes: Any) -> RomEvidence:
        fields = found.model_dump() | {"images": listed, "padding_bits": padding}
        return RomEvidence.model_validate(fields | changes)

    whole = evidence()
    assert whole.uncounted == 0
    rope = [part for part in whole.parts if part.site.startswith("rope")]
    assert all(part.open_count > 12 * 3 * 16 / 2 and part.open for part in rope)
    gate = rom_observability(good(rom=whole), 100)
    assert not gate.passed and gate.measured is not None and gate.measured < 100
    # An image that no unit reads, a part that names no image of the chip, padding that is not there.
    unread = [*listed, {"layer": 0, "name": "more", "bits": 64}]
    assert evidence(images=unread).uncounted == 64
    assert evidence(images=listed[1:]).uncounted == _total(whole, sizes[0])  # of no padding
    assert evidence(padding_bits=padding - 5).uncounted == 5
    closed = [part.model_dump() | {"open": (), "open_count": 0, "proven": part.due} for part in whole.parts]
    assert rom_observability(good(rom=evidence(parts=closed)), 100).passed
    short = rom_observability(good(rom=evidence(parts=closed, images=unread)), 100)
    assert not short.passed and "64 in no part of the mask" in short.message


def _total(rom: RomEvidence, image: tuple[int, str, int]) -> int:
    return sum(part.total for part in rom.parts if part.image == image[:2])


def test_an_open_bit_of_a_table_fails_its_gate(model: QuantizedModel, plan: chip.ChipPlan) -> None:
    golden = Golden(model)
    own = Weights(
        (*rom(model, plan), *logic_tables(model, plan)),
        [Segment("own", SEQUENCES)],
        lambda tokens: golden.session().predict(tokens, True),
    )
    mask = observe_all(own)
    found = rom_evidence(mask.tables, mask)
    gate = table_bits(good(tables=found), 100)
    assert found.open > 0 and found.listed > 0 and not gate.passed
    closed = [part.model_dump() | {"open": (), "open_count": 0, "proven": part.due} for part in found.parts]
    assert table_bits(good(tables=found.model_validate(found.model_dump() | {"parts": closed})), 100).passed
    assert not table_bits(good(tables=None), 100).passed


def test_every_position_is_closed(model: QuantizedModel, plan: chip.ChipPlan) -> None:
    """Closure adds sequences of the whole context for tables that are read by position, and ends them where it can."""
    units = [unit for unit in rom(model, plan) if isinstance(unit, (RomRope, RomWords))]
    golden = Golden(model)

    def predict(tokens: Sequence[int]) -> Mapping[TapKey, TokenArrays]:
        return golden.session().predict(tokens, True)

    sequences = close(units, [], predict, vocabulary=37, context=20, seed=1)
    assert max(map(len, sequences)) == 20
    corpus = gather([Segment("closure", sequences)], predict, taps_needed(units))
    ropes = [observe(unit, corpus) for unit in units if isinstance(unit, RomRope)]
    left = [int(in_every(copies).open[1:].sum()) for copies in zip(*ropes, strict=True)]
    assert left == [0, 0]


def test_sites(plan: chip.ChipPlan) -> None:
    """As injection names them; what lies outside is refused."""
    assert site("rope.cos[19,2]^15", plan) == (-1, "rope.cos", (19, 2), 15)
    assert site("params[2]^31", plan) == (-1, "params", (2,), 31)
    assert site("model.layers.1.params[22]^0", plan) == (1, "params", (22,), 0)
    for text in ("rope.cos[20,0]^0", "rope.sin[0,3]^0", "rope.tan[0,0]^0", "params[3]^0", "params[0,0]^0"):
        with pytest.raises(Exception, match="inject"):
            site(text, plan)


def proven(first: list[int], redundant: list[bool], image: tuple[int, str] = (0, "x")) -> Proven:
    which = np.array([redundant])
    reasons = (("why", which),) if which.any() else ()
    return Proven("x", "x", np.array([first], dtype=np.int16), reasons, 4, image)


def test_copies_and_weights() -> None:
    one = proven([0, 2, -1, -1], [False, False, True, True])
    two = proven([1, -1, 3, -1], [False, False, False, True])
    every = in_every([one, two])
    assert every.first.tolist() == [[1, -1, -1, -1]] and every.copies == 2
    assert every.redundant.tolist() == [
        [False, False, True, True]
    ]  # the third: shown in one, hidden in the other
    assert every.open.tolist() == [[False, True, False, False]]
    with pytest.raises(UnsoundError, match="not of one ROM image"):
        in_every([one, proven([0, 0, 0, 0], [False] * 4, (1, "x"))])
    some = in_any([proven([0, -1, -1, -1], [False] * 4), proven([3, 2, -1, -1], [False] * 4)], 4)
    assert some.first.tolist() == [[0, 2, -1, -1]] and some.by_segment == (1, 0, 1, 0)
    with pytest.raises(UnsoundError, match="is called redundant"):
        in_any([one, proven([0, 0, 0, 0], [False] * 4)], 4)
