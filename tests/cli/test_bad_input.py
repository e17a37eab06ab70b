"""Bad input: exit status 2, one line on stderr that says what and where, and nothing written."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from etchproof import cli
from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import read_config
from etchproof.sim.build import CACHE_ENV
from etchproof.tools import VERILATOR_ENV
from tests.cli.conftest import Refused, command


@pytest.fixture
def model(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the shipped checkpoint, to spoil."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))


def test_as_a_process(tmp_path: Path, cli_env: dict[str, str]) -> None:
    done = subprocess.run(
        command("cosim", "nowhere"), cwd=tmp_path, env=cli_env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "etchproof: nowhere: checkpoint folder not found\n")
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["cosim", "nowhere", "--debug"]) == 2
    captured = capfd.readouterr()
    assert "Traceback" in captured.err
    assert captured.err.splitlines()[-1] == "etchproof: nowhere: checkpoint folder not found"


@pytest.mark.parametrize("size", [0, 5, 3000, -1])
def test_truncated_weights(refused: Refused, model: Path, size: int) -> None:
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:size])
    assert refused("cosim", model).startswith(f"{weights}: ")


def test_corrupt_weights(refused: Refused, model: Path) -> None:
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[20:40] = b"\xff" * 20
    weights.write_bytes(content)
    assert refused("cosim", model).startswith(f"{weights}: ")


def test_wrong_shape(refused: Refused, model: Path) -> None:
    weights = model / "model.safetensors"
    tensors = load_file(weights)
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, weights)
    line = refused("cosim", model)
    assert str(weights) in line
    assert name in line
    assert "131" in line
    assert "132" in line


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_absent_file(refused: Refused, model: Path, name: str) -> None:
    (model / name).unlink()
    assert refused("cosim", model).startswith(f"{model}")


def test_absent_tokenizer(refused: Refused, model: Path) -> None:
    (model / "tokenizer.json").unlink()
    line = refused("cosim", model, "--prompt", "Once")
    assert line == f"{model / 'tokenizer.json'}: file not found (give the prompt as --prompt-ids)"


def test_chat_without_a_template(refused: Refused, model: Path) -> None:
    hint = "(give the prompt as --prompt or --prompt-ids)"
    none = "there is no chat template: no chat_template.jinja, and no chat_template in tokenizer_config.json"
    for words in (("cosim", model), ("test", "GreedyGeneration", model)):
        assert refused(*words, "--chat", "Hello?") == f"{model}: {none} {hint}"
    (model / "tokenizer.json").unlink()
    for words in (("cosim", model), ("test", "GreedyGeneration", model)):
        assert refused(*words, "--chat", "Hello?").startswith(f"{model / 'tokenizer.json'}: file not found")


def test_a_chat_template_that_refuses(refused: Refused, model: Path) -> None:
    path = model / "chat_template.jinja"
    path.write_text("{{ raise_exception('tools only') }}")
    problem = (
        "the chat template refuses the message: tools only (give the prompt as --prompt or --prompt-ids)"
    )
    for words in (("cosim", model), ("test", "GreedyGeneration", model)):
        assert refused(*words, "--chat", "Hello?") == f"{path}: {problem}"


def test_unknown_model_type(refused: Refused, model: Path) -> None:
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}), encoding="utf-8")
    line = refused("cosim", model)
    assert line.startswith(f"{model / 'config.json'}: model_type: ")
    assert "gpt2" in line


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('matrices:\n - {match: "*", bits: 5, group_size: 16}', "matrices[0].bits"),
        ('matrices:\n - {match: "lm_head", bits: 6, group_size: 16}', "matrices"),
        ('matrices:\n - {match: "*", bits: 6, group_size: 128}\ntile: {rows: 32, inputs: 16}', "tile.rows"),
        ('matrices:\n - {match: "*", bits: 6, group_size: 16}\ncolour: 3', "colour"),
        ("matrices: [", "is not valid YAML"),
    ],
)
def test_impossible_recipe(refused: Refused, model: Path, tmp_path: Path, text: str, key: str) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text, encoding="utf-8")
    line = refused("cosim", model, "--recipe", recipe)
    assert "mine" in line
    assert key in line


def test_unknown_recipe_lists_the_known(refused: Refused, model: Path) -> None:
    assert "recipe 'w5a16' is not known (known are w3w6a16, w4a16, w6a16" in refused(
        "cosim", model, "--recipe", "w5a16"
    )


def test_prompt_longer_than_the_context(refused: Refused, model: Path) -> None:
    line = refused("cosim", model, "--prompt-ids", ",".join(["5"] * 257))
    assert line == "--prompt-ids: has 257 tokens, the chip's context holds 256"
    line = refused("cosim", model, "--prompt", "Once upon a time " * 200)
    assert line.startswith("--prompt: has ")
    (model / "chat_template.jinja").write_text("{{ messages[0].content * 200 }}")
    line = refused("cosim", model, "--chat", "Once upon a time ")
    assert line.startswith("--chat: has ")


def test_more_tokens_than_the_context(refused: Refused, model: Path) -> None:
    line = refused("cosim", model, "--prompt-ids", "1,2,3", "--tokens", "255")
    assert line.startswith("--tokens: is 255: with the prompt's 3 tokens that takes 257 positions")
    assert line.endswith("holds 256 (at most 254 fit)")
    assert "at most 254 fit" in line
    assert "context holds 8" in refused("cosim", model, "--context", "8", "--tokens", "9")


def test_folder_that_is_not_empty(refused: Refused, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    assert refused("cosim", model, "--out", out).startswith(f"{out}: --out: is not an empty folder")
    assert refused("cosim", model, "--out", out / "mine").startswith(f"{out / 'mine'}: --out: ")
    assert [path.name for path in out.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("site", "problem"),
    [
        ("rom:model.layers.9.mlp.down_proj[17,5]^1", "layer 9 of 3"),
        ("rom:model.layers.2.mlp.down_proj[48,5]^1", "element is outside [48,132]"),
        ("rom:model.layers.2.mlp.down_proj[17,5]^6", "bit 6 of 6"),
        ("rom:model.layers.2.mlp.down_proj[17]^1", "1 indices, expected 2"),
        ("rom:model.layers.2.mlp.mid_proj[17,5]^1", "no such tensor"),
        ("rom:lm_head", "is no site"),
        ("ram:lm_head[0,0]^0", "is no site"),
        ("", "is no site"),
    ],
)
def test_site_that_is_not_on_the_chip(refused: Refused, model: Path, site: str, problem: str) -> None:
    line = refused("cosim", model, "--inject", site)
    assert line.startswith("--inject")
    assert problem in line


@pytest.fixture
def adapter(model: Path, tmp_path: Path) -> Path:
    """An adapter of v_proj, of rank 3."""
    config = AdapterConfig(r=3, lora_alpha=3.0, target_modules=("v_proj",))
    return write_synthetic_adapter(tmp_path / "adapter", read_config(model), config, 1)


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"use_dora": True}, "use_dora: "),
        ({"bias": "all"}, "bias: "),
        ({"lora_bias": True}, "lora_bias: "),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: "),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: "),
        ({"init_lora_weights": "olora"}, "init_lora_weights: "),
        ({"init_lora_weights": "loftq"}, "init_lora_weights: "),
        ({"layer_replication": [[0, 1]]}, "layer_replication: "),
        ({"target_modules": ["v_proj", "embed_tokens"]}, "target_modules: "),
        ({"target_modules": ["lm_head"]}, "target_modules: "),
        ({"r": 17}, "r: is 17 "),
        ({"r": 2}, "lora_A.weight: "),
    ],
)
@pytest.mark.parametrize("name", ["cosim", "quality"])
def test_an_adapter_that_cannot_run(
    refused: Refused, model: Path, adapter: Path, name: str, changes: dict[str, object], problem: str
) -> None:
    change_config(adapter, **changes)
    line = refused(name, model, "--adapter", adapter)
    assert line.startswith(f"{adapter}/adapter_")
    assert problem in line


def test_adapters_of_nowhere_and_of_another_model(
    refused: Refused, model: Path, adapter: Path, stories260k: Path
) -> None:
    assert refused("cosim", model, "--adapter", "nowhere") == "nowhere: adapter folder not found"
    line = refused("cosim", stories260k, "--adapter", adapter)
    assert line.startswith(f"{adapter}/adapter_model.safetensors: ")
    assert "was the adapter made for stories260k" in line or "lora_A" in line


def test_an_adapter_is_refused_before_weights_are_drawn(
    refused: Refused, shape: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    line = refused("cosim", "--shape", shape, "--random-weights", "1", "--adapter", adapter)
    assert line.startswith(f"{adapter}/adapter_model.safetensors: ")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("site", "problem"),
    [
        ("lora:0:model.layers.1.self_attn.v_proj.lora_B[16,2]^4", "element is outside [16,3]"),
        ("lora:0:model.layers.1.self_attn.v_proj.lora_B[3,3]^4", "element is outside [16,3]"),
        ("lora:0:model.layers.1.self_attn.v_proj.lora_A[0,48]^4", "element is outside [3,48]"),
        ("lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]^16", "bit 16 of 16"),
        ("lora:0:model.layers.3.self_attn.v_proj.lora_B[3,2]^4", "layer 3 of 3"),
        ("lora:1:model.layers.1.self_attn.v_proj.lora_B[3,2]^4", "slot 1 is never loaded"),
        ("lora:0:model.layers.1.self_attn.q_proj.lora_B[3,2]^4", "does not adapt this linear"),
        ("lora:0:model.layers.1.self_attn.v_proj[3,2]^4", "is no site"),
    ],
)
def test_site_that_is_in_no_sram(
    refused: Refused, model: Path, adapter: Path, site: str, problem: str
) -> None:
    line = refused("cosim", model, "--adapter", adapter, "--inject", site)
    assert line.startswith("--inject")
    assert problem in line
    without = refused("cosim", model, "--inject", site)
    assert "no adapter is loaded" in without or "is no site" in without


def test_one_site_twice(refused: Refused, model: Path) -> None:
    assert "are the same bit" in refused(
        "cosim", model, "--inject", "rom:lm_head[0,0]^0", "--inject", "rom:lm_head[0,0]^0"
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "MODEL_DIR: is missing (name a checkpoint folder, a GGUF file, or a --shape)"),
        (["models", "more"], "more"),
        (["models", "--nope"], "--nope"),
        (["models", "--tokens", "0"], "--tokens"),
        (["models", "--tokens", "many"], "--tokens"),
        (["models", "--build", "slow"], "--build"),
        (["models", "--seed", "0"], "--seed"),
        (
            ["models", "--prompt-ids", "1,\u0663"],
            "--prompt-ids: is '1,\\u0663', expected token ids like 1,2,3",
        ),
        (["models", "--prompt-ids", "1,1_0"], "--prompt-ids: is '1,1_0', expected token ids like 1,2,3"),
        (["models", "--prompt-ids", "1,,2"], "--prompt-ids: is '1,,2', expected token ids like 1,2,3"),
        (["models", "--prompt-ids", "1", "--prompt", "a"], "--prompt-ids: stands beside --prompt"),
        (["models", "--chat", "a", "--prompt", "a"], "--chat: stands beside --prompt (give one of them)"),
        (
            ["models", "--chat", "a", "--prompt-ids", "1"],
            "--chat: stands beside --prompt-ids (give one of them)",
        ),
        (["models", "--timeout", "0"], "--timeout: is 0,"),
        (["models", "--timeout", "nan"], "--timeout: is nan"),
        (["models", "--dump-taps", "/etc"], "/etc: --dump-taps: is not an empty folder"),
        (["models", "--dump-taps", "/etc/hostname"], "/etc/hostname: --dump-taps: is not an empty folder"),
        (
            ["models", "--out", "run", "--dump-taps", "run/rom"],
            "--dump-taps: 'rom' in the folder of the run, expected taps or taps.npz",
        ),
        (["models", "--only-taps", "q_proj"], "--only-taps: stands without --dump-taps"),
        (
            ["models", "--dump-taps", "x", "--only-layers", "3-"],
            "--only-layers: is '3-', expected numbers like 0,3-5",
        ),
        (["models", "--dump-taps", "x", "--only-layers", "5-3"], "--only-layers: is '5-3'"),
        (["models", "--dump-taps", "x", "--only-tokens=-1"], "--only-tokens: is '-1'"),
        (
            ["models", "--dump-taps", "x", "--only-taps", "q_proj,"],
            "--only-taps: is 'q_proj,', expected names with commas",
        ),
        (["models", "--dump-taps", "nowhere/taps.npz"], "--dump-taps: "),
        (["models", "--project", "nowhere"], "nowhere: file not found"),
    ],
)
def test_usage(refused: Refused, words: list[str], problem: str) -> None:
    assert problem in refused("cosim", *words)


SHAPE = """\
vocab_size: 640
hidden_size: 32
intermediate_size: 48
n_layers: 3
n_heads: 4
n_kv_heads: 2
head_dim: 8
context: 1024
"""


@pytest.fixture
def shape(tmp_path: Path) -> Path:
    """A small shape, by its file."""
    path = tmp_path / "small.yaml"
    path.write_text(SHAPE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["models", "--shape", "x"], "--shape: stands beside MODEL_DIR (give one of them)"),
        (["models", "--layers", "1"], "--layers: stands without --shape (a checkpoint is taken as it is)"),
        (["models", "--vocab", "9"], "--vocab: stands without --shape (a checkpoint is taken as it is)"),
        (
            ["models", "--random-weights", "1"],
            "--random-weights: stands without --shape (a checkpoint is taken as it is)",
        ),
        (
            ["--shape", "llama-3.1-8b"],
            "--random-weights: is missing (a shape has no weights: give the seed of random ones)",
        ),
    ],
)
def test_a_checkpoint_or_a_shape(refused: Refused, words: list[str], line: str) -> None:
    assert refused("cosim", *words) == line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--layers", "4"], "--layers: is 4, expected 1 .. 3, the shape's own"),
        (["--layers", "0"], "--layers: is 0, expected 1 .. 3, the shape's own"),
        (["--vocab", "641"], "--vocab: is 641, expected 1 .. 640, the shape's own"),
        (["--prompt", "Once"], "--prompt: random weights have no tokenizer (give --prompt-ids)"),
        (["--chat", "Once"], "--chat: random weights have no chat template (give --prompt-ids)"),
        (["--prompt-ids", "512"], "--prompt-ids: 512 is outside the vocabulary of 512"),
        (["--context", "1025"], "--context: is 1025, expected 1 .. 1024, the model's own"),
        (
            ["--tokens", "513"],
            "--tokens: is 513: with the prompt's 1 tokens that takes 513 positions, the chip's context holds 512 "
            "(at most 512 fit)",
        ),
        (["--inject", "rom:model.layers.3.mlp.up_proj[0,0]^0"], "layer 3 of 3 (layers count from 0)"),
        (["--timeout", "0"], "--timeout: is 0, expected more than 0 seconds and at most 2,592,000"),
        (["--recipe", "w5a16"], "recipe 'w5a16' is not known (known are w3w6a16, w4a16, w6a16, w8a16, w8a8)"),
    ],
)
def test_a_shape_is_refused_before_weights_are_drawn(
    refused: Refused,
    shape: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    line: str,
) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    assert refused("cosim", "--shape", shape, "--random-weights", "1", *words).endswith(line)
    assert not (tmp_path / "cache").exists()


def test_bad_shapes(refused: Refused, shape: Path) -> None:
    known = "known are llama-3.1-8b, llama-3.2-1b, llama-3.2-3b"
    assert refused("cosim", "--shape", "llama-4", "--random-weights", "1").endswith(
        f"shape 'llama-4' is not known ({known})"
    )
    assert "Invalid value for '--random-weights'" in refused(
        "cosim", "--shape", shape, "--random-weights", "-1"
    )
    shape.write_text(SHAPE.replace("head_dim: 8", "head_dim: 7"), encoding="utf-8")
    line = refused("cosim", "--shape", shape, "--random-weights", "1")
    assert line.startswith(f"{shape}: head_dim: is 7, expected an even number")
    assert (
        refused("cosim", "--shape", "nowhere.yaml", "--random-weights", "1") == "nowhere.yaml: file not found"
    )


def test_render_takes_a_checkpoint_or_a_shape(refused: Refused, shape: Path) -> None:
    assert refused("render", "--out", "out").startswith("MODEL_DIR: is missing")
    assert refused("render", "models", "--shape", shape, "--out", "out").startswith("--shape: stands beside")
    assert refused("render", "models", "--vocab", "3", "--out", "out").startswith("--vocab: stands without")
    assert refused("render", "--shape", shape, "--layers", "4", "--out", "out").startswith("--layers: is 4")


def test_unknown_command(refused: Refused) -> None:
    assert "No such command 'frob'" in refused("frob")


def test_ids_and_context_out_of_range(refused: Refused, model: Path) -> None:
    assert (
        refused("cosim", model, "--prompt-ids", "1,397")
        == "--prompt-ids: 397 is outside the vocabulary of 397"
    )
    assert refused("cosim", model, "--context", "257").startswith("--context: is 257, expected 1 .. 256")
    assert refused("quality", model, "--length", "300").startswith("--length: is 300")


def test_missing_tool(refused: Refused, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VERILATOR_ENV, "/nowhere/verilator")
    assert refused("cosim", model).startswith(
        f"{VERILATOR_ENV}: '/nowhere/verilator' is not an executable file"
    )


def test_line_stays_one_line(refused: Refused, tmp_path: Path) -> None:
    assert "\\x1b" in refused("cosim", "no\x1b[31m\nwhere")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[[1, 2], 3]",
        '["12"]',
        "[[1.5]]",
        "[[true]]",
        "[[-1]]",
        "[[4294967296]]",
        "[[1" + "0" * 5000 + "]]",
        "[" * 100_000,
        '{"1": 2}',
        "\xff",
    ],
)
def test_directed_sequences(
    refused: Refused, tiny_checkpoint: Path, tmp_path: Path, text: str | None
) -> None:
    """Token ids are whole numbers that the pins can take, and nothing else is taken for one."""
    file = tmp_path / "directed.json"
    if text is not None:
        file.write_text(text, encoding="latin-1")
    line = refused("test", "DirectedTokens", tiny_checkpoint, "--directed", file)
    assert str(file) in line and "--directed" in line
