"""The float reference with an adapter: what is added, where, and what it refuses; ``tests/oracle`` has PEFT's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from etchproof.adapter import Adapter, AdapterConfig, load_adapter, write_synthetic_adapter
from etchproof.checkpoint import ModelConfig
from etchproof.checkpoint.synthetic import random_tensor
from etchproof.checkpoint.tensors import expected_tensors
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel, KvCache

TOKENS = torch.tensor([1, 5, 60, 23, 9])


def weights(model: ModelConfig) -> dict[str, torch.Tensor]:
    return {
        name: random_tensor(name, shape, seed=7).double() for name, shape in expected_tensors(model).items()
    }


def adapter(folder: Path, model: ModelConfig, gain: float = 1, **settings: Any) -> Adapter:
    config = AdapterConfig.model_validate(
        {"r": 3, "lora_alpha": 2, "target_modules": "all-linear", **settings}
    )
    return load_adapter(write_synthetic_adapter(folder, model, config, seed=9, gain=gain), model)


def logits(model: ModelConfig, tensors: dict[str, torch.Tensor], lora: Adapter | None = None) -> torch.Tensor:
    return FloatModel(model, tensors.__getitem__, torch.float64, lora).forward(TOKENS)


@pytest.mark.parametrize(
    "target", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
)
def test_it_equals_the_merged_model(tmp_path: Path, base: ModelConfig, target: str) -> None:
    """W + scaling B A in place of W; each linear alone, in one layer alone."""
    lora = adapter(tmp_path / "a", base, target_modules=[target], layers_to_transform=1)
    tensors = weights(base)
    merged = dict(tensors)
    (one,) = lora.linears.values()
    merged[f"{one.module}.weight"] = tensors[f"{one.module}.weight"] + 2 / 3 * (
        one.B.double() @ one.A.double()
    )
    ours = logits(base, tensors, lora)
    torch.testing.assert_close(ours, logits(base, merged), rtol=0, atol=1e-12)
    assert (ours - logits(base, tensors)).abs().max() > 1e-3  # it does something


def test_all_linears_with_ranks_of_their_own(tmp_path: Path, base: ModelConfig) -> None:
    lora = adapter(tmp_path / "a", base, rank_pattern={"q_proj": 1, "1.mlp.down_proj": 7}, use_rslora=True)
    tensors = weights(base)
    merged = dict(tensors)
    for one in lora.linears.values():
        merged[f"{one.module}.weight"] = (
            tensors[f"{one.module}.weight"] + 2 / one.r**0.5 * one.B.double() @ one.A.double()
        )
    torch.testing.assert_close(logits(base, tensors, lora), logits(base, merged), rtol=0, atol=1e-12)


def test_the_zero_adapter_is_the_base_model(tmp_path: Path, base: ModelConfig) -> None:
    tensors = weights(base)
    assert torch.equal(logits(base, tensors, adapter(tmp_path / "a", base, gain=0)), logits(base, tensors))


def test_the_tap_holds_the_sum(tmp_path: Path, base: ModelConfig) -> None:
    lora = adapter(tmp_path / "a", base, target_modules=["v_proj"], layers_to_transform=0)
    tensors = weights(base)
    seen: dict[tuple[int, str], torch.Tensor] = {}
    plain: dict[tuple[int, str], torch.Tensor] = {}
    for found, one in ((seen, lora), (plain, None)):
        model = FloatModel(base, tensors.__getitem__, torch.float64, one)
        model.forward(TOKENS, lambda layer, tap, value, found=found: found.__setitem__((layer, tap), value))
    v = lora.linears[0, "v_proj"]
    added = v.scaling * seen[0, "attn_norm"] @ v.A.double().T @ v.B.double().T
    torch.testing.assert_close(seen[0, "v_proj"], plain[0, "v_proj"] + added)
    assert torch.equal(seen[0, "q_proj"], plain[0, "q_proj"])


def test_steps_with_a_cache_equal_the_whole_pass(tmp_path: Path, base: ModelConfig) -> None:
    model = FloatModel(base, weights(base).__getitem__, torch.float64, adapter(tmp_path / "a", base))
    cache = KvCache(base, 1, len(TOKENS), torch.float64)
    steps = torch.cat([model.step(TOKENS[None, i : i + 1], cache)[0] for i in range(len(TOKENS))])
    torch.testing.assert_close(steps, model.forward(TOKENS), rtol=0, atol=1e-12)


def test_the_adapter_keeps_its_own_dtype(tmp_path: Path, base: ModelConfig) -> None:
    lora = adapter(tmp_path / "a", base)
    FloatModel(base, weights(base).__getitem__, torch.float64, lora)
    assert lora.linears[0, "q_proj"].A.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"n_layers": 2},
            r"model\.layers\.2\.self_attn\.q_proj: adapts a linear of shape \[16, 12\], .* is None",
        ),
        (
            {"hidden_size": 14},
            r"q_proj: adapts a linear of shape \[16, 12\], but that of other is \[16, 14\]",
        ),
        (
            {"intermediate_size": 9},
            r"gate_proj: adapts a linear of shape \[10, 12\], but that of other is \[9, 12\]",
        ),
        ({"n_kv_heads": 4}, r"k_proj: adapts a linear of shape \[8, 12\], but that of other is \[16, 12\]"),
    ],
    ids=str,
)
def test_an_adapter_of_another_model(
    tmp_path: Path, base: ModelConfig, changes: dict[str, int], found: str
) -> None:
    other = base.model_copy(update={"name": "other", **changes})
    with pytest.raises(InputError, match=found):
        logits(other, weights(other), adapter(tmp_path / "a", base))


def test_its_products_are_seen(tmp_path: Path, base: ModelConfig) -> None:
    """A x, and scaling B of that, before the linear that they go into; none where there is no adapter."""
    lora = adapter(tmp_path / "a", base, target_modules=["v_proj", "down_proj"], layers_to_transform=1)
    seen: dict[tuple[int, str], torch.Tensor] = {}
    model = FloatModel(base, weights(base).__getitem__, torch.float64, lora)
    model.forward(TOKENS, lambda layer, tap, value: seen.__setitem__((layer, tap), value))
    order = list(seen)
    assert {key for key in order if ".lora_" in key[1]} == {
        (1, f"{name}.lora_{part}") for name in ("v_proj", "down_proj") for part in "ab"
    }
    for name, source in (("v_proj", "attn_norm"), ("down_proj", "swiglu")):
        one = lora.linears[1, name]
        h = seen[1, source] @ one.A.double().T
        torch.testing.assert_close(seen[1, f"{name}.lora_a"], h)
        torch.testing.assert_close(seen[1, f"{name}.lora_b"], 2 / 3 * h @ one.B.double().T)
        at = [order.index((1, tap)) for tap in (f"{name}.lora_a", f"{name}.lora_b", name)]
        assert at == sorted(at)
