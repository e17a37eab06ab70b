"""Weight files: every way in which they can disagree with the config or be damaged is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from etchproof.checkpoint import ModelConfig, expected_tensors, load_checkpoint, write_synthetic
from etchproof.errors import InputError

Q = "model.layers.1.self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


def rewrite(file: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)


def refused(folder: Path, *parts: str) -> str:
    """The one line with which loading fails, which must hold ``parts``."""
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    line = str(caught.value)
    for part in parts:
        assert part in line
    assert "\n" not in line
    return line


@pytest.fixture
def sharded(tmp_path: Path, tiny: ModelConfig) -> Path:
    return write_synthetic(tmp_path / "sharded", tiny, seed=1, shards=3)


def edit_index(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "model.safetensors.index.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


class TestExpected:
    def test_stories260k(self, stories260k: Path) -> None:
        checkpoint = load_checkpoint(stories260k)
        assert len(checkpoint.tensor_names) == 47
        assert checkpoint.tensor("model.layers.4.self_attn.k_proj.weight").shape == (32, 64)

    def test_biases_and_an_untied_head(self, tiny: ModelConfig) -> None:
        plain = expected_tensors(tiny)
        full = expected_tensors(
            tiny.model_copy(update={"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False})
        )
        assert len(full) == len(plain) + 2 * 7 + 1
        assert full["model.layers.0.self_attn.v_proj.bias"] == (12,)
        assert full["model.layers.0.mlp.down_proj.bias"] == (12,)
        assert full["lm_head.weight"] == (70, 12)


class TestTensors:
    def test_missing(self, folder: Path) -> None:
        rewrite(folder / "model.safetensors", lambda tensors: tensors.pop(Q))
        refused(folder, "model.safetensors: ", f"{Q}: is missing, expected shape [24, 12]")

    def test_surplus(self, folder: Path) -> None:
        rewrite(folder / "model.safetensors", lambda tensors: tensors.update({"extra": torch.ones(2)}))
        refused(folder, "model.safetensors: extra: is a tensor that this config does not have")

    def test_a_surplus_layer_hints_at_the_layer_count(
        self, folder: Path, edit_config: Callable[..., Path]
    ) -> None:
        refused(edit_config(num_hidden_layers=1), "model.layers.1.", "does num_hidden_layers fit?")

    def test_a_surplus_bias_hints_at_the_bias_keys(self, folder: Path) -> None:
        rewrite(
            folder / "model.safetensors", lambda t: t.update({Q.replace("weight", "bias"): torch.ones(24)})
        )
        refused(folder, "q_proj.bias", "attention_bias")

    def test_misshapen(self, folder: Path) -> None:
        rewrite(folder / "model.safetensors", lambda tensors: tensors.update({Q: torch.ones(24, 11)}))
        refused(folder, f"model.safetensors: {Q}: has shape [24, 11], expected [24, 12]")

    @pytest.mark.parametrize(
        ("dtype", "named"),
        [(torch.float64, "F64"), (torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")],
        ids=str,
    )
    def test_dtype(self, folder: Path, dtype: torch.dtype, named: str) -> None:
        rewrite(folder / "model.safetensors", lambda tensors: tensors.update({Q: tensors[Q].to(dtype)}))
        refused(folder, f"{Q}: has dtype {named}, expected one of BF16, F16, F32")

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
    def test_not_finite(self, folder: Path, value: float) -> None:
        def spoil(tensors: dict[str, Tensor]) -> None:
            tensors[Q][3, 7] = value

        rewrite(folder / "model.safetensors", spoil)
        refused(
            folder,
            f"model.safetensors: {Q}: is NaN or infinite in 1 of 288 values",
            f"the first is {value} at [3, 7]",
        )

    def test_old_rope_buffers_are_ignored(self, folder: Path) -> None:
        name = "model.layers.0.self_attn.rotary_emb.inv_freq"
        rewrite(
            folder / "model.safetensors", lambda tensors: tensors.update({name: torch.tensor([torch.nan])})
        )
        assert name not in load_checkpoint(folder).tensor_names

    def test_a_redundant_tied_head_is_accepted(self, folder: Path) -> None:
        rewrite(folder / "model.safetensors", lambda t: t.update({"lm_head.weight": t[EMBEDDING].clone()}))
        assert "lm_head.weight" not in load_checkpoint(folder).tensor_names

    def test_a_tied_head_that_differs(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("etchproof.checkpoint.tensors._COMPARED_ROWS", 32)

        def spoil(tensors: dict[str, Tensor]) -> None:
            tensors["lm_head.weight"] = tensors[EMBEDDING].clone()
            tensors["lm_head.weight"][65, 3] += 1

        rewrite(folder / "model.safetensors", spoil)
        refused(
            folder, "lm_head.weight: differs from model.embed_tokens.weight in row 65", "tie_word_embeddings"
        )

    def test_a_tied_head_of_another_shape(self, folder: Path) -> None:
        rewrite(folder / "model.safetensors", lambda t: t.update({"lm_head.weight": torch.ones(69, 12)}))
        refused(folder, "lm_head.weight: has shape [69, 12], expected [70, 12]")

    def test_a_tensor_is_its_own_memory(self, folder: Path) -> None:
        checkpoint = load_checkpoint(folder)
        first = checkpoint.tensor(Q)
        first.zero_()
        assert checkpoint.tensor(Q).any()
        with pytest.raises(KeyError):
            checkpoint.tensor("lm_head.weight")


class TestFiles:
    @pytest.mark.parametrize("length", [1, 7, 8, 100, -1], ids=str)
    def test_truncated(self, folder: Path, length: int) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:length])
        refused(folder, "model.safetensors: is not a valid safetensors file of", "truncated")

    def test_empty(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"")
        refused(folder, "model.safetensors: is empty")

    def test_not_safetensors(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"PK\x03\x04" * 100)
        refused(folder, "model.safetensors: is not a valid safetensors file of 400 bytes")

    def test_a_folder_in_its_place(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").mkdir()
        refused(folder, "model.safetensors: is a folder")

    def test_none(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        refused(folder, "holds neither model.safetensors nor model.safetensors.index.json")

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.gguf"])
    def test_another_format(self, folder: Path, name: str) -> None:
        (folder / "model.safetensors").rename(folder / name)
        hint = "pass the .gguf file itself" if name.endswith(".gguf") else "convert it"
        refused(folder, f"holds {name} but no model.safetensors", hint)

    def test_changed_since_it_was_loaded(self, folder: Path) -> None:
        checkpoint = load_checkpoint(folder)
        rewrite(folder / "model.safetensors", lambda tensors: tensors.pop(Q))
        with pytest.raises(InputError, match=r"model\.safetensors: was changed since it was opened"):
            checkpoint.tensor(EMBEDDING)
        (folder / "model.safetensors").unlink()
        with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
            checkpoint.tensor(EMBEDDING)


class TestShards:
    def test_equal_one_file(self, folder: Path, sharded: Path) -> None:
        whole, parts = load_checkpoint(folder), load_checkpoint(sharded)
        assert len(list(sharded.glob("*.safetensors"))) == 3
        assert all(torch.equal(whole.tensor(name), parts.tensor(name)) for name in whole.tensor_names)

    def test_missing_shard(self, sharded: Path) -> None:
        (sharded / "model-00002-of-00003.safetensors").unlink()
        refused(
            sharded,
            "model.safetensors.index.json: weight_map: shard 'model-00002-of-00003.safetensors' is not",
        )

    @pytest.mark.parametrize(
        "shard",
        ["../x.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "c:x.safetensors", "\0.safetensors",
         "..", "", "model.bin", 3, None],
        ids=repr,
    )  # fmt: skip
    def test_shard_escaping_the_folder(self, sharded: Path, shard: object) -> None:
        edit_index(sharded, lambda raw: raw["weight_map"].update({Q: shard}))
        what = "text without NUL" if shard == "\0.safetensors" else "the name of a .safetensors file"
        refused(sharded, f"index.json: weight_map.{Q}: is {shard!r}, expected {what}")

    def test_index_names_a_tensor_that_the_shard_lacks(self, sharded: Path) -> None:
        edit_index(sharded, lambda raw: raw["weight_map"].update(phantom="model-00001-of-00003.safetensors"))
        refused(sharded, "model-00001-of-00003.safetensors: phantom: model.safetensors.index.json places it")

    def test_shard_holds_a_tensor_that_the_index_does_not_name(self, sharded: Path) -> None:
        edit_index(sharded, lambda raw: raw["weight_map"].pop(EMBEDDING))
        refused(sharded, f"{EMBEDDING}: is in this shard, but model.safetensors.index.json places it in None")

    @pytest.mark.parametrize("weight_map", [..., None, {}, [], "x"], ids=str)
    def test_index_without_a_map(self, sharded: Path, weight_map: object) -> None:
        edit_index(
            sharded,
            lambda raw: raw.pop("weight_map") if weight_map is ... else raw.update(weight_map=weight_map),
        )
        refused(sharded, "index.json: weight_map: is ", "expected an object of tensor name to shard")

    def test_truncated_shard(self, sharded: Path) -> None:
        file = sharded / "model-00003-of-00003.safetensors"
        file.write_bytes(file.read_bytes()[:-4])
        refused(sharded, "model-00003-of-00003.safetensors: is not a valid safetensors file")

    def test_both_forms_at_once(self, folder: Path, sharded: Path) -> None:
        (folder / "model.safetensors").rename(sharded / "model.safetensors")
        refused(sharded, "holds both model.safetensors and model.safetensors.index.json")
