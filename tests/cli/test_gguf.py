"""A ``.gguf`` file where a command takes a model: the chip is that of a folder, and published codes are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from etchproof import cli
from etchproof.checkpoint import load_checkpoint
from etchproof.checkpoint.gguf.weights import gguf_name
from etchproof.run.design import Design, Quantized
from etchproof.run.record import model_record
from tests.cli.conftest import Cosim, Done, Refused
from tests.gguf_model import Sizes, model, plain, tokenizer

SAID = "drawn.gguf holds published codes (14 Q4_1, 1 Q8_0): they are not etched, but dequantized and quantized again by"


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.gguf"
    path.write_bytes(model().content())
    return path


def tiny_as_gguf(folder: Path, path: Path) -> Path:
    """The shipped checkpoint in one file, rows of q and k laid out as llama.cpp's converter does it."""
    sizes = Sizes(hidden=48, mlp=132, layers=3, heads=6, kv_heads=2, vocab=397, context=256)
    parts = model(sizes, "F32", embedding="F32", tied=False)
    parts.metadata["llama.attention.layer_norm_rms_epsilon"] = 1e-5
    for key in [key for key in parts.metadata if key.startswith("tokenizer.")]:
        del parts.metadata[key]
    parts.metadata |= {"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2}
    for name, values in load_file(folder / "model.safetensors").items():
        heads = 6 if "q_proj" in name else 2 if "k_proj" in name else 0
        rows = np.asarray(values, dtype=np.float32)
        if heads:
            rows = rows.reshape(heads, 2, -1, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)
        parts.tensors[gguf_name(name)] = plain("F32", rows)
    path.write_bytes(parts.content())
    return path


@pytest.mark.sim
def test_the_chip_is_that_of_the_folder(
    cosim: Cosim, passed: tuple[Done, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The same weights from another format: the same ROM, the same tokens."""
    whole = passed[0].result
    path = tiny_as_gguf(tiny_checkpoint, tmp_path / "tiny.gguf")
    done = cosim("--prompt-ids", ",".join(map(str, whole.prompt_tokens)), model=path, prompt=None)
    result = done.result
    assert (done.status, result.verdict, done.stderr) == (0, "PASS", "")
    assert (result.rom_sha256, result.fabric_sha256) == (whole.rom_sha256, whole.fabric_sha256)
    assert result.generated_tokens == whole.generated_tokens
    assert (result.model.name, result.model.path, result.model.published) == ("tiny", str(path), None)
    kept = json.loads((done.out / "model" / "config.json").read_text(encoding="utf-8"))
    assert kept["num_hidden_layers"] == 3 and kept["rope_parameters"] == {
        "rope_type": "default",
        "rope_theta": 10000.0,
    }


def test_quality(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "quality",
        str(drawn),
        "--recipe",
        "w8a16",
        "--sequences",
        "1",
        "--length",
        "8",
        "--out",
        str(tmp_path / "q"),
    ]
    assert cli.run(words) == 0
    captured = capsys.readouterr()
    assert SAID in captured.err and "perplexity" in captured.out
    assert json.loads((tmp_path / "q").read_text())["checkpoint_sha256"] == load_checkpoint(drawn).sha256


def test_the_record_says_what_was_published(drawn: Path) -> None:
    checkpoint = load_checkpoint(drawn)
    design = Design(None, Quantized(checkpoint, None), None)  # type: ignore[arg-type]
    record = model_record(design)
    assert (record.name, record.path, record.published) == ("drawn", str(drawn), "14 Q4_1, 1 Q8_0")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"general.architecture": "gemma"}, "general.architecture: is 'gemma', which is not modelled"),
        ({"llama.block_count": 7}, "blk.2.attn_norm.weight: is missing"),
        (
            {"tokenizer.ggml.pre": "tekken"},
            "tokenizer.ggml.pre: is 'tekken', a pre-tokenizer that is not read here",
        ),
    ],
)
@pytest.mark.parametrize("command", ["cosim", "test"])
def test_refused(command: str, change: dict[str, object], said: str, refused: Refused, drawn: Path) -> None:
    drawn.write_bytes(model(changes=change).content())
    words = [command, *(["GreedyGeneration"] if command == "test" else []), str(drawn), "--prompt", "hello"]
    assert said in refused(*words)


def test_refused_files(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    assert "empty.gguf: is empty, expected a GGUF file" in refused(
        "cosim", tmp_path / "empty.gguf", "--prompt", "x"
    )
    assert "none.gguf: file not found" in refused("quality", tmp_path / "none.gguf")
    bare = model()
    for key in tokenizer(300):
        del bare.metadata[key]
    (tmp_path / "bare.gguf").write_bytes(bare.content())
    said = "bare.gguf: tokenizer.ggml.model: holds no tokenizer"
    assert said in refused("cosim", tmp_path / "bare.gguf", "--prompt", "x")
    assert said in refused("test", "GreedyGeneration", tmp_path / "bare.gguf", "--prompt", "x")
    assert said in refused("cosim", tmp_path / "bare.gguf", "--chat", "x")
