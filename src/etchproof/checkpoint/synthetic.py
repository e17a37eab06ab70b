"""Checkpoints of random weights in Hugging Face form, for tests and for shapes whose real weights are not at
hand.

The same seed gives the same bytes on any machine: weights come from PCG64's raw stream by integer arithmetic
alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.config_json import config_json, rope_parameters
from etchproof.checkpoint.tensors import INDEX_FILE, SINGLE_FILE, expected_tensors
from etchproof.checkpoint.tokenizer import TOKENIZER_FILE
from etchproof.errors import InputError
from etchproof.files.json_file import read_json_object, write_json
from etchproof.files.regular import open_regular

RopeForm = Literal["new", "old"]

WRITER_VERSION: Final = 1
"""Raised whenever the same config and seed give other bytes."""

_BLOCK: Final = 1 << 15  # weights drawn at once: what they go through stays in a core's own cache
_SHARD_BYTES: Final = 1 << 31
_READ_BYTES: Final = 1 << 22
_ENTRY_FILE: Final = "synthetic.json"
_HASHES: Final = "sha256"
_DTYPE_NAMES: Final = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def write_synthetic(
    folder: str | Path,
    config: ModelConfig,
    seed: int,
    *,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    rope_form: RopeForm = "new",
    tokenizer: bool = True,
) -> Path:
    """Write a complete checkpoint folder of seeded random weights; return the folder.

    Args:
        folder: made if need be; files of the same names are replaced.
        dtype: float32, float16 or bfloat16, for all tensors.
        shards: weight files; more than one come with an index. Memory holds one shard at a time.
        rope_form: ``config.json`` as transformers 5 writes it (``rope_parameters``) or as older ones did.
        tokenizer: also write a byte-level ``tokenizer.json``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", hf_config(config, dtype, rope_form))
    if tokenizer:
        write_json(folder / TOKENIZER_FILE, _byte_tokenizer(config))

    parts = _split(expected_tensors(config), shards)
    if len(parts) == 1:
        save_file(_draw(parts[0], seed, dtype), folder / SINGLE_FILE, metadata={"format": "pt"})
        return folder
    weight_map: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        shard = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(_draw(part, seed, dtype), folder / shard, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, shard))
    size_bytes = dtype.itemsize * sum(math.prod(shape) for part in parts for shape in part.values())
    write_json(folder / INDEX_FILE, {"metadata": {"total_size": size_bytes}, "weight_map": weight_map})
    return folder


def cached_synthetic(config: ModelConfig, seed: int, cache_dir: Path) -> tuple[Path, bool]:
    """A folder below ``cache_dir``/synthetic with bfloat16 weights and no tokenizer, drawn when it is not there.

    The folder is named after the config, and so is the model that it holds. Of runs side by side, one draws and the
    others wait. An entry is trusted by content: one in which a file is missing, changed or added is drawn again. A
    cache that cannot be written to serves what it has.

    Returns:
        The folder, and whether it was there.

    Raises:
        InputError: the cache cannot be used.
    """
    shape = config.model_dump(mode="json")
    content = {"config": shape, "seed": seed, "dtype": "bfloat16", "writer": WRITER_VERSION}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    entry = cache_dir / "synthetic" / key
    folder = entry / config.name
    try:
        if _is_whole(folder, content):
            return folder, True
        entry.mkdir(parents=True, exist_ok=True)
        with FileLock(entry / ".lock"):
            if _is_whole(folder, content):
                return folder, True
            size_bytes = 2 * sum(math.prod(shape) for shape in expected_tensors(config).values())
            with tempfile.TemporaryDirectory(dir=entry, prefix=".new-") as parent:
                fresh = Path(parent) / config.name
                shards = -(-size_bytes // _SHARD_BYTES)
                write_synthetic(fresh, config, seed, dtype=torch.bfloat16, shards=shards, tokenizer=False)
                write_json(fresh / _ENTRY_FILE, {**content, _HASHES: _hashes(fresh)})
                _remove(folder)  # damaged, or it would have been used
                fresh.rename(folder)
    except OSError as error:
        raise InputError(
            f"cannot be used: {error.strerror or error}",
            source=entry,
            hint="name another with ETCHPROOF_CACHE",
        ) from error
    return folder, False


def _is_whole(folder: Path, content: dict[str, Any]) -> bool:
    """Whether a folder of the cache holds what was written for that content, and nothing else."""
    try:
        said = read_json_object(folder / _ENTRY_FILE)
        return said == {**content, _HASHES: _hashes(folder)}
    except (OSError, InputError):  # missing, no folder, no regular file, no JSON
        return False


def _hashes(folder: Path) -> dict[str, str]:
    """The hash of each file of an entry but the one that holds them; several are read at a time."""
    paths = sorted(path for path in folder.iterdir() if path.name != _ENTRY_FILE)
    with ThreadPoolExecutor(max(1, min(len(paths), torch.get_num_threads()))) as pool:
        return dict(zip((path.name for path in paths), pool.map(_sha256, paths), strict=True))


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with open_regular(path) as stream:
        while block := stream.read(_READ_BYTES):
            total.update(block)
    return total.hexdigest()


def _remove(path: Path) -> None:
    """Whatever stands there, if anything does."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def random_tensor(name: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """One tensor of a synthetic checkpoint, drawn from a generator of its own, seeded by ``seed`` and ``name``.

    A weight is the sum of four 16-bit integers (close to normal, bounded by 3.5 sigma), scaled in float32 to a standard
    deviation of 1/sqrt(in_features) for matrices and 0.1 for vectors, and rounded to ``dtype``; norms centre on 1,
    biases on 0.
    """
    if len(shape) == 1:
        mean, sigma = (0.0 if name.endswith(".bias") else 1.0), 0.1
    else:
        mean, sigma = 0.0, 1 / math.sqrt(shape[-1])
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
    result = torch.empty(shape, dtype=dtype)
    flat = result.view(-1)
    values = np.empty(min(_BLOCK, len(flat)), dtype=np.float32)
    for first in range(0, len(flat), _BLOCK):
        block = values[: len(flat) - first]
        _near_normal(generator, block)
        block *= np.float32(sigma)
        block += np.float32(mean)
        flat[first : first + len(block)] = torch.from_numpy(block)
    return result


def hf_config(config: ModelConfig, dtype: torch.dtype, rope_form: RopeForm) -> dict[str, Any]:
    """The ``config.json`` that ``read_config`` resolves to ``config``."""
    raw = config_json(config)
    if rope_form == "new":
        raw["dtype"] = _DTYPE_NAMES[dtype]
        raw["rope_parameters"] = rope_parameters(config)
    else:
        scaling = None if config.rope.scaling is None else config.rope.scaling.model_dump()
        raw["torch_dtype"] = _DTYPE_NAMES[dtype]
        raw["rope_theta"] = config.rope.theta
        if scaling is not None and scaling["rope_type"] == "linear":  # from before the key was renamed
            scaling["type"] = scaling.pop("rope_type")
        raw["rope_scaling"] = scaling
    return raw


def _draw(shapes: dict[str, tuple[int, ...]], seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors, several at a time: each has a generator of its own."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        by_size = sorted(shapes, key=lambda name: -math.prod(shapes[name]))  # the long ones first
        drawn = {name: pool.submit(random_tensor, name, shapes[name], seed, dtype) for name in by_size}
        return {name: drawn[name].result() for name in shapes}


def _near_normal(generator: np.random.Generator, values: NDArray[np.float32]) -> None:
    """Fill ``values`` (count,) with mean 0 and standard deviation 1, each from one 64-bit word of the raw stream."""
    # From the full range, integers() is the raw stream itself; random_raw() takes a lock for each word.
    words = generator.integers(0, 2**64 - 1, size=len(values), dtype=np.uint64, endpoint=True)  # (count,)
    lanes = np.uint64(0x0000_FFFF_0000_FFFF)
    upper = words >> np.uint64(16)
    upper &= lanes
    words &= lanes
    words += upper  # two sums of two, 17 bits each
    np.right_shift(words, np.uint64(32), out=upper)
    words &= np.uint64(0x1FFFF)
    words += upper  # (count,) sums of four
    centred = words.view(np.int64)
    centred *= 2
    centred -= 4 * 0xFFFF  # symmetric about 0
    values[:] = centred
    values /= np.float32(2 * 0x10000 / math.sqrt(3))


def _split(shapes: dict[str, tuple[int, ...]], shards: int) -> list[dict[str, tuple[int, ...]]]:
    """Contiguous parts of about equal size, none empty: at most ``shards``, fewer of few tensors."""
    total = sum(math.prod(shape) for shape in shapes.values())
    parts: dict[int, dict[str, tuple[int, ...]]] = {}
    done = 0
    for name, shape in shapes.items():
        parts.setdefault(done * shards // total, {})[name] = shape
        done += math.prod(shape)
    return list(parts.values())


def _byte_tokenizer(config: ModelConfig) -> dict[str, Any]:
    """A byte-level BPE without merges: special tokens at the config's ids, bytes on the ids left, as far as
    they reach.

    Printable ASCII comes first, so that a vocabulary of 100 still reads and writes English; with an ``<unk>``
    for the rest.
    """
    special: dict[str, int] = {}
    if config.bos_token_id is not None:
        special["<s>"] = config.bos_token_id
    for number, token in enumerate(dict.fromkeys(config.eos_token_ids)):
        if token != config.bos_token_id:
            special["</s>" if number == 0 else f"</s{number}>"] = token
    free = (token for token in range(config.vocab_size) if token not in special.values())
    if config.vocab_size - len(special) < 256:
        special["<unk>"] = next(free, 0)

    printable = [
        *range(0x21, 0x7F),
        *range(0xA1, 0xAD),
        *range(0xAE, 0x100),
    ]  # GPT-2's byte alphabet: these stand for themselves
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + n) for n, byte in enumerate(others)
    }
    order = sorted(range(256), key=lambda byte: (not (0x20 <= byte < 0x7F or byte == 0x0A), byte))
    vocab = special | {characters[byte]: token for byte, token in zip(order, free, strict=False)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token, "content": content, **flags}
            for content, token in sorted(special.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None if config.bos_token_id is None else _begin_with_bos(config.bos_token_id),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>" if "<unk>" in special else None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [],
        },
    }


def _begin_with_bos(bos: int) -> dict[str, Any]:
    """The post-processor that puts BOS before a text."""
    first, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]}},
    }
