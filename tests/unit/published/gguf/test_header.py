"""The header of a GGUF file: what is valid is read as the library ``gguf`` wrote it, anything else is one line."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.published.gguf import open_gguf
from etchproof.published.gguf.metadata import Metadata
from tests.gguf_writer import KINDS, Tensor, Typed, assemble, entry, gguf_bytes, string, value

ONES = np.ones(4, dtype="<f4").tobytes()
TENSOR = Tensor(0, (4,), ONES)
KEY = string("llama.a")


def refused(path: Path, content: bytes) -> str:
    (path / "a.gguf").write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_gguf(path / "a.gguf")
    said = str(caught.value)
    assert "\n" not in said and said.startswith(str(path / "a.gguf"))
    return said


def test_the_librarys_own_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -128)
    writer.add_uint16("u16", 65535)
    writer.add_int16("i16", -32768)
    writer.add_uint32("u32", 2**32 - 1)
    writer.add_int32("i32", -(2**31))
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float32("f32", 0.1)
    writer.add_float64("f64", 0.1)
    writer.add_bool("bool", True)
    writer.add_string("text", "h\u00e9llo")
    writer.add_array("texts", ["a", "", "\u4e2d"])
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("reals", [0.5, 1.5])
    writer.add_array("flags", [True, False])
    writer.add_tensor("first", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("second", np.arange(5, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_gguf(path)
    found = file.header.metadata
    assert [found.whole(key) for key in ("u8", "i8", "u16", "i16")] == [255, -128, 65535, -32768]
    assert [found.whole(key) for key in ("u32", "i32", "u64", "i64")] == [
        2**32 - 1,
        -(2**31),
        2**64 - 1,
        -(2**63),
    ]
    assert (found.real("f32"), found.real("f64"), found.flag("bool")) == (float(np.float32(0.1)), 0.1, True)
    assert found.text("text") == "h\u00e9llo" and found.texts("texts") == ["a", "", "\u4e2d"]
    assert found.wholes("numbers") == [1, -2, 3] and found.reals("reals") == [0.5, 1.5]
    assert (
        found.raw("flags") == [True, False]
        and found.raw("text") == "h\u00e9llo"
        and found.raw("none") is None
    )
    assert (file.values("first") == np.arange(6, dtype=np.float32).reshape(2, 3)).all()
    assert (file.values("second") == np.arange(5)).all()
    assert file.header.tensors["second"].offset % 64 == 0


@pytest.mark.parametrize("version", [2, 3])
def test_versions(version: int, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(gguf_bytes({"llama.a": 1}, {"t": TENSOR}, version=version))
    file = open_gguf(tmp_path / "a.gguf")
    assert file.header.version == version and (file.values("t") == 1).all()


@pytest.mark.parametrize("number", [4, 0, 1])
def test_other_versions(number: int, tmp_path: Path) -> None:
    said = refused(tmp_path, gguf_bytes({}, {}, version=number))
    assert said.endswith(f"is a GGUF file of version {number}, and versions 2 and 3 are read here")


def test_big_endian(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "b.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    said = refused(tmp_path, (tmp_path / "b.gguf").read_bytes())
    assert "of version 3 in big-endian order, and little-endian is read here (convert it with" in said


def one(raw: bytes) -> bytes:
    """A file of one value, its bytes as they are, and one tensor."""
    return assemble([KEY + raw], [entry("t", TENSOR, 0)], ONES)


def table(*entries: bytes, data: bytes = ONES) -> bytes:
    return assemble([], list(entries), data)


def counts(tensors: int, values: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, values) + bytes(64)


Q4 = Tensor(2, (2, 32), bytes(36))

BAD: list[tuple[bytes, str]] = [
    (b"", "is empty, expected a GGUF file"),
    (b"GG", "ends at byte 2, within its first four bytes"),
    (b"PK\x03\x04" + bytes(50), "begins with b'PK\\x03\\x04', expected b'GGUF'"),
    (b"GGUF\x03\0\0\0", "within the number of tensors"),
    (counts(2**63, 0), "says that it has 9,223,372,036,854,775,808 tensors, expected at most 65,536"),
    (counts(0, 2**40), "1,099,511,627,776 values of metadata, expected at most 65,536"),
    (counts(60_000, 0), "ends at byte 88, within the 60,000 tensors that it says it has"),
    (counts(0, 60_000), "within the 60,000 values of metadata that it says it has"),
    (assemble([struct.pack("<Q", 2**62) + bytes(40)], [], b""), "key 1 of 1 is 4,611,686,018,427,387,904 bytes long"),
    (assemble([string("") + value(1) + bytes(9)], [], b""), "key 1 of 1 is empty"),
    (assemble([string(b"\xff\xfe") + value(1)], [], b""), "key 1 of 1 is b'\\xff\\xfe', expected UTF-8"),
    (assemble([KEY + value(1), KEY + value(2)], [], b""), "llama.a: stands twice in the metadata"),
    (one(struct.pack("<I", 13)), "llama.a: has the unknown type 13"),
    (one(struct.pack("<IB", 7, 2)), "llama.a: is 2, expected 0 or 1, as it is a BOOL"),
    (one(struct.pack("<IIQ", 9, 7, 1) + b"\x07"), "an array with a BOOL that is neither 0 nor 1"),
    (one(struct.pack("<IIQ", 9, 9, 1)), "llama.a: is an array of arrays, which is not read here"),
    (one(struct.pack("<IIQ", 9, 99, 1)), "llama.a: is an array of the unknown type 99"),
    (one(struct.pack("<IIQ", 9, 4, 2**61)), "an array of 2,305,843,009,213,693,952 elements, expected at most"),
    (one(struct.pack("<IIQ", 9, 10, 2**20)), "within the value of llama.a: 8,388,608 bytes were expected"),
    (one(struct.pack("<IIQ", 9, 8, 2**20)), "within the value of llama.a: 8,388,608 bytes were expected"),
    (one(struct.pack("<IIQQ", 9, 8, 1, 2**63)), "within the value of llama.a: 9,223,372,036,854,775,808 bytes"),
    (one(struct.pack("<IQ", 8, 2**63)), "the value of llama.a is 9,223,372,036,854,775,808 bytes long"),
    (table(entry("a" * 65, TENSOR, 0)), "the name of tensor 1 of 1 is 65 bytes long, expected at most 64"),
    (table(entry("t", Tensor(0, (), b""), 0)), "t: has 0 dimensions, expected 1 .. 4"),
    (table(entry("t", Tensor(0, (1,) * 5, ONES), 0)), "t: has 5 dimensions, expected 1 .. 4"),
    (table(entry("t", Tensor(0, (0, 4), ONES), 0)), "t: has shape [0, 4], expected sizes from 1 on"),
    (table(entry("t", Tensor(0, (2**63, 2**63), ONES), 0)), "expected sizes from 1 on"),
    (table(entry("t", Tensor(0, (2**39, 2**39), ONES), 0)), "t: takes bytes 96 to"),
    (table(entry("t", Tensor(10, (256,), ONES), 0)), "t: is of type Q2_K, which is not read here (read are F32, F16"),
    (table(entry("t", Tensor(4, (4,), ONES), 0)), "t: is of type number 4, which is not read here"),
    (table(entry("t", Tensor(2, (2, 31), bytes(36)), 0)), "t: has rows of 31 values, and Q4_0 has blocks of 32"),
    (table(entry("t", TENSOR, 8)), "t: begins at byte 8 of the data, expected a multiple of 32"),
    (table(entry("t", TENSOR, 2**63)), "t: takes bytes 9,223,372,036,854,775,"),
    (table(entry("t", Q4, 0), data=bytes(35)), "t: takes bytes 96 to 132 of the file, which has 131 (it may be"),
    (table(entry("t", TENSOR, 0), entry("t", TENSOR, 32), data=ONES * 3), "t: stands twice in the table of tensors"),
    (table(entry("t", Q4, 0), entry("u", TENSOR, 32), data=bytes(48)), "u: begins at byte 160 of the file, within t"),
    (table(entry("t", TENSOR, 0), entry("u", TENSOR, 0)), "u: begins at byte 96 of the file, within t"),
    (gguf_bytes({"general.alignment": 24}, {}), "general.alignment: is 24, expected a power of two up to 1,048,576"),
    (gguf_bytes({"general.alignment": 0}, {}), "general.alignment: is 0, expected a power of two"),
    (gguf_bytes({"general.alignment": 1 << 30}, {}), "general.alignment: is 1,073,741,824, expected a power"),
    (gguf_bytes({"general.alignment": "32"}, {}), "general.alignment: is '32' (STRING), expected an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), BAD, ids=[said[:60] for _, said in BAD])
def test_bad_headers(content: bytes, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, content)


def test_a_header_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etchproof.published.gguf.header._HEADER_BYTES", 200)
    content = gguf_bytes({"llama.a": "x" * 100, "llama.b": "y" * 100}, {})
    assert "has a header of more than 200 bytes, which ends within the value of llama.b" in refused(
        tmp_path, content
    )


def metadata(tmp_path: Path, **values: Any) -> Metadata:
    (tmp_path / "m.gguf").write_bytes(gguf_bytes(values, {}))
    return open_gguf(tmp_path / "m.gguf").header.metadata


def test_values_of_another_type(tmp_path: Path) -> None:
    found = metadata(
        tmp_path, n=3, x=0.5, s=b"a\xff", flag=True, inf=float("inf"), many=["a", b"\xff"], none=[]
    )
    asked = {
        "n: is 3 (UINT32), expected a floating-point number": lambda: found.real("n"),
        "x: is 0.5 (FLOAT32), expected an integer": lambda: found.whole("x"),
        "flag: is True (BOOL), expected an integer": lambda: found.whole("flag"),
        "n: is 3 (UINT32), expected true or false (BOOL)": lambda: found.flag("n"),
        "inf: is inf, expected a finite number": lambda: found.real("inf"),
        "s: is no UTF-8 at its byte 1": lambda: found.text("s"),
        "many: [1] is no UTF-8 at its byte 0": lambda: found.texts("many"),
        "many: is an array of 2 STRING, expected a text (STRING)": lambda: found.text("many"),
        "n: is 3 (UINT32), expected an array of STRING": lambda: found.texts("n"),
        "many: is an array of 2 STRING, expected an array of FLOAT32 or FLOAT64": lambda: found.reals("many"),
        "gone: is missing, expected an integer": lambda: found.whole("gone"),
        "gone: is missing, expected an array of STRING": lambda: found.texts("gone"),
    }
    for said, ask in asked.items():
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value) == f"{tmp_path / 'm.gguf'}: {said}"
    assert found.wholes("none") == [] and found.whole("gone", default=3) == 3
    assert found.text("gone", default="") == "" and "n" in found and "gone" not in found
    assert found.shown("many") == "an array of 2 STRING"


SEED = gguf_bytes(
    {"llama.a": 1, "b": "text", "c": ["x", "y"], "d": Typed("INT16", [1, 2]), "general.alignment": 32},
    {"t": Q4, "u": TENSOR},
)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(SEED) - 1), new=st.binary(min_size=1, max_size=9), cut=st.booleans())
def test_any_bytes_give_a_header_or_one_line(
    at: int, new: bytes, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    path.write_bytes(SEED[:at] if cut else SEED[:at] + new + SEED[at + len(new) :])
    try:
        file = open_gguf(path)
        for name in file.header.tensors:
            file.values(name)
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_type_of_value(kind: str, tmp_path: Path) -> None:
    found = metadata(tmp_path, one=Typed(kind, 1), many=Typed(kind, [1, 0]))
    assert found.raw("one") == 1 and found.raw("many") == [1, 0]
