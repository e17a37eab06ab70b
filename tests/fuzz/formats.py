"""Mutations that know a format: the trees of text formats, safetensors, .npz, tokenizers, XML."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from tests.fuzz import trees
from tests.fuzz.gguf_format import gguf
from tests.fuzz.trees import Form, Raw

_DTYPES: Final = (
    "F32",
    "F64",
    "BF16",
    "F16",
    "I8",
    "I64",
    "U8",
    "BOOL",
    "F8_E4M3",
    "F4",
    "C64",
    "X",
    "",
    None,
    1,
)
_OFFSETS: Final[tuple[Any, ...]] = (
    [0, 0],
    [0, 2**63],
    [8, 4],
    [-1, 4],
    [0],
    [],
    [0, 4, 8],
    "0",
    [2**64, 2**64],
    [0.0, 4.0],
    [1, 5],
)
_SHAPES: Final[tuple[Any, ...]] = (
    *([], [0], [1], [-1], [2**63], [2**32, 2**32], [2**62, 4], [1] * 200, [1] * 100_000, "x", [None], [1.5]),
    *([0, 2**63], [True]),
)


def tree(rng: random.Random, data: bytes, *, form: Form, more: tuple[Any, ...] = ()) -> bytes:
    """A change of the tree that the text holds."""
    return trees.mutated(rng, form, data.decode(), more).encode("utf-8", "surrogatepass")


def safetensors(rng: random.Random, data: bytes) -> bytes:
    """A change of the header, of its length, or of the values; else of the header's tree."""
    (length,) = struct.unpack("<Q", data[:8])
    header, values = data[8 : 8 + length], data[8 + length :]
    match rng.randrange(6):
        case 0:
            said = rng.choice((0, 1, length - 1, length + 1, len(data), 2**31, 2**63, 2**64 - 1, 100_000_001))
            return struct.pack("<Q", said) + header + values
        case 1:
            odd = rng.choice(
                (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff", b"\xff\xff\xff\xff")
            )  # NaN, -infinity
            at = rng.randrange(0, max(1, len(values) - 4), 2)
            return data[: 8 + length] + values[:at] + odd + values[at + 4 :]
        case 2:
            return data + bytes(rng.choice((1, 1000)))
        case 3:
            changed = trees.mutated(rng, "json", header.decode()).encode("utf-8", "surrogatepass")
            return struct.pack("<Q", len(changed)) + changed + values
        case _:
            parsed = json.loads(header)
            names = sorted(parsed)
            name = rng.choice(names)
            field, pool = rng.choice((("dtype", _DTYPES), ("shape", _SHAPES), ("data_offsets", _OFFSETS)))
            if name == "__metadata__" or rng.random() < 0.2:
                parsed[rng.choice(("__metadata__", "x" * 300, "a\nb", "\x1b[2J", ""))] = parsed[name]
            else:
                parsed[name] = {**parsed[name], field: rng.choice(pool)}
            if rng.random() < 0.2:
                other = rng.choice(names)
                parsed[name] = parsed[other]  # two tensors on the same bytes
            changed = json.dumps(parsed).encode()
            return struct.pack("<Q", len(changed)) + changed + values


def npz(rng: random.Random, data: bytes) -> bytes:
    """Other arrays under the same names, arrays that are objects, and members that unpack to gigabytes."""
    with np.load(io.BytesIO(data)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    match rng.randrange(8):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = array[:-1]
        case 2:
            arrays[name] = array.reshape(1, -1)
        case 3:
            arrays[name] = np.array([{"a": 1}, None], dtype=object)
        case 4:
            arrays[name] = np.array("text") if rng.random() < 0.5 else np.array(5)
        case 5:
            arrays[name] = array.astype(rng.choice(("f8", "c16", "S3", "U2", "M8[s]", "?")))
        case 6:
            arrays[name] = np.where(np.arange(array.size) % 2 == 0, -1, 2**62).astype(np.int64)
        case _:
            return _zip(rng, name)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _zip(rng: random.Random, name: str) -> bytes:
    """A zip file with one array of zeros, which says that it is large, and at times is."""
    elements = rng.choice((2**31, 2**40, 2**62, -1))
    head = repr(
        {"descr": rng.choice(("<i8", "|u1", "|O", "<f8")), "fortran_order": False, "shape": (elements,)}
    )
    head = head.ljust(117) + "\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(npy) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    blocks = rng.choice((1, 3000))
    packed += block * blocks + packer.flush()
    size = len(npy) + (blocks << 20)
    file = f"{name}.npy".encode()
    common = struct.pack("<HHHHHIII", 20, 0, 8, 0, 0, 0, len(packed), min(size, 2**32 - 1))
    local = b"PK\x03\x04" + common + struct.pack("<HH", len(file), 0) + file + packed
    entry = (
        b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHHHII", len(file), 0, 0, 0, 0, 0, 0)
    )
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry) + len(file), len(local), 0)
    return local + entry + file + b"PK\x05\x06" + end


_REGEX: Final = ({"Regex": "(a|a)*$"}, {"Regex": "(.*)*b"}, {"Regex": "("}, {"Regex": "a{1,99999}{1,99999}"})
_EIGHTFOLD: Final = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"}
_PARTS: Final[dict[str, tuple[Any, ...]]] = {
    "normalizer": (
        *({"type": "Replace", "pattern": pattern, "content": "aa" * 2000} for pattern in _REGEX),
        {"type": "Sequence", "normalizers": [_EIGHTFOLD] * 12},
        {"type": "Prepend", "prepend": "a" * 2_000_000},
        {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
        {"type": "Precompiled", "precompiled_charsmap": ""},
        {"type": "Nothing"},
        {"type": "BertNormalizer"},
    ),
    "pre_tokenizer": (
        *({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False} for pattern in _REGEX),
        {"type": "Metaspace", "replacement": "ab", "prepend_scheme": "always"},
        {"type": "CharDelimiterSplit", "delimiter": ""},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    ),
    "post_processor": (
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "none", "type_id": 0}}], "pair": [],
         "special_tokens": {}},
        {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}},
        {"type": "BertProcessing", "sep": ["x", 99], "cls": ["y", 98]},
        {"type": "RobertaProcessing", "sep": ["x", 2**32 - 1], "cls": ["y", 0], "trim_offsets": True,
         "add_prefix_space": True},
    ),
    "decoder": (
        {"type": "Strip", "content": "a", "start": 2**40, "stop": 5},
        {"type": "Replace", "pattern": {"Regex": "(a|a)*$"}, "content": ""},
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {"type": "CTC", "pad_token": "a", "word_delimiter_token": "", "cleanup": True},
    ),
    "model": (
        {"type": "Unigram", "vocab": [], "unk_id": 5},
        {"type": "Unigram", "vocab": [["a", -1e308], ["b", 1e308]], "unk_id": None},
        {"type": "WordLevel", "vocab": {"a": 2**32 - 1}, "unk_token": "b"},
        {"type": "WordPiece", "vocab": {}, "unk_token": "u", "continuing_subword_prefix": "",
         "max_input_chars_per_word": 0},
        {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []},
        {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]},
        {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 2.0},
        {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "none"},
        {"type": "BPE", "vocab": {f"t{number}": 2**31 + number for number in range(9)}, "merges": []},
    ),
    "added_tokens": (
        [{"id": 2**32 - 1, "content": "z", "special": True}],
        [{"id": 0, "content": "", "special": True}],
        [{"id": 0, "content": "a" * 100_000}],
        [{"id": 0}],
        [{"content": "a"}],
        [1],
        {"a": 1},
    ),
    "truncation": ({"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 9},),
    "padding": ({"strategy": {"Fixed": 2**40}, "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "x"},),
}  # fmt: skip


def tokenizer(rng: random.Random, data: bytes) -> bytes:
    """Another part of the pipeline, of those which explode or refer to what is not there; else the tree's change."""
    if rng.random() < 0.4:
        return tree(rng, data, form="json")
    parsed = json.loads(data)
    for _ in range(rng.choice((1, 2))):
        part = rng.choice(sorted(_PARTS))
        parsed[part] = rng.choice(_PARTS[part])
    return json.dumps(parsed).encode()


_JINJA: Final = (
    *(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 2 ** 33 }}",
    ),
    *(
        "{{ ''.__class__.__mro__ }}",
        "{% include 'config.json' %}",
        "{{ 10 ** (10 ** 9) }}",
        "{{ 'a' * 30000000 }}",
    ),
    *(
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% if 1 %}" * 200,
        "{{ " + "[" * 5000,
        "{#",
        "{% raw %}",
    ),
    *("{{ raise_exception('\\x1b[2J' * 5000) }}", "{{ '\\ud800' }}", "{{ 1 / 0 }}", "{{ nothing.at.all }}"),
    *(
        "{{ messages | tojson(indent=100000) }}",
        "{{ strftime_now('%' * 99) }}",
        "{% break %}",
        "{{ range(10**9) }}",
    ),
    *(
        "{{ namespace(__html__=cycler) }}",
        "{{ messages | map('attr', '__class__') | list }}",
        "{% generation %}",
    ),
)


def jinja(rng: random.Random, data: bytes) -> bytes:
    """A piece of a template that has no end, reaches out, fails, or is none."""
    text = data.decode()
    at = rng.choice((0, len(text), rng.randint(0, len(text))))
    return (text[:at] + rng.choice(_JINJA) + text[at:]).encode()


def xml(rng: random.Random, data: bytes) -> bytes:
    """Entities that multiply, deep elements, odd attributes."""
    text = data.decode()
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "aaaaaaaaaa">{entities}]>'
    return rng.choice(
        (
            bomb + "<a>&e11;</a>",
            '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>',
            "<a>" * 100_000,
            "<a>" * 5000 + "</a>" * 5000,
            text.replace("testcase", "testcas"),
            text.replace('name="', f'name="{"x" * 5000}&#10;&#x1b;'),
            text.replace(
                "<testcase", "<testcase><failure message='&#10;&#x2028;a'>b&#13;</failure><testcase", 1
            ),
        )
    ).encode("utf-8", "surrogatepass")


_ADAPTER: Final = ("all-linear", "(q|q)*_proj", ".*", "(a+)+b", ["q_proj", ""], ["lm_head"], 1e9, -1e9, 10**9)

MUTATORS: Final[dict[str, Callable[[random.Random, bytes], bytes]]] = {
    "json": partial(tree, form="json"),
    "yaml": partial(tree, form="yaml"),
    "hjson": partial(tree, form="hjson"),
    "toml": partial(tree, form="toml"),
    "adapter": partial(tree, form="json", more=_ADAPTER),
    "manifest": partial(
        tree, form="json", more=(Raw('"../../x.bin"'), "u1", "f8", "O", "V9", "<U9", "i2,i2", "a")
    ),
    "tokenizer": tokenizer,
    "safetensors": safetensors,
    "npz": npz,
    "gguf": gguf,
    "jinja": jinja,
    "xml": xml,
}
