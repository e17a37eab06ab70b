"""``adapter_config.json``: what cannot run beside etched weights is refused by name, with the reason, in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from etchproof.adapter import AdapterConfig, load_adapter, read_adapter_config
from etchproof.adapter.synthetic import peft_config
from etchproof.checkpoint import ModelConfig
from etchproof.errors import InputError
from tests.unit.adapter.conftest import EditConfig

BASE_CHANGED = "which changes the base weights, and they are etched"
CONVERT = "path_initial_model_for_weight_conversion"
UNKNOWN = "a key that Etchproof does not know"


def refusal(folder: Path, model: ModelConfig, max_rank: int | None = None) -> str:
    """What ``load_adapter`` answers: one line, which names the config file."""
    with pytest.raises(InputError) as caught:
        load_adapter(folder, model, max_rank)
    line = str(caught.value)
    assert "\n" not in line
    line.encode()  # it can be printed
    source, _, rest = line.partition(": ")
    assert source == str(folder / "adapter_config.json")
    return rest


def test_stories260k_boy(adapters_dir: Path) -> None:
    config = read_adapter_config(adapters_dir / "stories260k-boy-r8-all")
    assert (config.r, config.lora_alpha, config.use_rslora) == (8, 16, False)
    assert set(config.target_modules) == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


def test_stories260k_dog(adapters_dir: Path) -> None:
    config = read_adapter_config(adapters_dir / "stories260k-dog-r4-qv-rslora" / "adapter_config.json")
    assert config == AdapterConfig(
        r=4,
        lora_alpha=8,
        target_modules=("q_proj", "v_proj"),
        rank_pattern={"layers.0.self_attn.q_proj": 2},
        use_rslora=True,
    )


def test_defaults_are_those_of_peft(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 3, "lora_alpha": 6}')
    config = read_adapter_config(folder)
    assert config == AdapterConfig(r=3, lora_alpha=6)
    assert (config.target_modules, config.exclude_modules, config.rank_pattern) == (
        ("q_proj", "v_proj"),
        (),
        {},
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"peft_type": ...}, "peft_type: is missing, expected 'LORA' (LoRA only is modelled)"),
        ({"peft_type": "ADALORA"}, "peft_type: is 'ADALORA', expected 'LORA' (LoRA only is modelled)"),
        ({"peft_type": None}, "peft_type: is None, expected 'LORA'"),
        ({"bias": "all"}, "bias: is 'all': the base model's biases are etched"),
        ({"bias": "lora_only"}, "bias: is 'lora_only': the base model's biases are etched"),
        ({"lora_bias": True}, "lora_bias: is True: a bias on the adapter's own product is not modelled"),
        ({"use_dora": True}, "use_dora: is True: DoRA rescales the base weights, which are etched"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: is ['lm_head']: it replaces whole modules"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices: is [1, 2]: the embedding is etched"),
        (
            {"trainable_token_indices": {"embed_tokens": [1]}},
            "trainable_token_indices: is {'embed_tokens': [1]}: the",
        ),
        (
            {"layer_replication": [[0, 2], [1, 3]]},
            "layer_replication: is [[0, 2], [1, 3]]: the layers are etched",
        ),
        (
            {"fan_in_fan_out": True},
            "fan_in_fan_out: is True: a Llama's weights are (out_features, in_features)",
        ),
        ({"task_type": "SEQ_CLS"}, "task_type: is 'SEQ_CLS': the chip generates text"),
        ({"task_type": "FEATURE_EXTRACTION"}, "task_type: is 'FEATURE_EXTRACTION': the chip generates text"),
        (
            {"alora_invocation_tokens": [5, 6]},
            "alora_invocation_tokens: is [5, 6]: an adapter that begins in the midst",
        ),
        ({"arrow_config": {"top_k": 2}}, "arrow_config: is {'top_k': 2}: routing among adapters (Arrow) is"),
        (
            {"kasa_config": {"beta": 1e-4}},
            "kasa_config: is {'beta': 0.0001}: KaSA truncates the base weights",
        ),
        (
            {"megatron_config": {"a": 1}},
            "megatron_config: is {'a': 1}: Megatron's parallel linears are not modelled",
        ),
        (
            {"monteclora_config": {"num_samples": 8}},
            "monteclora_config: is {'num_samples': 8}: sampled adapters",
        ),
        ({"target_parameters": ["mlp.w"]}, "target_parameters: is ['mlp.w']: an adapter on a bare parameter"),
        (
            {"use_bdlora": {"nblocks": 2}},
            "use_bdlora: is {'nblocks': 2}: block-diagonal adapters (BD-LoRA) are",
        ),
        ({"use_qalora": True}, "use_qalora: is True: pooling the adapter's inputs (QALoRA) is not modelled"),
        ({"velora_config": {"scale": 1}}, "velora_config: is {'scale': 1}: VeLoRA is not modelled"),
        (
            {"loftq_config": {"loftq_bits": 4}},
            "loftq_config: is {'loftq_bits': 4}: LoftQ changes the base weights",
        ),
        ({"init_lora_weights": "loftq"}, f"init_lora_weights: is 'loftq', {BASE_CHANGED}"),
        (
            {"init_lora_weights": "pissa"},
            f"init_lora_weights: is 'pissa', {BASE_CHANGED} (PEFT's save_pretrained",
        ),
        ({"init_lora_weights": "pissa_niter_16"}, f"init_lora_weights: is 'pissa_niter_16', {BASE_CHANGED}"),
        ({"init_lora_weights": "OLoRA"}, f"init_lora_weights: is 'OLoRA', {BASE_CHANGED}"),
        ({"init_lora_weights": "corda"}, f"init_lora_weights: is 'corda', {BASE_CHANGED}"),
        ({"init_lora_weights": "lora_ga"}, f"init_lora_weights: is 'lora_ga', {BASE_CHANGED}"),
        (
            {"init_lora_weights": "next_year"},
            "init_lora_weights: is 'next_year', an initialization that Etchproof",
        ),
        (
            {"init_lora_weights": 1.5},
            "init_lora_weights: is 1.5, an initialization that Etchproof does not know",
        ),
        (
            {"auto_mapping": {"base_model_class": "MistralForCausalLM"}},
            "auto_mapping: is {'base_model_class': 'Mis",
        ),
        ({"auto_mapping": "x"}, "auto_mapping: is 'x', expected base_model_class 'LlamaForCausalLM'"),
        (
            {"use_next_year": True},
            f"use_next_year: is True, {UNKNOWN}: it may change what the adapter computes",
        ),
        ({"next_scale": 1}, f"next_scale: is 1, {UNKNOWN}"),
        ({"next_scale": 0}, f"next_scale: is 0, {UNKNOWN}"),
        ({"next\nline": [1]}, f"'next\\nline': is [1], {UNKNOWN}"),
        ({"enable_lora": [True, False]}, f"enable_lora: is [True, False], {UNKNOWN}"),
        ({"r": ...}, "r: is missing"),
        ({"r": 0}, "r: is 0, expected at least 1"),
        ({"r": 4.0}, "r: is 4.0, expected an integer"),
        ({"r": True}, "r: is True, expected an integer"),
        ({"lora_alpha": ...}, "lora_alpha: is missing"),
        ({"lora_alpha": "8"}, "lora_alpha: is '8', expected a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha: is nan, expected a finite number"),
        ({"lora_alpha": float("inf")}, "lora_alpha: is inf, expected a finite number"),
        ({"use_rslora": "yes"}, "use_rslora: is 'yes', expected true or false"),
        ({"use_rslora": None}, "use_rslora: is None, expected true or false"),
        ({"target_modules": 5}, "target_modules: is 5, expected a string or a list of strings"),
        (
            {"target_modules": ["q_proj", 5]},
            "target_modules: is ['q_proj', 5], expected a string or a list of",
        ),
        (
            {"target_modules": "(q_proj"},
            "target_modules: is '(q_proj', expected a regular expression: missing ),",
        ),
        (
            {"target_modules": "(?{"},
            "target_modules: is '(?{', expected a regular expression: unknown extension",
        ),
        (
            {"exclude_modules": "*"},
            "exclude_modules: is '*', expected a regular expression: nothing to repeat",
        ),
        (
            {"exclude_modules": {"a": 1}},
            "exclude_modules: is {'a': 1}, expected a string or a list of strings",
        ),
        ({"rank_pattern": {"q_proj": "2"}}, "rank_pattern.q_proj: is '2', expected an integer"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj: is 0, expected at least 1"),
        ({"rank_pattern": {"q_(": 2}}, "rank_pattern.q_(: is 'q_(', expected a regular expression"),
        (
            {"rank_pattern": {"a{99999999999}": 2}},
            "rank_pattern.a{99999999999}: is 'a{99999999999}', expected a reg",
        ),
        ({"rank_pattern": {"a\nb": "x"}}, "rank_pattern.'a\\nb': is 'x', expected an integer"),
        ({"rank_pattern": [2]}, "rank_pattern: is [2], expected an object"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern.q_proj: is None, expected a number"),
        (
            {"layers_to_transform": "0"},
            "layers_to_transform: is '0', expected an integer or a list of integers",
        ),
        (
            {"layers_to_transform": [0, True]},
            "layers_to_transform: is [0, True], expected an integer or a list",
        ),
        (
            {"layers_to_transform": [0], "layers_pattern": "(?P<idx>a)"},
            "layers_pattern: is '(?P<idx>a)', expected a",
        ),
        (
            {"layers_to_transform": [0], "layers_pattern": 3},
            "layers_pattern: is 3, expected a string or a list",
        ),
        (
            {"layers_pattern": "layers"},
            "layers_pattern: is ['layers'], but layers_to_transform names no layer",
        ),
        (
            {"target_modules": "all-linear", "layers_to_transform": 0},
            "layers_to_transform: is [0], which has no say where target_modules is an expression",
        ),
    ],
    ids=lambda value: json.dumps(value, default=str)[1:50] if isinstance(value, dict) else "",
)
def test_refused(edit_config: EditConfig, base: ModelConfig, changes: dict[str, Any], line: str) -> None:
    assert refusal(edit_config(**changes), base).startswith(line)


def test_converted_adapters_are_the_way_out(edit_config: EditConfig, base: ModelConfig) -> None:
    for name in ("pissa", "olora", "corda", "lora_ga"):
        assert CONVERT in refusal(edit_config(init_lora_weights=name), base)
    assert CONVERT not in refusal(edit_config(init_lora_weights="loftq"), base)


@pytest.mark.parametrize(
    "changes",
    [
        {"task_type": None},
        {"task_type": None, "auto_mapping": {"base_model_class": "LlamaForCausalLM", "parent_library": "x"}},
        {"bias": None, "modules_to_save": [], "layer_replication": None, "trainable_token_indices": None},
        {"init_lora_weights": False},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "mica"},
        {
            "init_lora_weights": True,
            "corda_config": {"corda_method": "kpm"},
            "lora_ga_config": {"scale": "unit"},
        },
        {"lora_dropout": 0.5, "inference_mode": False, "revision": "main", "base_model_name_or_path": "a/b"},
        {
            "peft_version": "99.0",
            "megatron_core": "megatron.core",
            "qalora_group_size": 32,
            "loftq_config": {},
        },
        {"runtime_config": {"ephemeral_gpu_offload": False}, "ensure_weight_tying": True},
        {"next_year": None, "use_next_year": False, "next_list": [], "next_pattern": {}, "next_name": ""},
        {"rank_pattern": None, "alpha_pattern": None, "exclude_modules": []},
        {"layers_pattern": "", "layers_to_transform": []},
    ],
    ids=",".join,
)
def test_harmless(edit_config: EditConfig, folder: Path, changes: dict[str, Any]) -> None:
    before = read_adapter_config(folder)
    assert read_adapter_config(edit_config(**changes)) == before


@pytest.mark.parametrize(
    ("changes", "scaling"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 4.0),
        ({"lora_alpha": 8 * 2**0.5}, 2 * 2**0.5),
        ({"lora_alpha": 0}, 0.0),
        ({"lora_alpha": -8}, -2.0),
    ],
    ids=str,
)
def test_scaling(edit_config: EditConfig, base: ModelConfig, changes: dict[str, Any], scaling: float) -> None:
    adapter = load_adapter(edit_config(**changes), base)
    assert {lora.scaling for lora in adapter.linears.values()} == {scaling}


@pytest.mark.parametrize(("max_rank", "fits"), [(None, True), (5, True), (4, True), (3, False), (1, False)])
def test_a_rank_above_the_chips(folder: Path, base: ModelConfig, max_rank: int | None, fits: bool) -> None:
    if fits:
        load_adapter(folder, base, max_rank)
    else:
        line = f"r: is 4 for model.layers.0.self_attn.q_proj, above the chip's maximum rank of {max_rank}"
        assert refusal(folder, base, max_rank) == line


def test_a_rank_above_the_chips_by_pattern(edit_config: EditConfig, base: ModelConfig) -> None:
    folder = edit_config(rank_pattern={"1.self_attn.v_proj": 9})
    line = "rank_pattern.1.self_attn.v_proj: is 9 for model.layers.1.self_attn.v_proj, above the chip's maximum rank"
    assert refusal(folder, base, max_rank=8).startswith(line)


def test_it_is_the_rank_in_use_that_counts(edit_config: EditConfig, base: ModelConfig) -> None:
    """An r that every linear overrides is no rank of the chip's; nor is a pattern that no linear fits."""
    patterns = {"q_proj|v_proj|down_proj": 4, "k_proj": 99}
    load_adapter(edit_config(r=99, lora_alpha=198, rank_pattern=patterns), base, max_rank=4)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not valid JSON"),
        (b"[]", r"holds \[\], expected a JSON object"),
        (b"\xff\xfe", "is not UTF-8 text at byte 0"),
        (b"", "is not valid JSON"),
        (b'{"r": 4, "r": 8}', "r: stands twice in one object"),
    ],
    ids=str,
)
def test_corrupt_json(folder: Path, base: ModelConfig, content: bytes, problem: str) -> None:
    (folder / "adapter_config.json").write_bytes(content)
    assert re.match(problem, refusal(folder, base))


def test_the_written_config_reads_back(tmp_path: Path) -> None:
    config = AdapterConfig(
        r=3,
        lora_alpha=1.5,
        target_modules=("q_proj", "mlp.up_proj"),
        exclude_modules=r".*\.2\..*",
        rank_pattern={"up_proj": 2, ".*q_proj": 1},
        alpha_pattern={"^model.layers.0.self_attn.q_proj": 0.5},
        layers_to_transform=(0, 2),
        layers_pattern=("layers",),
        use_rslora=True,
    )
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(peft_config(config)))
    assert read_adapter_config(path) == config
