"""Mutations that know GGUF: counts, lengths, types, keys, the table of tensors, and numbers in the data."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.gguf_writer import ARRAY, KINDS, STRING, Tensor, Typed, assemble, string, value

_SIZES: Final = (0, 1, 7, 32, 2**16, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63, 2**64 - 1)
_SHAPES: Final = (
    *(
        (),
        (0,),
        (1,),
        (32,),
        (2**63,),
        (2**32, 2**32),
        (2**62, 4),
        (1,) * 5,
        (1,) * 4,
        (32, 32, 32),
        (1, 2**40),
    ),
    *((256, 31), (31, 256), (3, 3), (2**20, 2**20)),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(0, 1, 2**31, 2**32 - 1, Typed("INT32", -1), Typed("UINT64", 2**64 - 1), Typed("INT64", -(2**63))),
    *(True, False, 0.0, -1.0, 1e-30, 3e38, float("nan"), float("inf"), Typed("FLOAT64", 1e300)),
    *(
        "",
        "x",
        "llama",
        "gpt2",
        b"\xff\xfe",
        "\x1b[2J\n",
        "a" * 100_000,
        "{{ 1 / 0 }}",
        "qwen2",
        "linear",
        "yarn",
    ),
    *(
        [],
        [""],
        ["a"] * 3,
        [b"\xff"],
        ["a b"] * 5,
        Typed("UINT32", [1, 2]),
        Typed("FLOAT32", [0.0, float("nan")]),
    ),
    *(
        Typed("INT32", [1] * 300),
        Typed("INT32", [3] * 300),
        Typed("BOOL", [True]),
        Typed("INT32", [99] * 300),
    ),
)
_KEYS: Final = (
    *(
        "llama.rope.scaling.type",
        "llama.expert_count",
        "llama.unknown",
        "llama.rope.scaling.factor",
        "general.type",
    ),
    *(
        "general.alignment",
        "split.count",
        "a" * 70_000,
        "tokenizer.ggml.scores",
        "tokenizer.ggml.add_eos_token",
    ),
    *(
        "llama.attention.key_length",
        "tokenizer.ggml.unknown_token_id",
        "tokenizer.ggml.add_space_prefix",
        "\n\x1b[2J",
    ),
)
_NAMES: Final = (
    *(
        "output.weight",
        "rope_freqs.weight",
        "blk.9.attn_q.weight",
        "blk.0.attn_q.bias",
        "a" * 65,
        "",
        "\x1b[2J\n",
    ),
    *(
        "blk.0.attn_qkv.weight",
        "token_embd.weight",
        "blk.00.attn_q.weight",
        "blk.99999999999999999999.attn_q.weight",
    ),
)


@dataclass
class _File:
    values: list[tuple[bytes, bytes]]  # key; type and value
    tensors: list[tuple[bytes, Tensor, int]]  # name; type and shape; offset
    data: bytes


def gguf(rng: random.Random, data: bytes) -> bytes:
    """A file whose parts do not fit together; ``data`` is a valid one with an alignment of 32."""
    file = _parsed(data)
    match rng.randrange(10):
        case 0:
            return _length(rng, data)
        case 1 | 2:
            at = rng.randrange(len(file.values))
            file.values[at] = (file.values[at][0], value(rng.choice(_VALUES)))
        case 3:
            at = rng.randrange(len(file.values))
            again = rng.choice((string(rng.choice(_KEYS)), file.values[at][0]))
            file.values.insert(at, (again, value(rng.choice(_VALUES))))
            if rng.random() < 0.5:
                del file.values[rng.randrange(len(file.values))]
        case 4:
            at = rng.randrange(len(file.values))
            key, found = file.values[at]
            file.values[at] = (key, struct.pack("<I", rng.randrange(15)) + found[4:])
        case 5:
            _tensor(rng, file)
        case 6:
            at = rng.randrange(len(file.tensors))
            if rng.random() < 0.5:
                del file.tensors[at]
            else:
                _, tensor, offset = file.tensors[at]
                file.tensors.append(
                    (string(rng.choice(_NAMES)), tensor, rng.choice((offset, len(file.data))))
                )
        case 7:
            return _written(file, version=rng.choice((0, 1, 2, 4, 2**31, 0x03000000)), alignment=32)
        case 8:
            alignment = rng.choice((0, 1, 3, 8, 16, 64, 4096, 2**31))
            file.values.append((string("general.alignment"), value(alignment)))
            return _written(file, alignment=rng.choice((1, 8, 64)))
        case _:
            at = rng.randrange(len(file.data) - 2)
            bad = struct.pack("<H", rng.choice((0x7C00, 0xFC00, 0x7E01, 0x7FFF, 0xFFFF)))
            file.data = file.data[:at] + bad * rng.choice((1, 1, 20)) + file.data[at + 2 :]
            if rng.random() < 0.3:
                file.data = file.data[: rng.randrange(len(file.data))]
    return _written(file)


def _tensor(rng: random.Random, file: _File) -> None:
    at = rng.randrange(len(file.tensors))
    name, tensor, offset = file.tensors[at]
    match rng.randrange(4):
        case 0:
            tensor = replace(
                tensor, kind=rng.choice((0, 1, 2, 3, 6, 8, 10, 12, 14, 16, 24, 28, 30, 39, 2**32 - 1))
            )
        case 1:
            tensor = replace(tensor, shape=rng.choice((*_SHAPES, tensor.shape[::-1])))
        case 2:
            offset = rng.choice(
                (*_SIZES, offset + 32, offset + 1, file.tensors[rng.randrange(len(file.tensors))][2])
            )
        case _:
            name = rng.choice((string(rng.choice(_NAMES)), file.tensors[0][0]))
    file.tensors[at] = (name, tensor, offset)


def _length(rng: random.Random, data: bytes) -> bytes:
    """A count or a length becomes another, and what follows stays where it is."""
    places, at = [8, 16], 24
    for key, found in _parsed(data).values:
        places.append(at)
        at += len(key)
        kind = struct.unpack_from("<I", found)[0]
        if kind in (STRING, ARRAY):
            places.append(at + (4 if kind == STRING else 8))
        if kind == ARRAY and struct.unpack_from("<I", found, 4)[0] == STRING and len(found) > 24:
            places.append(at + 16)
        at += len(found)
    place = rng.choice(places)
    new = rng.choice((*_SIZES, len(data), len(data) - place))
    return data[:place] + struct.pack("<Q", new) + data[place + 8 :]


def _written(file: _File, **how: int) -> bytes:
    entries = [
        name + struct.pack("<I", len(tensor.shape)) + b"".join(struct.pack("<Q", size) for size in tensor.shape[::-1])
        + struct.pack("<IQ", tensor.kind, offset)
        for name, tensor, offset in file.tensors
    ]  # fmt: skip
    return assemble([key + found for key, found in file.values], entries, file.data, **how)


def _parsed(data: bytes) -> _File:
    n_tensors, n_values = struct.unpack_from("<QQ", data, 8)
    at = 24

    def taken(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    def text() -> bytes:
        size = taken(8)
        return size + taken(struct.unpack("<Q", size)[0])

    sizes = {number: struct.calcsize(f"<{letter}") for number, letter in KINDS.values()}
    values = []
    for _ in range(n_values):
        key, raw = text(), taken(4)
        kind = struct.unpack("<I", raw)[0]
        if kind == ARRAY:
            raw += taken(12)
            element, count = struct.unpack_from("<IQ", raw, 4)
            raw += (
                b"".join(text() for _ in range(count)) if element == STRING else taken(count * sizes[element])
            )
        else:
            raw += text() if kind == STRING else taken(sizes[kind])
        values.append((key, raw))
    tensors = []
    for _ in range(n_tensors):
        name = text()
        (dimensions,) = struct.unpack("<I", taken(4))
        shape = struct.unpack(f"<{dimensions}Q", taken(8 * dimensions))[::-1]
        kind, offset = struct.unpack("<IQ", taken(12))
        tensors.append((name, Tensor(kind, shape, b""), offset))
    return _File(values, tensors, data[at + -at % 32 :])
