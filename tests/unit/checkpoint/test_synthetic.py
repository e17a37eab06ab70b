"""Synthetic checkpoints: the same bytes for the same seed, and every form reads back as it was asked for."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from etchproof.checkpoint import (
    LinearScaling,
    Llama3Scaling,
    ModelConfig,
    RopeConfig,
    cached_synthetic,
    load_checkpoint,
    read_config,
    write_synthetic,
)
from etchproof.checkpoint.synthetic import RopeForm, random_tensor
from etchproof.errors import InputError

LLAMA3 = Llama3Scaling(factor=8, low_freq_factor=1, high_freq_factor=4, original_max_position_embeddings=16)


def test_the_bytes_are_fixed(tmp_path: Path, tiny: ModelConfig) -> None:
    """A new hash here means that every checkpoint made from a seed has changed: intended?"""
    one = write_synthetic(tmp_path / "tiny", tiny, seed=1)
    digest = hashlib.sha256((one / "model.safetensors").read_bytes()).hexdigest()
    assert digest == "118546c7c7a560739a472576afd400c8ad71dd434f7aae4a51453d855fb58e53"


def test_drawn_values() -> None:
    matrix = random_tensor("a.weight", (300, 400), seed=0)
    assert float(matrix.mean()) == pytest.approx(0, abs=5e-4)
    assert float(matrix.std()) == pytest.approx(400**-0.5, rel=0.01)
    assert not torch.equal(matrix, random_tensor("a.weight", (300, 400), seed=1))
    assert not torch.equal(matrix, random_tensor("b.weight", (300, 400), seed=0))
    assert float(random_tensor("norm.weight", (1000,), seed=0).mean()) == pytest.approx(1, abs=0.02)


def test_a_tensor_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_tensor("a.weight", (30, 41), seed=3)
    monkeypatch.setattr("etchproof.checkpoint.synthetic._BLOCK", 100)
    assert torch.equal(whole, random_tensor("a.weight", (30, 41), seed=3))


def test_threads_change_nothing(tmp_path: Path, tiny: ModelConfig) -> None:
    before = torch.get_num_threads()
    digests = set()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            folder = write_synthetic(tmp_path / f"{threads}", tiny, seed=1)
            digests.add(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dtypes_round_the_same_draw(tmp_path: Path, tiny: ModelConfig, dtype: torch.dtype) -> None:
    checkpoint = load_checkpoint(write_synthetic(tmp_path / "tiny", tiny, seed=1, dtype=dtype, shards=2))
    for name in checkpoint.tensor_names:
        value = checkpoint.tensor(name)
        assert torch.equal(value, random_tensor(name, tuple(value.shape), seed=1).to(dtype).float())


@pytest.mark.parametrize("form", ["new", "old"])
@pytest.mark.parametrize("scaling", [None, LLAMA3, LinearScaling(factor=2)], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("eos", [(), (2,), (2, 5)], ids=str)
def test_the_config_reads_back(
    tmp_path: Path,
    tiny: ModelConfig,
    form: RopeForm,
    scaling: Llama3Scaling | LinearScaling | None,
    eos: tuple[int, ...],
) -> None:
    config = tiny.model_copy(update={"rope": RopeConfig(theta=5e4, scaling=scaling), "eos_token_ids": eos})
    assert read_config(write_synthetic(tmp_path / "tiny", config, seed=1, rope_form=form)) == config


@pytest.mark.parametrize("shards", [1, 2, 5, 1000])
def test_shards(tmp_path: Path, tiny: ModelConfig, shards: int) -> None:
    checkpoint = load_checkpoint(write_synthetic(tmp_path / "tiny", tiny, seed=1, shards=shards))
    assert len(checkpoint.weights.files) <= shards + (shards > 1)


@pytest.mark.parametrize("vocab_size", [3, 4, 50, 100, 258, 259, 512])
def test_the_tokenizer_fits_any_vocabulary(tmp_path: Path, tiny: ModelConfig, vocab_size: int) -> None:
    config = tiny.model_copy(update={"vocab_size": vocab_size})
    tokenizer = load_checkpoint(write_synthetic(tmp_path / "tiny", config, seed=1)).tokenizer()
    ids = tokenizer.encode("Hi there!\n\u20ac")
    assert ids[0] == 1
    assert max(ids) < vocab_size
    if vocab_size >= 258:
        assert tokenizer.decode(ids) == "Hi there!\n\u20ac"
    elif vocab_size == 100:
        assert tokenizer.decode(ids) == "Hi there!\n"


def flip(path: Path, at: int) -> None:
    """One bit, at the same size."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def instead(path: Path, make: Callable[[Path], object]) -> None:
    """Something else in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    make(path)


def another_seed(folder: Path) -> None:
    """A whole entry, and another's: its file says so."""
    path = folder / "synthetic.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "seed": 7}))


WEIGHTS, CONFIG, ENTRY = "model.safetensors", "config.json", "synthetic.json"
DAMAGE: dict[str, Callable[[Path], object]] = {
    "a weight that changed": lambda folder: flip(folder / WEIGHTS, -1),
    "a header that changed": lambda folder: flip(folder / WEIGHTS, 20),
    "a config that changed": lambda folder: flip(folder / CONFIG, 40),
    "weights cut short": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-8]),
    "empty weights": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no config": lambda folder: (folder / CONFIG).unlink(),
    "a folder for weights": lambda folder: instead(folder / WEIGHTS, Path.mkdir),
    "a FIFO for weights": lambda folder: instead(folder / WEIGHTS, os.mkfifo),
    "a dangling link for weights": lambda folder: instead(
        folder / WEIGHTS, lambda path: path.symlink_to("none")
    ),
    "a file more": lambda folder: (folder / "adapter_config.json").write_text("{}"),
    "a folder more": lambda folder: (folder / "more").mkdir(),
    "no entry file": lambda folder: (folder / ENTRY).unlink(),
    "an entry file that is no JSON": lambda folder: (folder / ENTRY).write_text("{"),
    "an entry file that is no object": lambda folder: (folder / ENTRY).write_text("[1]"),
    "an entry file of other types": lambda folder: (folder / ENTRY).write_text(
        '{"sha256": 3, "size_bytes": []}'
    ),
    "an entry file without files": lambda folder: (folder / ENTRY).write_text(
        '{"sha256": {}, "size_bytes": {}}'
    ),
    "an entry file without end": lambda folder: (folder / ENTRY).write_text("[" * 100_000),
    "an entry file of no text": lambda folder: (folder / ENTRY).write_bytes(b"\xff\xfe"),
    "a folder for the entry file": lambda folder: instead(folder / ENTRY, Path.mkdir),
    "a FIFO for the entry file": lambda folder: instead(folder / ENTRY, os.mkfifo),
    "another's entry file": another_seed,
    "a file for the folder": lambda folder: instead(folder, Path.touch),
    "a link for the folder": lambda folder: instead(folder, lambda path: path.symlink_to("none")),
    "an empty folder": lambda folder: instead(folder, Path.mkdir),
    "no folder": shutil.rmtree,
}
"""What can become of an entry, given its folder."""


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a read-only file system answers: tests run as root too, whom modes do not stop."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("mkdir", "rename", "unlink", "write_text"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr("etchproof.checkpoint.synthetic.FileLock", refuse)


class TestCache:
    def test_drawn_once(self, tmp_path: Path, tiny: ModelConfig) -> None:
        folder, cached = cached_synthetic(tiny, 1, tmp_path)
        assert not cached
        assert folder.name == "tiny"
        checkpoint = load_checkpoint(folder)
        assert checkpoint.config == tiny
        assert not (folder / "tokenizer.json").exists()
        name = "model.layers.0.mlp.up_proj.weight"
        expected = random_tensor(name, (10, 12), 1).bfloat16().float()
        assert torch.equal(checkpoint.tensor(name), expected)
        assert cached_synthetic(tiny, 1, tmp_path) == (folder, True)
        assert not list(folder.parent.glob(".new-*"))

    def test_the_same_bytes_anywhere(self, tmp_path: Path, tiny: ModelConfig) -> None:
        here, there = (cached_synthetic(tiny, 3, tmp_path / name)[0] for name in ("here", "there"))
        assert {path.name for path in here.iterdir()} == {path.name for path in there.iterdir()}
        for path in here.iterdir():
            assert path.read_bytes() == (there / path.name).read_bytes()

    def test_whatever_differs_is_another_entry(self, tmp_path: Path, tiny: ModelConfig) -> None:
        other = [
            tiny,
            tiny.model_copy(update={"n_layers": 1}),
            tiny.model_copy(update={"vocab_size": 71}),
            tiny.model_copy(update={"name": "other"}),
        ]
        folders = {cached_synthetic(config, seed, tmp_path)[0] for config in other for seed in (1, 2)}
        assert len(folders) == 8

    def test_another_writer_is_another_entry(
        self, tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cached_synthetic(tiny, 1, tmp_path)
        monkeypatch.setattr("etchproof.checkpoint.synthetic.WRITER_VERSION", 99)
        assert not cached_synthetic(tiny, 1, tmp_path)[1]

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json", "synthetic.json"])
    @pytest.mark.parametrize("content", [None, b"{}"], ids=["gone", "cut"])
    def test_a_damaged_entry_is_drawn_again(
        self, tmp_path: Path, tiny: ModelConfig, name: str, content: bytes | None
    ) -> None:
        folder, _ = cached_synthetic(tiny, 1, tmp_path)
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        assert cached_synthetic(tiny, 1, tmp_path) == (folder, False)
        assert (folder / name).read_bytes() == whole

    @pytest.mark.parametrize("how", DAMAGE)
    def test_an_entry_is_trusted_by_content(self, tmp_path: Path, tiny: ModelConfig, how: str) -> None:
        """Whatever became of it, the next run has the folder that the first one had."""
        folder, _ = cached_synthetic(tiny, 1, tmp_path)
        whole = {path.name: path.read_bytes() for path in folder.iterdir()}
        DAMAGE[how](folder)
        assert cached_synthetic(tiny, 1, tmp_path) == (folder, False)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
        assert cached_synthetic(tiny, 1, tmp_path) == (folder, True)

    @pytest.mark.parametrize("how", DAMAGE)
    def test_a_damaged_entry_of_a_read_only_cache_is_refused(
        self, tmp_path: Path, tiny: ModelConfig, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, _ = cached_synthetic(tiny, 1, tmp_path)
        DAMAGE[how](folder)
        read_only(monkeypatch)
        with pytest.raises(InputError, match=r"cannot be used: Read-only file system .*ETCHPROOF_CACHE"):
            cached_synthetic(tiny, 1, tmp_path)

    def test_a_read_only_cache_serves_what_it_has(
        self, tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, _ = cached_synthetic(tiny, 1, tmp_path)
        read_only(monkeypatch)
        assert cached_synthetic(tiny, 1, tmp_path) == (folder, True)
        with pytest.raises(InputError, match="cannot be used: Read-only file system"):
            cached_synthetic(tiny, 2, tmp_path)

    def test_large_ones_are_sharded(
        self, tmp_path: Path, tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("etchproof.checkpoint.synthetic._SHARD_BYTES", 1000)
        folder, _ = cached_synthetic(tiny, 1, tmp_path)
        assert len(list(folder.glob("model-*.safetensors"))) > 2
        assert cached_synthetic(tiny, 1, tmp_path) == (folder, True)
        load_checkpoint(folder)

    def test_side_by_side(self, tmp_path: Path, tiny: ModelConfig) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            found = pool.starmap(cached_synthetic, [(tiny, 1, tmp_path)] * 4)
        assert len({folder for folder, _ in found}) == 1
        assert sorted(cached for _, cached in found) == [False, True, True, True]

    def test_a_cache_that_cannot_be(self, tmp_path: Path, tiny: ModelConfig) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be used"):
            cached_synthetic(tiny, 1, tmp_path / "file")
