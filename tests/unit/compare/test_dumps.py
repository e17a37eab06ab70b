"""Kept taps: what is written is read back, what is broken is refused, and two dumps are equal only if all is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from etchproof.compare.dump import INDEX_FILE, Dumped, DumpWriter, Selection
from etchproof.compare.dumps import DumpsCompared, FirstDifference, Side, compare_dumps
from etchproof.compare.kept import TapDump, pack
from etchproof.contract.taps import Tap, TapKey, TapPlan
from etchproof.errors import InputError

PLAN = TapPlan(
    (Tap("emb", -1, "i32"), Tap("q", 0, "i16"), Tap("s", 0, "u8"), Tap("q", 1, "i16"), Tap("f", -1, "f32"))
)
LENGTHS = (5, 2)  # tokens of each sequence
Taps = dict[TapKey, NDArray[Any]]
Change = Callable[[int, int, Taps], None]


def chip_taps(sequence: int, position: int) -> Taps:
    """``s`` grows with the position, as rows of a cache do."""
    base = 100 * sequence + 10 * position
    return {
        (-1, "emb"): np.arange(4, dtype=np.int32) + base,
        (0, "q"): np.arange(3, dtype=np.int16) - base,
        (0, "s"): np.arange(position + 1, dtype=np.uint8).view(np.int8),
        (1, "q"): np.arange(3, dtype=np.int16) * base,
        (-1, "f"): np.array([base, -0.0], np.float32).view(np.int32),
    }


def golden_of(tokens: Sequence[Mapping[TapKey, NDArray[Any]]]) -> dict[TapKey, Any]:
    """As a golden model gives them: wider integers, floats as themselves."""
    return {
        (-1, "emb"): np.stack([one[-1, "emb"] for one in tokens]).astype(np.int64),
        (0, "q"): np.stack([one[0, "q"] for one in tokens]).astype(np.int64),
        (0, "s"): [one[0, "s"].view(np.uint8).astype(np.int64) for one in tokens],
        (1, "q"): np.stack([one[1, "q"] for one in tokens]).astype(np.int64),
        (-1, "f"): np.stack([one[-1, "f"].view(np.float32) for one in tokens]),
    }


def write(
    folder: Path,
    change: Change = lambda sequence, position, taps: None,
    *,
    lengths: Sequence[int] = LENGTHS,
    batch: int = 2,
    plan: TapPlan = PLAN,
    selection: Selection | None = None,
    fed: int = 50,
) -> TapDump:
    """A dump whose chip differs from its golden model by ``change``."""
    writer = DumpWriter(folder, plan, selection or Selection())
    for sequence, length in enumerate(lengths):
        for begin in range(0, length, batch):
            positions = range(begin, min(begin + batch, length))
            tokens = [chip_taps(sequence, position) for position in positions]
            golden = golden_of(tokens)
            for position, taps in zip(positions, tokens, strict=True):
                change(sequence, position, taps)
            writer.write(
                sequence, [Dumped(position, fed + position) for position in positions], tokens, golden
            )
    writer.close()
    return TapDump(folder)


def compared(
    a: TapDump, b: TapDump, selection: Selection | None = None, side: Side = "chip"
) -> DumpsCompared:
    return compare_dumps(a, b, selection or Selection(), side)


class TestKept:
    @pytest.mark.parametrize("packed", [False, True])
    def test_what_was_written(self, tmp_path: Path, packed: bool) -> None:
        def change(sequence: int, position: int, taps: Taps) -> None:
            if (sequence, position) == (0, 3):
                taps[0, "q"][1] = 7777

        dump = write(tmp_path / "taps", change)
        if packed:
            pack(tmp_path / "taps", tmp_path / "taps.npz")
            dump = TapDump(tmp_path / "taps.npz")
        tokens = list(dump.read())
        assert dump.tokens == len(tokens) == sum(LENGTHS)
        places = [(sequence, at) for sequence, length in enumerate(LENGTHS) for at in range(length)]
        assert [(token.sequence, token.position) for token in tokens] == places
        assert [token.fed for token in tokens] == [50 + at for _, at in places]
        for token in tokens:
            right = chip_taps(token.sequence, token.position)
            assert list(token.chip) == list(token.golden) == list(PLAN.by_key)
            for key, vector in right.items():
                wrong = (token.sequence, token.position, key) == (0, 3, (0, "q"))
                assert np.array_equal(token.golden[key].astype(vector.dtype), vector)
                assert np.array_equal(token.chip[key].astype(vector.dtype), vector) is not wrong
        assert tokens[3].chip[0, "q"][1] == 7777
        assert tokens[4].chip[0, "s"].tolist() == [0, 1, 2, 3, 4]

    def test_arrays_are_those_of_numpy(self, tmp_path: Path) -> None:
        write(tmp_path / "taps")
        pack(tmp_path / "taps", tmp_path / "taps.npz")
        with np.load(tmp_path / "taps.npz") as arrays, np.load(tmp_path / "taps" / "000001.npz") as chunk:
            whole = np.concatenate([chip_taps(0, at)[0, "q"] for at in range(LENGTHS[0])])
            assert np.array_equal(arrays["chip.0.0.q"], whole)
            assert np.array_equal(arrays["golden.0.0.q"], whole)
            assert arrays["chip.0.-1.f"].view("f4")[0::2].tolist() == [0, 10, 20, 30, 40]
            assert np.array_equal(chunk["chip.0.0.q"], whole[6:12])
            assert "golden.0.0.q" not in chunk, "what equals the chip's is kept once"
            assert chunk["positions.0"].tolist() == [2, 3]

    def test_the_same_run_gives_the_same_bytes(self, tmp_path: Path) -> None:
        write(tmp_path / "one")
        write(tmp_path / "two")
        names = sorted(path.name for path in (tmp_path / "one").iterdir())
        assert len(names) == 5
        assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)

    def test_filters(self, tmp_path: Path) -> None:
        only = Selection(layers=((0, 0), (-1, -1)), taps=("q", "emb"), tokens=((1, 1), (3, 9)))
        whole, part = write(tmp_path / "whole"), write(tmp_path / "part", selection=only)
        kept, read = list(part.read()), list(whole.read(only))
        assert [(token.sequence, token.position) for token in kept] == [(0, 1), (0, 3), (0, 4), (1, 1)]
        assert all(list(token.chip) == [(-1, "emb"), (0, "q")] for token in (*kept, *read))
        assert compared(whole, part, only).equal
        assert not compared(whole, part).equal

    def test_a_run_that_does_not_end_leaves_no_dump(self, tmp_path: Path) -> None:
        write(tmp_path / "taps")
        writer = DumpWriter(tmp_path / "taps", PLAN, Selection())
        writer.write(0, [Dumped(0, 1)], [chip_taps(0, 0)], golden_of([chip_taps(0, 0)]))
        with pytest.raises(InputError, match=r"has no index\.json: the run that writes it has not ended"):
            TapDump(tmp_path / "taps")

    def test_golden_that_gives_no_such_tap(self, tmp_path: Path) -> None:
        writer = DumpWriter(tmp_path / "taps", PLAN, Selection())
        tokens = [chip_taps(0, 0), chip_taps(0, 1)]
        golden = golden_of(tokens) | {
            (-1, "f"): np.zeros((2, 2), np.float64),
            (1, "q"): np.zeros((1, 3), np.int64),
        }
        del golden[0, "q"]
        del tokens[1][0, "s"]
        writer.write(0, [Dumped(0, 1), Dumped(1, 2)], tokens, golden)
        writer.close()
        pack(tmp_path / "taps", tmp_path / "taps.npz")
        for dump in (TapDump(tmp_path / "taps"), TapDump(tmp_path / "taps.npz")):
            first, second = dump.read()
            assert set(first.golden) == {(-1, "emb"), (0, "s")}
            assert set(second.chip) == set(PLAN.by_key) - {(0, "s")}
            assert second.golden[0, "s"].tolist() == [0, 1]

    def test_a_run_folder(self, tmp_path: Path) -> None:
        write(tmp_path / "run" / "taps")
        assert TapDump(tmp_path / "run").path == tmp_path / "run" / "taps"
        (tmp_path / "bare").mkdir()
        with pytest.raises(InputError, match="holds no taps"):
            TapDump(tmp_path / "bare")

    def test_a_changed_chunk(self, tmp_path: Path) -> None:
        dump = write(tmp_path / "taps")
        chunk = tmp_path / "taps" / "000001.npz"
        chunk.write_bytes(chunk.read_bytes() + b"\0")
        with pytest.raises(InputError, match=r"000001\.npz: sha256: is not the file that the run wrote"):
            list(dump.read())
        chunk.unlink()
        with pytest.raises(InputError, match="file not found"):
            list(dump.read())

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda index: index["taps"].append(index["taps"][0]), "taps: names a tap twice"),
            (lambda index: index.update(version=2), "version"),
            (lambda index: index["chunks"][0].update(file="../000000.npz"), "expected the name of a file"),
            (lambda index: index["chunks"][0].update(tokens=1), r"sizes\.0: has shape"),
            (lambda index: index["chunks"].reverse(), "out of order"),
            (lambda index: index["taps"].pop(), r"sizes\.0: has shape"),
        ],
    )
    def test_a_changed_index(self, tmp_path: Path, change: Callable[[Any], object], problem: str) -> None:
        write(tmp_path / "taps")
        file = tmp_path / "taps" / INDEX_FILE
        index = json.loads(file.read_text(encoding="utf-8"))
        change(index)
        file.write_text(json.dumps(index), encoding="utf-8")
        with pytest.raises(InputError, match=problem):
            list(TapDump(tmp_path / "taps").read())


class TestCompared:
    def test_equal(self, tmp_path: Path) -> None:
        """Also where the chunks are cut elsewhere."""
        found = compared(write(tmp_path / "a"), write(tmp_path / "b", batch=3))
        assert (found.equal, found.tokens, found.mismatches, found.first, found.fed) == (
            True,
            7,
            0,
            None,
            None,
        )
        sizes = [4 + 3 + position + 1 + 3 + 2 for length in LENGTHS for position in range(length)]
        assert (found.vectors, found.elements) == (5 * 7, sum(sizes))
        assert [(tap.layer, tap.tap) for tap in found.taps] == list(PLAN.by_key)

    def test_first_is_the_earliest_token_then_dataflow(self, tmp_path: Path) -> None:
        def change(sequence: int, position: int, taps: Taps) -> None:
            if (sequence, position) in ((0, 2), (1, 1)):
                taps[1, "q"][2] += 1
                taps[0, "q"][1:] ^= 4
            if (sequence, position) == (0, 3):
                taps[-1, "emb"][0] = 5

        found = compared(write(tmp_path / "a"), write(tmp_path / "b", change))
        right = int(chip_taps(0, 2)[0, "q"][1])
        assert found.first == FirstDifference(
            sequence=0, token=2, layer=0, tap="q", element=1, a=right, b=right ^ 4, dtype="i16", what="value"
        )
        assert not found.equal
        counted = {(tap.layer, tap.tap): tap.mismatches for tap in found.taps}
        assert counted == {(-1, "emb"): 1, (0, "q"): 4, (0, "s"): 0, (1, "q"): 2, (-1, "f"): 0}
        assert compared(write(tmp_path / "c"), write(tmp_path / "d", change), side="golden").equal

    def test_bits_of_floats(self, tmp_path: Path) -> None:
        def change(sequence: int, position: int, taps: Taps) -> None:
            taps[-1, "f"][1] = 0  # 0.0 in place of -0.0

        found = compared(write(tmp_path / "a"), write(tmp_path / "b", change))
        assert found.first is not None
        assert (found.first.tap, found.first.a, found.first.b, found.mismatches) == ("f", 1 << 31, 0, 7)

    def test_tokens_of_one_alone(self, tmp_path: Path) -> None:
        found = compared(write(tmp_path / "a"), write(tmp_path / "b", lengths=(4, 3)))
        assert not found.equal
        assert (found.tokens, found.tokens_only_a, found.tokens_only_b, found.mismatches) == (6, 1, 1, 0)
        assert [(one.sequence, one.token) for one in (*found.only_a, *found.only_b)] == [(0, 4), (1, 2)]
        assert found.first is None
        assert {(tap.only_a, tap.only_b) for tap in found.taps} == {(1, 1)}

    def test_taps_of_one_alone(self, tmp_path: Path) -> None:
        short = TapPlan(tuple(tap for tap in PLAN.taps if tap.key != (0, "s")))
        for a, b, field in ((PLAN, short, "only_a"), (short, PLAN, "only_b")):
            folder = tmp_path / field
            found = compared(write(folder / "a", plan=a), write(folder / "b", plan=b))
            assert not found.equal
            assert [(t.layer, t.tap, getattr(t, field)) for t in found.taps if not t.equal] == [(0, "s", 7)]
            assert [(tap.layer, tap.tap) for tap in found.taps] == list(PLAN.by_key)
            assert found.first is not None
            assert (found.first.tap, found.first.what, found.first.element) == ("s", field, None)

    def test_sizes_and_types(self, tmp_path: Path) -> None:
        def longer(sequence: int, position: int, taps: Taps) -> None:
            taps[0, "q"] = np.zeros(4, np.int16)

        found = compared(write(tmp_path / "a"), write(tmp_path / "b", longer))
        assert [(tap.tap, tap.sizes) for tap in found.taps if not tap.equal] == [("q", 7)]
        other = TapPlan(
            tuple(Tap(t.name, t.layer, "u16" if t.key == (1, "q") else t.dtype) for t in PLAN.taps)
        )
        found = compared(write(tmp_path / "c"), write(tmp_path / "d", plan=other))
        assert [(tap.layer, tap.tap, tap.types) for tap in found.taps if not tap.equal] == [(1, "q", 7)]
        assert not found.equal

    def test_fed_otherwise(self, tmp_path: Path) -> None:
        """Though every tap is the same."""
        found = compared(write(tmp_path / "a"), write(tmp_path / "b", fed=51))
        assert (found.mismatches, found.equal) == (0, False)
        assert found.fed is not None
        assert (found.fed.a, found.fed.b, found.fed.token) == (50, 51, 0)

    def test_nothing_is_not_equal(self, tmp_path: Path) -> None:
        a, b = write(tmp_path / "a"), write(tmp_path / "b")
        assert not compared(a, b, Selection(taps=("none",))).equal
        assert not compared(write(tmp_path / "c", lengths=()), write(tmp_path / "d", lengths=())).equal
