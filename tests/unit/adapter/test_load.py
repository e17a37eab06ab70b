"""``load_adapter``: the record, its hash, and a weights file that must hold what the config asks for and no more."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from etchproof.adapter import AdapterConfig, load_adapter, write_adapter, write_synthetic_adapter
from etchproof.checkpoint import ModelConfig, load_checkpoint
from etchproof.errors import InputError
from tests.unit.adapter.conftest import EditConfig, EditTensors

PREFIX = "base_model.model.model.layers"
A, B = f"{PREFIX}.1.self_attn.q_proj.lora_A.weight", f"{PREFIX}.1.self_attn.q_proj.lora_B.weight"


def refusal(folder: Path, model: ModelConfig) -> str:
    """What ``load_adapter`` answers: one line, which names the weights file."""
    with pytest.raises(InputError) as caught:
        load_adapter(folder, model)
    line = str(caught.value)
    assert "\n" not in line
    source, _, rest = line.partition(": ")
    assert source == str(folder / "adapter_model.safetensors")
    return rest


def test_the_record(folder: Path, base: ModelConfig) -> None:
    adapter = load_adapter(str(folder), base)
    assert (adapter.path, adapter.name) == (folder, "tuned")
    assert list(adapter.linears) == [
        (n, name) for n in range(3) for name in ("q_proj", "v_proj", "down_proj")
    ]
    tensors = load_file(folder / "adapter_model.safetensors")
    lora = adapter.linears[1, "q_proj"]
    assert (lora.module, lora.r, lora.alpha, lora.scaling) == ("model.layers.1.self_attn.q_proj", 4, 8.0, 2.0)
    assert torch.equal(lora.A, tensors[A])
    assert torch.equal(lora.B, tensors[B])
    down = adapter.linears[2, "down_proj"]
    assert (down.A.shape, down.B.shape) == ((4, 10), (12, 4))


def test_rank_and_alpha_by_pattern(tmp_path: Path, base: ModelConfig) -> None:
    config = AdapterConfig(
        r=5,
        lora_alpha=8,
        rank_pattern={"0.self_attn.q_proj": 2},
        alpha_pattern={"v_proj": 3},
        use_rslora=True,
    )
    linears = load_adapter(write_synthetic_adapter(tmp_path / "a", base, config, seed=3), base).linears
    q, v = linears[0, "q_proj"], linears[0, "v_proj"]
    assert (q.r, q.alpha, q.scaling, q.A.shape, q.B.shape) == (2, 8, 8 / math.sqrt(2), (2, 12), (16, 2))
    assert (v.r, v.alpha, v.scaling, v.A.shape, v.B.shape) == (5, 3, 3 / math.sqrt(5), (5, 12), (8, 5))
    assert linears[1, "q_proj"].r == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dtypes(tmp_path: Path, base: ModelConfig, dtype: torch.dtype) -> None:
    folder = write_synthetic_adapter(
        tmp_path / "a", base, AdapterConfig(r=2, lora_alpha=2), seed=1, dtype=dtype
    )
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    lora = load_adapter(folder, base).linears[1, "q_proj"]
    assert (lora.A.dtype, lora.B.dtype) == (torch.float32, torch.float32)
    assert torch.equal(lora.A, tensors[A].float())
    assert torch.equal(lora.B, tensors[B].float())


def test_the_values_outlive_the_file(folder: Path, base: ModelConfig) -> None:
    lora = load_adapter(folder, base).linears[1, "q_proj"]
    before = lora.A.clone()
    path = folder / "adapter_model.safetensors"
    with path.open("r+b") as stream:  # the file that an F32 tensor could be mapped from
        stream.write(b"\xff" * path.stat().st_size)
    assert torch.equal(lora.A, before)


def test_the_hash_follows_the_content_alone(folder: Path, tmp_path: Path, base: ModelConfig) -> None:
    original = load_adapter(folder, base).sha256
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    assert load_adapter(copy, base).sha256 == original
    (copy / "README.md").write_text("not part of the content")
    assert load_adapter(copy, base).sha256 == original
    with (copy / "adapter_config.json").open("a") as config:
        config.write("\n")
    assert load_adapter(copy, base).sha256 != original
    config = AdapterConfig(r=4, lora_alpha=8, target_modules=("q_proj", "v_proj", "mlp.down_proj"))
    assert (
        load_adapter(write_synthetic_adapter(tmp_path / "b", base, config, seed=2), base).sha256 != original
    )
    assert (
        load_adapter(write_synthetic_adapter(tmp_path / "b", base, config, seed=1), base).sha256 == original
    )


def _set(index: tuple[int, int], value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor[index] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({A: ...}, f"{A}: is missing, expected shape [4, 12]"),
        ({A: ..., B: ...}, f"{A}: is missing, expected shape [4, 12], and 1 more with it"),
        ({A: torch.zeros(3, 12)}, f"{A}: has shape [3, 12], expected [4, 12] (was the adapter made for base,"),
        ({A: torch.zeros(12, 4)}, f"{A}: has shape [12, 4], expected [4, 12]"),
        ({A: torch.zeros(48)}, f"{A}: has shape [48], expected [4, 12]"),
        ({B: torch.zeros(8, 4)}, f"{B}: has shape [8, 4], expected [16, 4]"),
        ({B: torch.zeros(16, 0)}, f"{B}: has shape [16, 0], expected [16, 4]"),
        ({B: torch.zeros(16, 4, dtype=torch.float64)}, f"{B}: has dtype F64, expected one of BF16, F16, F32"),
        ({B: torch.zeros(16, 4, dtype=torch.int8)}, f"{B}: has dtype I8, expected one of BF16, F16, F32"),
        ({A: _set((3, 1), math.nan)}, f"{A}: is NaN or infinite in 1 of 48 values, the first is nan at [3, 1]"),
        ({B: _set((0, 2), -math.inf)}, f"{B}: is NaN or infinite in 1 of 64 values, the first is -inf at [0, 2]"),
        ({B: lambda b: (b * 1e7).half() / 0}, f"{B}: is NaN or infinite in 64 of 64 values"),
        (
            {f"{PREFIX}.0.self_attn.k_proj.lora_A.weight": torch.zeros(4, 12)},
            f"{PREFIX}.0.self_attn.k_proj.lora_A.weight: is a tensor that adapter_config.json does not ask for "
            "(does target_modules fit?)",
        ),
        (
            {f"{PREFIX}.3.self_attn.q_proj.lora_A.weight": torch.zeros(4, 12)},
            f"{PREFIX}.3.self_attn.q_proj.lora_A.weight: is a tensor that adapter_config.json does not ask for "
            "(base has 3 layers)",
        ),
        (
            {"base_model.model.model.embed_tokens.weight": torch.zeros(70, 12)},
            "base_model.model.model.embed_tokens.weight: is a tensor that adapter_config.json does not ask for "
            "(embedding and head are etched)",
        ),
        (
            {"base_model.model.lm_head.lora_A.weight": torch.zeros(4, 12)},
            "base_model.model.lm_head.lora_A.weight: is a tensor that adapter_config.json does not ask for "
            "(embedding and head are etched)",
        ),
        (
            {f"{PREFIX}.0.self_attn.q_proj.lora_magnitude_vector": torch.zeros(16)},
            f"{PREFIX}.0.self_attn.q_proj.lora_magnitude_vector: is a tensor that adapter_config.json does not ask "
            "for (this is DoRA's, which rescales the etched weights)",
        ),
        (
            {f"{PREFIX}.0.self_attn.q_proj.lora_B.bias": torch.zeros(16)},
            f"{PREFIX}.0.self_attn.q_proj.lora_B.bias: is a tensor that adapter_config.json does not ask for "
            "(a bias on",
        ),
        (
            {f"{PREFIX}.0.self_attn.q_proj.lora_A.default.weight": torch.zeros(4, 12)},
            f"{PREFIX}.0.self_attn.q_proj.lora_A.default.weight: is a tensor that adapter_config.json does not ask "
            "for (drop the adapter's name in it",
        ),
        ({"odd\nname": torch.zeros(1)}, "'odd\\nname': is a tensor that adapter_config.json does not ask for"),
        ({"": torch.zeros(1)}, ": is a tensor that adapter_config.json does not ask for"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)  # fmt: skip
def test_refused_tensors(
    edit_tensors: EditTensors, base: ModelConfig, changes: dict[str, Any], line: str
) -> None:
    assert refusal(edit_tensors(changes), base).startswith(line)


@pytest.mark.parametrize("other", ["q_proj", "all-linear"])
def test_a_config_that_asks_for_more_or_less(edit_config: EditConfig, base: ModelConfig, other: str) -> None:
    """The tensors decide nothing: they do not widen the config, nor narrow it."""
    less = other == "q_proj"
    line = refusal(edit_config(target_modules=[other] if less else other), base)
    assert ("does not ask for (does target_modules fit?)" if less else "is missing, expected shape") in line


def test_a_config_of_another_rank(edit_config: EditConfig, base: ModelConfig) -> None:
    assert "has shape [4, 12], expected [8, 12]" in refusal(edit_config(r=8), base)
    assert "has shape [4, 12], expected [2, 12]" in refusal(
        edit_config(r=4, rank_pattern={"1.self_attn.q_proj": 2}), base
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hidden_size": 16}, "has shape [4, 12], expected [4, 16] (was the adapter made for base"),
        ({"n_heads": 6}, "has shape [16, 4], expected [24, 4]"),
        ({"n_kv_heads": 4}, "has shape [8, 4], expected [16, 4]"),
        ({"intermediate_size": 11}, "has shape [4, 10], expected [4, 11]"),
        ({"n_layers": 2}, "is a tensor that adapter_config.json does not ask for (base has 2 layers)"),
        ({"n_layers": 4}, "is missing, expected shape [4, 12], and 5 more with it"),
    ],
    ids=str,
)
def test_shapes_of_another_model(
    folder: Path, base: ModelConfig, changes: dict[str, int], problem: str
) -> None:
    assert problem in refusal(folder, base.model_copy(update=changes))


def test_the_shared_adapters_are_not_tinys(adapters_dir: Path, tiny_checkpoint: Path) -> None:
    tiny = load_checkpoint(tiny_checkpoint).config
    for folder in sorted(adapters_dir.iterdir()):
        with pytest.raises(InputError, match=r"adapter_config\.json does not ask for|has shape"):
            load_adapter(folder, tiny)


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (0, "is empty (it may be truncated"),
        (7, "is not a valid safetensors file of 7 bytes"),
        (-1, "is not a valid"),
    ],
)
def test_truncated(folder: Path, base: ModelConfig, kept: int, problem: str) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(folder, base).startswith(problem)


def test_no_tensor_at_all(folder: Path, base: ModelConfig) -> None:
    save_file({}, folder / "adapter_model.safetensors")
    assert "is missing, expected shape [4, 12], and 17 more with it" in refusal(folder, base)


def test_a_folder_without_weights(folder: Path, base: ModelConfig) -> None:
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"tuned: holds no adapter_model\.safetensors$"):
        load_adapter(folder, base)
    (folder / "adapter_model.bin").touch()
    with pytest.raises(
        InputError, match=r"tuned: holds adapter_model\.bin but no .* \(convert it: PeftModel"
    ):
        load_adapter(folder, base)


def test_weights_that_are_a_folder(folder: Path, base: ModelConfig) -> None:
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").mkdir()
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: "):
        load_adapter(folder, base)


def test_a_folder_without_config(tmp_path: Path, base: ModelConfig) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json: file not found"):
        load_adapter(tmp_path, base)


def test_wrong_paths(folder: Path, base: ModelConfig) -> None:
    with pytest.raises(InputError, match=r"no/such/adapter/here: adapter folder not found$"):
        load_adapter("no/such/adapter/here", base)
    with pytest.raises(
        InputError, match=r"is a file, expected the adapter's folder, with adapter_config\.json"
    ):
        load_adapter(folder / "adapter_config.json", base)
    with pytest.raises(InputError, match="adapter '' is no usable path"):
        load_adapter("", base)


def test_a_checkpoint_is_no_adapter(tiny_checkpoint: Path, base: ModelConfig) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json: file not found"):
        load_adapter(tiny_checkpoint, base)


def test_given_tensors_are_written_as_they_are(tmp_path: Path, base: ModelConfig) -> None:
    tensors = {"any.name": torch.arange(3.0)}
    folder = write_adapter(tmp_path / "a", AdapterConfig(r=1, lora_alpha=1), tensors)
    assert torch.equal(load_file(folder / "adapter_model.safetensors")["any.name"], tensors["any.name"])
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert "any.name: is a tensor that" in refusal(folder, base)
