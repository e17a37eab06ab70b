"""Codes, scales and minimums of every block type, against the library ``gguf`` and as exact numbers."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from etchproof.errors import InputError
from etchproof.published.gguf import GgufFile, open_gguf
from tests.unit.published.gguf.drawn import HALVES, QUANTIZED, blocks

ROWS, PER_ROW = 12, 3


def written(path: Path, name: str, data: npt.NDArray[np.uint8]) -> GgufFile:
    """A file by the library, with one tensor of ``ROWS`` rows."""
    writer = gguf.GGUFWriter(path, "llama")
    kind = gguf.GGMLQuantizationType[name]
    writer.add_tensor("blk.0.ffn_up.weight", data.reshape(ROWS, -1), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return open_gguf(path)


@pytest.mark.parametrize("name", sorted(QUANTIZED))
def test_every_code_and_scale_is_the_files(name: str, tmp_path: Path) -> None:
    data = blocks(name, ROWS * PER_ROW, seed=7)
    file = written(tmp_path / "a.gguf", name, data)
    wanted = gguf.quants.dequantize(data.reshape(ROWS, -1), gguf.GGMLQuantizationType[name])
    assert (file.values("blk.0.ffn_up.weight") == wanted).all()

    matrix = file.matrix("blk.0.ffn_up.weight")
    half = 1 << (matrix.bits - 1)
    assert matrix.form == name and matrix.codes.dtype == np.int8 and matrix.groups is None
    assert np.unique(matrix.codes).tolist() == list(range(-half, half))
    repeated = [
        np.repeat(part, matrix.group_size, axis=1)
        for part in (matrix.scales, matrix.minimums)
        if part is not None
    ]
    exact = repeated[0] * matrix.codes + (repeated[1] if len(repeated) > 1 else 0.0)
    assert (exact.astype(np.float32) == wanted).all()  # and float64 rounds nothing before:
    for row, column in np.ndindex(4, matrix.codes.shape[1]):
        sides = [Fraction(float(part[row, column])) for part in repeated]
        assert Fraction(float(exact[row, column])) == sides[0] * int(matrix.codes[row, column]) + sum(
            sides[1:]
        )


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_what_the_library_quantizes(name: str, tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType[name]
    weights = np.random.default_rng(3).normal(size=(ROWS, 64)).astype(np.float32)
    data = gguf.quants.quantize(weights, kind)
    file = written(tmp_path / "a.gguf", name, data)
    assert (file.values("blk.0.ffn_up.weight") == gguf.quants.dequantize(data, kind)).all()


@pytest.mark.parametrize("name", sorted(QUANTIZED))
def test_rows_in_another_order(name: str, tmp_path: Path) -> None:
    file = written(tmp_path / "a.gguf", name, blocks(name, ROWS * PER_ROW, seed=8))
    order = np.random.default_rng(1).permutation(ROWS)
    moved, own = file.matrix("blk.0.ffn_up.weight", order), file.matrix("blk.0.ffn_up.weight")
    assert (moved.codes == own.codes[order]).all() and (moved.scales == own.scales[order]).all()
    assert (file.values("blk.0.ffn_up.weight", order) == file.values("blk.0.ffn_up.weight")[order]).all()


@pytest.mark.parametrize("name", sorted(QUANTIZED))
@pytest.mark.parametrize("bad", [0x7C00, 0xFC00, 0x7E00, 0x7C01])
def test_scales_that_are_no_numbers(name: str, bad: int, tmp_path: Path) -> None:
    for which, at in enumerate(HALVES[name]):
        data = blocks(name, ROWS * PER_ROW, seed=9)
        data[4, at : at + 2] = np.array([bad], "<u2").view(np.uint8)
        file = written(tmp_path / f"{which}.gguf", name, data)
        said = f"{which}.gguf: blk.0.ffn_up.weight: has the {'minimum' if which else 'scale'}"
        for read in (file.matrix, file.values):
            with pytest.raises(InputError, match=f"{said} .* in block 1 of row 1, expected a finite number"):
                read("blk.0.ffn_up.weight")


def test_plain_numbers(tmp_path: Path) -> None:
    numbers = np.array([0.0, -1.5, 2.0**-24, 65504.0, 3.0e38, 1.0e-45], dtype=np.float32)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("a", numbers)
    writer.add_tensor("b", numbers[:4].astype(np.float16))
    rounded = gguf.quants.quantize(numbers[:4], gguf.GGMLQuantizationType.BF16)
    writer.add_tensor("c", rounded, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.add_tensor("bad", np.array([1.0, np.nan, np.inf], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_gguf(tmp_path / "a.gguf")
    assert (file.values("a") == numbers).all()
    assert (file.values("b") == numbers[:4]).all()
    assert (file.values("c") == np.array([0.0, -1.5, 2.0**-24, 65536.0], dtype=np.float32)).all()
    with pytest.raises(
        InputError, match=r"bad: is NaN or infinite in 2 of 3 values, the first is nan at \[1\]"
    ):
        file.values("bad")
    with pytest.raises(ValueError, match="a is no matrix of codes"):
        file.matrix("a")


def test_a_file_that_changes(tmp_path: Path) -> None:
    file = written(tmp_path / "a.gguf", "Q8_0", blocks("Q8_0", ROWS * PER_ROW, seed=1))
    with (tmp_path / "a.gguf").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(InputError, match="was changed since it was opened"):
        file.values("blk.0.ffn_up.weight")
