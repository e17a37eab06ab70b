"""``load_checkpoint``: wrong paths in one line, and a content hash that only the content moves."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from etchproof.checkpoint import ModelConfig, load_checkpoint, write_synthetic
from etchproof.errors import InputError


def test_the_record(folder: Path, tiny: ModelConfig) -> None:
    checkpoint = load_checkpoint(str(folder))
    assert (checkpoint.path, checkpoint.name, checkpoint.config) == (folder, "tiny", tiny)
    assert checkpoint.tensor("model.norm.weight").dtype == torch.float32
    checkpoint.check_values()


def test_the_hash_follows_the_content_alone(folder: Path, tmp_path: Path, tiny: ModelConfig) -> None:
    original = load_checkpoint(folder).sha256
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    assert load_checkpoint(copy).sha256 == original
    (copy / "README.md").write_text("not part of the content")
    assert load_checkpoint(copy).sha256 == original
    with (copy / "config.json").open("a") as config:
        config.write("\n")
    assert load_checkpoint(copy).sha256 != original
    assert load_checkpoint(write_synthetic(tmp_path / "other", tiny, seed=2)).sha256 != original
    assert load_checkpoint(write_synthetic(tmp_path / "parts", tiny, seed=1, shards=2)).sha256 != original


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no/such/folder/here", r"no/such/folder/here: checkpoint folder not found$"),
        (
            "meta-llama/Llama-3.1-8B",
            r"checkpoint folder not found \(if this is a hub id: nothing is downloaded here",
        ),
        ("a\0b", r"checkpoint 'a\\x00b' is no usable path"),
        ("", "checkpoint '' is no usable path"),
        ("x" * 5000, "is no usable path"),
    ],
    ids=lambda value: value[:20].replace("\0", "?"),
)
def test_wrong_paths(path: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        load_checkpoint(path)


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    with pytest.raises(InputError, match=r"model\.safetensors: is a file, expected the checkpoint's folder"):
        load_checkpoint(folder / "model.safetensors")


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: file not found"):
        load_checkpoint(tmp_path)


def test_runs_without_a_tokenizer_until_one_is_asked_for(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    checkpoint = load_checkpoint(folder)
    with pytest.raises(InputError, match=r"tokenizer\.json: file not found"):
        checkpoint.tokenizer()


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_in_the_model_s_own_folder(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    with pytest.raises(InputError, match=rf"{name}: lies in the model's own folder.*--adapter"):
        load_checkpoint(folder)


def test_an_adapter_s_folder_in_place_of_a_model_s(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"is an adapter's folder, expected a model's .*--adapter"):
        load_checkpoint(folder)


def test_harmless_files_beside_the_model(folder: Path, tiny: ModelConfig) -> None:
    """transformers prefers model.safetensors, and reads none of these."""
    before = load_checkpoint(folder).sha256
    for name in (
        "README.md",
        ".gitattributes",
        "trainer_state.json",
        "pytorch_model.bin",
        "model.fp16.safetensors",
    ):
        (folder / name).write_text("x")
    (folder / "checkpoint-100").mkdir()
    (folder / "checkpoint-100" / "adapter_config.json").write_text("{}")
    after = load_checkpoint(folder)
    assert (after.sha256, after.config) == (before, tiny)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [fifo, device, Path.mkdir])
@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
)
def test_what_is_no_file(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(InputError, match=rf"{re.escape(name)}: is a .*, expected a regular file"):
        load_checkpoint(folder).tokenizer()


@pytest.mark.parametrize("make", [fifo, device, Path.mkdir])
@pytest.mark.parametrize("name", ["model.safetensors.index.json", "model-00001-of-00002.safetensors"])
def test_a_shard_that_is_no_file(
    tmp_path: Path, tiny: ModelConfig, name: str, make: Callable[[Path], None]
) -> None:
    folder = write_synthetic(tmp_path / "tiny", tiny, seed=1, shards=2)
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(InputError, match=rf"{re.escape(name)}: is a .*, expected a regular file"):
        load_checkpoint(folder)
