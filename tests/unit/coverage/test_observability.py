"""ROM bit observability says exactly what inverting each bit would do: no bit too many, none too few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.contract.mask import MaskPart
from etchproof.coverage import observability
from etchproof.coverage.closure import close, taps_needed
from etchproof.coverage.corpus import Corpus, Predict, Segment, gather
from etchproof.coverage.injection import Observed, draw
from etchproof.coverage.observability import EXHAUSTED, observe, witnesses
from etchproof.coverage.proven import Proven, UnsoundError
from etchproof.errors import EtchproofError
from etchproof.quantize.quantized_model import QuantizedModel
from models import chip
from models.golden import Golden
from models.rom.margins import margins, rounded
from models.rom.mask import ROUNDED_AWAY, ZERO_CODES, ZERO_SCALE, Rom, RomGains, RomMatrix, RomRows
from tests.unit.coverage.conftest import saturating_model
from tests.unit.models.conftest import drawn_model
from verif.coverage.rom import checkpoint_roms as roms_of


def predictor(model: QuantizedModel) -> Predict:
    golden = Golden(model)
    return lambda tokens: golden.session().predict(tokens, True)


def corpus_of(model: QuantizedModel, roms: Sequence[Rom], *sequences: Sequence[int]) -> Corpus:
    segments = [Segment(f"run{number}", (tuple(tokens),)) for number, tokens in enumerate(sequences)]
    return gather(segments, predictor(model), taps_needed(roms))


@pytest.fixture(scope="module", params=[drawn_model, saturating_model])
def toy(request: pytest.FixtureRequest) -> tuple[QuantizedModel, tuple[Rom, ...], Corpus]:
    """Random codes of all patterns, biases, short last groups; every token of the vocabulary."""
    model = request.param()
    roms = roms_of(model, chip.plan(model.config, model.recipe))
    order = np.random.default_rng(3).permutation(model.config.vocab_size).tolist()
    return model, roms, corpus_of(model, roms, order[:3], order[3:9], order[9:20], order[20:])


def flipped(value: int, bit: int, bits: int) -> int:
    text = list(format(value % (1 << bits), f"0{bits}b"))
    text[-1 - bit] = "10"[int(text[-1 - bit])]
    raw = int("".join(text), 2)
    return raw - (1 << bits) if text[0] == "1" else raw


def changed(rom: Rom, kind: str, index: tuple[int, ...], corpus: Corpus) -> bool:
    """By inverting the bit and computing the unit's output, with nothing of the module under test."""
    *element, bit = index

    def output(acc: np.ndarray) -> np.ndarray:
        top = (1 << (rom.out_bits - 1)) - 1
        shifted = acc if rom.shift == 0 else (acc + (1 << (rom.shift - 1))) >> rom.shift
        return np.minimum(np.maximum(shifted, -top - 1), top)

    if isinstance(rom, RomGains):
        (k,) = element
        u = rom.normalize(corpus.taps[rom.source])[:, k]
        return bool((output(u * flipped(int(rom.values[k]), bit, 16)) != corpus.taps[rom.result][:, k]).any())
    row = element[0]
    codes, scales = rom.codes[row].astype(int).tolist(), rom.scales[row].astype(int).tolist()
    bias = int(rom.bias[row]) if isinstance(rom, RomMatrix) and rom.bias is not None else 0
    if kind == "codes":
        codes[element[1]] = flipped(codes[element[1]], bit, rom.bits)
    elif kind == "scales":
        scales[element[1]] = flipped(scales[element[1]], bit, 17)
    else:
        bias = flipped(bias, bit, 32)
    row_weights = np.array([code * scales[k // rom.group_size] for k, code in enumerate(codes)])
    if isinstance(rom, RomRows):
        fed = corpus.taps[rom.result][corpus.tokens == row]
        return bool((output(row_weights)[None] != fed).any())
    acc = corpus.taps[rom.source].astype(np.int64) @ row_weights + (bias << rom.bias_shift)
    return bool((output(acc) != corpus.taps[rom.result][:, row]).any())


def test_every_bit_of_a_chip(toy: tuple[QuantizedModel, tuple[Rom, ...], Corpus]) -> None:
    """All bits of all codes, scales, biases and gains, against inverting each."""
    _, roms, corpus = toy
    counts = {"proven": 0, "not": 0}
    for rom in roms:
        for proven in observe(rom, corpus):
            assert not (proven.bits & proven.redundant).any()
            for index in np.ndindex(proven.bits.shape):
                truth = changed(rom, proven.kind, index, corpus)
                assert proven.bits[index] == truth, proven.name(index)
                counts["proven" if truth else "not"] += 1
    assert counts["proven"] > 10_000 and counts["not"] > 1_000, counts


def test_every_bit_of_a_trained_checkpoint(tiny_model: QuantizedModel) -> None:
    """Some of each kind, and of the unproven ones as many as can be had."""
    roms = roms_of(tiny_model, chip.plan(tiny_model.config, tiny_model.recipe))
    rng = np.random.default_rng(1)
    corpus = corpus_of(
        tiny_model, roms, rng.integers(397, size=40).tolist(), rng.integers(397, size=9).tolist()
    )
    seen = {True: 0, False: 0}
    for rom in roms:
        for proven in observe(rom, corpus):
            for wanted in (True, False):
                places = np.argwhere(proven.bits == wanted)
                for index in rng.permutation(places)[:40].tolist():
                    assert changed(rom, proven.kind, tuple(index), corpus) == wanted, proven.name(index)
                    assert witnesses(rom, proven.kind, index, corpus).any() == wanted
                    seen[wanted] += 1
    assert min(seen.values()) > 300, seen


@given(
    acc=st.integers(-(2**50), 2**50),
    shift=st.integers(0, 45),
    bits=st.sampled_from([8, 16]),
    near=st.integers(-3, 3),
)
def test_margins(acc: int, shift: int, bits: int, near: int) -> None:
    """One unit less than the margin changes nothing, the margin does; also beside the ends of saturation."""
    for value in (acc, ((1 << (bits - 1)) << shift) + near, -((1 << (bits - 1)) << shift) + near):
        array = np.array([value])
        y = rounded(array, shift, bits)
        up, down = margins(array, y, shift, bits)
        for inverse, sign in ((up, 1), (down, -1)):
            if inverse[0] == 0:
                far = np.array([sign << 61])
                assert rounded(far, shift, bits) == y
                continue
            change = round(1 / inverse[0])
            if change < 2**50:
                assert rounded(array + sign * (change - 1), shift, bits) == y
                assert rounded(array + sign * change, shift, bits) != y


def single(codes: list[list[int]], scales: list[list[int]], **changes: object) -> tuple[RomMatrix, Corpus]:
    """A linear of one token."""
    rom = RomMatrix(
        "m", (0, "x"), (0, "y"), 4, 2, np.array(codes, np.int8), np.array(scales, np.uint16), None, 0, 3, 16
    )
    rom = replace(rom, **changes)  # type: ignore[arg-type]
    x = np.array([[100, -50, 3, 7]])
    acc = x @ (rom.codes * np.repeat(rom.scales.astype(int), 2, axis=1)).T
    taps = {rom.source: x, rom.result: rounded(acc, rom.shift, rom.out_bits)}
    zero = np.zeros(1, dtype=np.int64)
    return rom, Corpus(("run",), ((0, 1),), zero, zero, zero, taps)


def reasons(found: Sequence[Proven]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for proven in found:
        for reason, bits in proven.reasons:
            counts[reason] = counts.get(reason, 0) + int(bits.sum())
    return counts


def test_reasons() -> None:
    rom, corpus = single([[1, 2, 3, 4], [0, 0, 5, 6]], [[9, 0], [7, 8]])
    assert reasons(observe(rom, corpus)) == {ZERO_SCALE: 2 * 4, ZERO_CODES: 16}
    # With the whole vocabulary fed nothing is left open.
    rom, corpus = single([[1, 2, 3, 4]], [[1, 1]], of_token=1, shift=12)
    found = observe(rom, corpus)
    assert not any(proven.open.any() for proven in found)
    assert reasons(found)[EXHAUSTED] == sum(int((~proven.bits).sum()) for proven in found) > 0
    rom = replace(rom, of_token=2)
    assert all(proven.open.sum() == (~proven.bits).sum() for proven in observe(rom, corpus))


def test_an_embedding_row_has_one_value(toy: tuple[QuantizedModel, tuple[Rom, ...], Corpus]) -> None:
    model, roms, corpus = toy
    rows = roms[0]
    assert isinstance(rows, RomRows)
    assert not any(proven.open.any() for proven in observe(rows, corpus))
    part = corpus_of(model, roms, [1, 2, 3])
    for proven in observe(rows, part):
        assert set(np.argwhere(proven.bits)[:, 0]) == {1, 2, 3}
        assert {reason for reason, _ in proven.reasons} <= {ROUNDED_AWAY}
        assert proven.open.any()


def test_what_is_not_computed_from_its_input_is_refused(
    toy: tuple[QuantizedModel, tuple[Rom, ...], Corpus],
) -> None:
    """A record with a wrong shift, a tap from elsewhere, an input that is said to depend on the token alone."""
    _, roms, corpus = toy
    for rom in roms[1:4]:
        assert isinstance(rom, (RomMatrix, RomGains))
        with pytest.raises(UnsoundError, match="is not what"):
            observe(replace(rom, shift=rom.shift + 1), corpus)
    rows = roms[0]
    assert isinstance(rows, RomRows)
    with pytest.raises(UnsoundError, match="is not what"):
        observe(replace(rows, shift=rows.shift + 1), corpus)
    deep = next(rom for rom in roms if isinstance(rom, RomMatrix) and rom.source[0] == 1)
    with pytest.raises(UnsoundError, match="differs from run to run"):
        observe(replace(deep, of_token=37), replace(corpus, tokens=np.zeros_like(corpus.tokens)))


def test_a_reason_that_a_token_refutes_is_refused() -> None:
    """A project that calls a bit redundant which its own margins prove is wrong about one of the two."""
    rom, corpus = single([[1, 2, 3, 4]], [[9, 5]])
    codes, scales = rom.parts()
    wrong = replace(codes, redundant=((ZERO_SCALE, np.ones((1, 4, 1), dtype=bool)),))

    class Wrong(RomMatrix):
        def parts(self) -> tuple[MaskPart, ...]:
            return wrong, scales

    with pytest.raises(UnsoundError, match="a bit of m is proven, and the project says of it: the scale of"):
        observe(Wrong(**vars(rom)), corpus)


def test_a_criterion_that_is_too_generous_is_noticed(
    toy: tuple[QuantizedModel, tuple[Rom, ...], Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exhaustive comparison above would see it: a threshold a little too low calls some bit proven that is not."""
    _, roms, corpus = toy
    right = [proven.count for rom in roms for proven in observe(rom, corpus)]
    monkeypatch.setattr(observability, "_threshold", lambda largest: 0.98)
    wrong = [proven.count for rom in roms for proven in observe(rom, corpus)]
    assert sum(wrong) > sum(right)


def test_segments_share_the_credit(toy: tuple[QuantizedModel, tuple[Rom, ...], Corpus]) -> None:
    _, roms, corpus = toy
    for rom in roms:
        for proven in observe(rom, corpus):
            assert sum(proven.by_segment) == proven.count
            assert len(proven.by_segment) == 4


def test_closing(tiny_model: QuantizedModel) -> None:
    """From nothing: each token once, then what random sequences add; the same choice every time."""
    config = tiny_model.config
    roms = roms_of(tiny_model, chip.plan(config, tiny_model.recipe))
    if tiny_model.recipe.activation_bits == 8:
        roms = roms[:4]

    def closed() -> tuple[tuple[int, ...], ...]:
        return close(
            roms,
            [Segment("text", ((1, 2, 3),))],
            predictor(tiny_model),
            vocabulary=config.vocab_size,
            context=24,
            seed=1,
        )

    sequences = closed()
    assert sequences == closed()
    assert {token for tokens in sequences for token in tokens} | {1, 2, 3} == set(range(config.vocab_size))
    assert max(map(len, sequences)) <= 24
    corpus = corpus_of(tiny_model, roms, (1, 2, 3), *sequences)
    left = sum(int(proven.open.sum()) for rom in roms for proven in observe(rom, corpus))
    assert left == 0


def test_drawing(toy: tuple[QuantizedModel, tuple[Rom, ...], Corpus]) -> None:
    """Different proven bits, with the shortest beginning of a sequence that proves each."""
    model, roms, corpus = toy
    units = [Observed((rom,), observe(rom, corpus)) for rom in roms]
    drawn = draw(units, corpus, 60, seed=5)
    assert len({bit.site for bit in drawn}) == 60
    assert drawn == draw(units, corpus, 60, seed=5) != draw(units, corpus, 60, seed=6)
    by_site = {proven.site: proven for one in units for proven in one.found}
    rom_of = {proven.site: one.units[0] for one in units for proven in one.found}
    for bit in drawn[:20]:
        site, _, rest = bit.site.removeprefix("rom:").partition("[")
        element, _, number = rest.partition("]^")
        index = (*map(int, element.split(",")), int(number))
        assert by_site[site].bits[index]
        alone = corpus_of(model, roms, tuple(token for (token,) in bit.items))
        tokens = witnesses(rom_of[site], by_site[site].kind, index, alone)
        assert tokens[-1] and not tokens[:-1].any()


def test_nothing_fed(toy: tuple[QuantizedModel, tuple[Rom, ...], Corpus]) -> None:
    model, roms, _ = toy
    with pytest.raises(EtchproofError, match="nothing can be proven"):
        gather([Segment("empty", ((),))], predictor(model), taps_needed(roms))
