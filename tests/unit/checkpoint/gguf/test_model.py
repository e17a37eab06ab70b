"""What a GGUF file says beside its weights, written as the small files of a checkpoint's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etchproof.checkpoint import Tokenizer, load_checkpoint, read_config
from etchproof.checkpoint.gguf.model import GgufModel, is_gguf, open_gguf_model
from etchproof.errors import InputError
from tests.gguf_model import model, plain


def written(model_file: GgufModel, folder: Path) -> Path:
    folder.mkdir()
    for name, text in model_file.small_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_folder_of_small_files_is_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "drawn.gguf"
    path.write_bytes(model(changes={"llama.rope.scaling.factor": 4.0}).content())
    checkpoint = load_checkpoint(path)
    folder = written(open_gguf_model(path), tmp_path / "drawn")
    assert read_config(folder) == checkpoint.config
    one, other = checkpoint.tokenizer(), Tokenizer(folder / "tokenizer.json", 300)
    for text in ("hello", "a 12 <|im_end|>", "\u20ac"):
        assert one.encode(text) == other.encode(text)
    assert one.config == other.config
    one.close()
    other.close()


def test_frequencies_of_each_pair(tmp_path: Path) -> None:
    parts = model()
    parts.tensors["rope_freqs.weight"] = plain("F32", [1.0, 1.5, 2.0, 8.0])
    (tmp_path / "drawn.gguf").write_bytes(parts.content())
    folder = written(open_gguf_model(tmp_path / "drawn.gguf"), tmp_path / "drawn")
    rope = json.loads((folder / "config.json").read_text())["rope_parameters"]
    assert rope == {"rope_type": "factors", "factors": [1.0, 1.5, 2.0, 8.0], "rope_theta": 10000.0}


def test_a_tokenizer_that_is_not_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "drawn.gguf").write_bytes(model(changes={"tokenizer.ggml.pre": "tekken"}).content())
    assert list(open_gguf_model(tmp_path / "drawn.gguf").small_files()) == ["config.json"]


def test_a_file_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "drawn.gguf"
    path.write_bytes(model().content())
    opened = open_gguf_model(path)
    path.write_bytes(model().content() + b"x")
    with pytest.raises(InputError, match="was changed since it was opened"):
        opened.small_files()


def test_names(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    assert is_gguf("model.gguf") and is_gguf("MODEL.GGUF") and is_gguf(tmp_path / "none.gguf")
    assert not is_gguf(tmp_path / "folder.gguf") and not is_gguf("model.safetensors") and not is_gguf("gguf")
