"""Which linears an adapter's config means, at which rank and alpha: PEFT's rules, worked out by hand.

``tests/oracle/test_against_peft.py`` compares the same rules with PEFT's own code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from etchproof.adapter import AdapterConfig
from etchproof.adapter.targets import decoder_linears, module_names, resolve_targets
from etchproof.checkpoint import ModelConfig
from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError

SOURCE = Path("adapter_config.json")


def targeted(model: ModelConfig, **settings: Any) -> list[tuple[int, str]]:
    config = AdapterConfig.model_validate({"r": 4, "lora_alpha": 8, **settings})
    return [(target.linear.layer, target.linear.linear) for target in resolve_targets(config, model, SOURCE)]


def every(*linears: str, layers: tuple[int, ...] = (0, 1, 2)) -> list[tuple[int, str]]:
    return [(layer, linear) for layer in layers for linear in LINEARS if linear in linears]


def test_linears_and_modules(base: ModelConfig) -> None:
    linears = decoder_linears(base)
    assert [(linear.layer, linear.linear) for linear in linears.values()] == every(*LINEARS)
    down = linears["model.layers.2.mlp.down_proj"]
    assert (down.out_features, down.in_features) == (12, 10)
    names = module_names(base)
    assert len(names) == len(set(names)) == 4 + 3 * (1 + 2 + 7 + 1 + 2) + 2
    assert set(linears) < set(names)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, every("q_proj", "v_proj")),
        ({"target_modules": None}, every("q_proj", "v_proj")),
        ({"target_modules": ["o_proj"]}, every("o_proj")),
        ({"target_modules": ["self_attn.q_proj", "up_proj", "w1"]}, every("q_proj", "up_proj")),
        ({"target_modules": ["1.self_attn.k_proj"]}, every("k_proj", layers=(1,))),
        ({"target_modules": ["model.layers.2.mlp.gate_proj"]}, [(2, "gate_proj")]),
        ({"target_modules": "all-linear"}, every(*LINEARS)),
        ({"target_modules": "All-Linear"}, every(*LINEARS)),
        ({"target_modules": r".*\.(q|k)_proj"}, every("q_proj", "k_proj")),
        ({"target_modules": r"model\.layers\.[02]\.mlp\.\w+_proj"}, every(*LINEARS[4:], layers=(0, 2))),
        ({"target_modules": "all-linear", "exclude_modules": ["mlp.up_proj", "o_proj"]},
         every("q_proj", "k_proj", "v_proj", "gate_proj", "down_proj")),
        ({"target_modules": "all-linear", "exclude_modules": r".*\.(self_attn|[12])\..*"},
         every("gate_proj", "up_proj", "down_proj", layers=(0,))),
        ({"target_modules": ["q_proj", "lm_head"], "exclude_modules": ["lm_head"]}, every("q_proj")),
        ({"target_modules": r".*", "exclude_modules": r"(?!.*\.v_proj).*"}, every("v_proj")),
        ({"target_modules": "all-linear", "exclude_modules": "all-linear"}, every(*LINEARS)),
        ({"layers_to_transform": 1}, every("q_proj", "v_proj", layers=(1,))),
        ({"layers_to_transform": [2, 0, 9]}, every("q_proj", "v_proj", layers=(0, 2))),
        ({"layers_to_transform": []}, every("q_proj", "v_proj")),
        ({"layers_to_transform": [1], "layers_pattern": "layers"}, every("q_proj", "v_proj", layers=(1,))),
        ({"layers_to_transform": [1], "layers_pattern": ["h", "layers"]}, every("q_proj", "v_proj", layers=(1,))),
        ({"layers_to_transform": [1], "layers_pattern": "model.layers"}, every("q_proj", "v_proj", layers=(1,))),
        ({"layers_to_transform": [1], "target_modules": ["q_proj", "lm_head.q_proj"]}, every("q_proj", layers=(1,))),
        ({"layers_to_transform": [1], "target_modules": ["model.layers.1.mlp.up_proj"]}, [(1, "up_proj")]),
        ({"layers_to_transform": [1], "target_modules": ["norm", "q_proj"]}, every("q_proj", layers=(1,))),
    ],
    ids=str,
)  # fmt: skip
def test_targets(base: ModelConfig, settings: dict[str, Any], expected: list[tuple[int, str]]) -> None:
    assert targeted(base, **settings) == expected


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"target_modules": ["lm_head"]}, "which targets lm_head: the LM head is etched"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "which targets model.embed_tokens: the embedding is etched"),
        ({"target_modules": r"lm_head|.*\.q_proj"}, "which targets lm_head: the LM head is etched"),
        ({"target_modules": r".*(embed_tokens|o_proj)"}, "which targets model.embed_tokens: the embedding is"),
        ({"layers_to_transform": [1], "target_modules": ["lm_head", "q_proj"]}, "which targets lm_head: the LM head"),
        ({"target_modules": ["self_attn"]}, "which targets model.layers.0.self_attn too, and that is no linear"),
        ({"target_modules": r".*layers\.0.*"}, "which targets model.layers.0"),
        ({"target_modules": ["norm"]}, "which targets model.norm too, and that is no linear"),
        ({"target_modules": ["input_layernorm"]}, "which targets model.layers.0.input_layernorm too"),
        ({"target_modules": ["act_fn"]}, "which targets model.layers.0.mlp.act_fn too"),
        ({"target_modules": ["rotary_emb", "q_proj"]}, "which targets model.rotary_emb too"),
        ({"target_modules": []}, "which adapts no linear of base (exclude_modules and layers_to_transform count"),
        ({"target_modules": ""}, "which adapts no linear"),
        ({"target_modules": ["c_attn", "proj", "_proj", "Q_proj"]}, "which adapts no linear"),
        ({"target_modules": "q_proj"}, "which adapts no linear"),
        ({"target_modules": r".*\.q_pro"}, "which adapts no linear"),
        ({"exclude_modules": ["q_proj", "v_proj"]}, "which adapts no linear"),
        ({"layers_to_transform": [3, -1]}, "which adapts no linear"),
        ({"layers_to_transform": [1], "layers_pattern": ["h", "ayers"]}, "which adapts no linear"),
        ({"layers_to_transform": [1], "layers_pattern": "h|layers"}, "which adapts no linear"),
        ({"layers_to_transform": [0], "target_modules": ["model.layers.1.mlp.up_proj", "q_proj"]},
         "which names model.layers.1.mlp.up_proj in full, but layers_to_transform leaves that layer out"),
    ],
    ids=str,
)  # fmt: skip
def test_no_targets(base: ModelConfig, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(
        InputError, match=rf"^adapter_config\.json: target_modules: is .*, {re.escape(problem)}"
    ):
        targeted(base, **settings)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({}, [4, 4, 4]),
        ({"q_proj": 2}, [2, 2, 2]),
        ({"self_attn.q_proj": 2}, [2, 2, 2]),
        ({"layers.0.self_attn.q_proj": 2}, [2, 4, 4]),
        ({"model.layers.0.self_attn.q_proj": 2}, [2, 4, 4]),
        ({"^model.layers.0.self_attn.q_proj": 2}, [2, 4, 4]),
        ({"^layers.0.self_attn.q_proj": 2}, [4, 4, 4]),
        ({"base_model.model.model.layers.0.self_attn.q_proj": 2}, [4, 4, 4]),
        ({r"layers\.[12]\..*": 6}, [4, 6, 6]),
        ({"_proj": 2, "proj": 3, "q_pro": 5, "Q_PROJ": 6}, [4, 4, 4]),  # a whole part of the name, to its end
        ({"1.self_attn.q_proj": 7, "q_proj": 2}, [2, 7, 2]),  # the first that fits
        ({"q_proj": 2, "1.self_attn.q_proj": 7}, [2, 2, 2]),
        ({"o_proj|q_proj": 3}, [3, 3, 3]),
        ({"": 9}, [4, 4, 4]),
    ],
    ids=str,
)
def test_patterns(base: ModelConfig, patterns: dict[str, int], expected: list[int]) -> None:
    """Rank and alpha are looked up alike, each in its own table."""
    by_rank = AdapterConfig(r=4, lora_alpha=8, target_modules=("q_proj",), rank_pattern=patterns)
    by_alpha = AdapterConfig(r=8, lora_alpha=4, target_modules=("q_proj",), alpha_pattern=patterns)
    ranks = [(target.r, target.alpha) for target in resolve_targets(by_rank, base, SOURCE)]
    alphas = [(target.r, target.alpha) for target in resolve_targets(by_alpha, base, SOURCE)]
    assert ranks == [(value, 8) for value in expected]
    assert alphas == [(8, value) for value in expected]


def test_an_expression_that_python_warns_of(base: ModelConfig) -> None:
    """Warnings are errors here; PEFT compiles the same text, so its meaning is that of today."""
    assert targeted(base, target_modules=r".*\.[[q]_proj") == every("q_proj")


EXPLODES = "(.*.*)*(.*.*)*(.*.*)*x!"


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": rf".*{EXPLODES}"},
        {"exclude_modules": EXPLODES},
        {"rank_pattern": {EXPLODES: 2}},
        {"layers_to_transform": (0,), "layers_pattern": (EXPLODES,)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_expression_that_takes_years(base: ModelConfig, options: dict[str, Any]) -> None:
    config = AdapterConfig.model_validate({"r": 2, "lora_alpha": 4, "target_modules": ("q_proj",)} | options)
    with pytest.raises(
        InputError, match=r"a\.json: holds regular expressions of which matching took more than"
    ):
        resolve_targets(config, base, Path("a.json"))
    good = AdapterConfig(r=2, lora_alpha=4, target_modules=r".*\.q_proj")
    assert len(resolve_targets(good, base, Path("a.json"))) == base.n_layers  # and the next one is served


def test_an_expression_without_end() -> None:
    with pytest.raises(ValidationError, match="at most 10,000 characters"):
        AdapterConfig(r=2, lora_alpha=4, target_modules="(?:a" * 5000)
