"""Adapters against PEFT itself: the same linears, ranks and scales, and the same logits within 1e-4."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.adapter import Adapter, AdapterConfig, load_adapter, write_synthetic_adapter
from etchproof.adapter.targets import module_names, resolve_targets
from etchproof.adapter.unsupported import KNOWN_KEYS
from etchproof.checkpoint import ModelConfig, load_checkpoint, write_synthetic
from etchproof.checkpoint.linears import LINEARS
from etchproof.checkpoint.rope import rope_cos_sin
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel, greedy

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

SHARED = ("stories260k-boy-r8-all", "stories260k-dog-r4-qv-rslora")
DRAWS = 12
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


pytestmark = [
    # this PEFT and this transformers, pinned side by side, disagree about a name
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # patterns and exclusions that fit nothing are part of what is compared
    pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:You have passed exclude_modules=:UserWarning"),
]
transformers.utils.logging.disable_progress_bar()


def peft_model(checkpoint: Path, adapter: Path) -> Any:
    """transformers' Llama of a checkpoint folder with PEFT's reading of an adapter folder."""
    base = transformers.LlamaForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    return peft.PeftModel.from_pretrained(base, adapter).eval()


def peft_logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(T, vocab_size) float32."""
    with torch.no_grad():
        logits: torch.Tensor = model(tokens[None]).logits[0]
    return logits


def assert_same_linears(ours: Adapter, theirs: Any) -> None:
    """Every record equals PEFT's layer of the same name, and PEFT has no other."""
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in theirs.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    records = {lora.module: lora for lora in ours.linears.values()}
    assert set(records) == set(layers)
    for name, lora in records.items():
        layer = layers[name]
        assert (lora.r, lora.alpha) == (layer.r["default"], layer.lora_alpha["default"]), name
        assert lora.scaling == layer.scaling["default"], name
        assert torch.equal(lora.A, layer.lora_A["default"].weight), name
        assert torch.equal(lora.B, layer.lora_B["default"].weight), name


@pytest.mark.parametrize("name", SHARED)
def test_shared_adapters(stories260k: Path, adapters_dir: Path, name: str) -> None:
    """On the story that base and adapter tell, as long as half the context."""
    checkpoint = load_checkpoint(stories260k)
    adapter = load_adapter(adapters_dir / name, checkpoint.config)
    theirs = peft_model(stories260k, adapters_dir / name)
    assert_same_linears(adapter, theirs)
    tuned = FloatModel(checkpoint.config, checkpoint.tensor, adapter=adapter)
    prompt = checkpoint.tokenizer().encode("Once upon a time")
    tokens = torch.tensor(prompt + greedy(tuned, prompt, 256 - len(prompt)))
    ours = tuned.forward(tokens)
    torch.testing.assert_close(ours, peft_logits(theirs, tokens), rtol=0, atol=1e-4)
    base = FloatModel(checkpoint.config, checkpoint.tensor).forward(tokens)
    assert (ours - base).abs().max() > 1  # the adapter matters, and the comparison with it


@pytest.mark.parametrize("name", SHARED)
def test_shared_adapters_on_every_token(stories260k: Path, adapters_dir: Path, name: str) -> None:
    """The whole vocabulary in the whole context: no text, and an adapter magnifies every rounding in it.

    transformers rounds RoPE's angles to float32, which is worth 2e-4 of a logit at position 423 (in float64 too), and
    nothing of the adapter's. So both sides turn by the same angles here.
    """
    checkpoint = load_checkpoint(stories260k)
    config = checkpoint.config
    adapter = load_adapter(adapters_dir / name, config)
    theirs = peft_model(stories260k, adapters_dir / name)

    def exact(x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tables = rope_cos_sin(config, position_ids[0].numpy())  # 2 of (T, head_dim/2) float64
        both = (torch.from_numpy(table).to(x.dtype) for table in tables)
        return tuple(torch.cat((table, table), dim=-1)[None] for table in both)

    theirs.base_model.model.model.rotary_emb.forward = exact
    tokens = torch.cat((torch.tensor([1, 403, 407, 261, 378]), torch.arange(3, 510)))
    ours = FloatModel(config, checkpoint.tensor, adapter=adapter).forward(tokens)
    torch.testing.assert_close(ours, peft_logits(theirs, tokens), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (SHARED[0], ", there was a little boy named Tim. He loved to play outside in the sun."),
        (SHARED[1], ", there was a little girl named Lily. She loved to play outside in the sun."),
    ],
)
def test_shared_adapters_tell_their_stories(
    stories260k: Path, adapters_dir: Path, name: str, expected: str
) -> None:
    """The texts that the adapters' own README files state."""
    checkpoint = load_checkpoint(stories260k)
    adapter = load_adapter(adapters_dir / name, checkpoint.config)
    tokenizer = checkpoint.tokenizer()
    prompt = tokenizer.encode("Once upon a time")
    stream = tokenizer.stream(after=prompt)
    ids = greedy(FloatModel(checkpoint.config, checkpoint.tensor, adapter=adapter), prompt, 40)
    story = "".join(stream.push(token) for token in ids) + stream.finish()
    assert story.startswith(expected)


def drawn_model(seed: int) -> ModelConfig:
    rng = np.random.default_rng(seed)
    n_kv_heads, group = ((1, 4), (2, 2), (4, 1), (3, 2))[seed % 4]  # MQA, GQA, MHA, GQA off powers of two
    return ModelConfig(
        name=f"draw{seed}",
        vocab_size=int(rng.integers(40, 200)),
        hidden_size=n_kv_heads * group * int(rng.integers(3, 9)),
        intermediate_size=int(rng.integers(5, 70)),
        n_layers=1 + seed % 3,
        n_heads=n_kv_heads * group,
        n_kv_heads=n_kv_heads,
        head_dim=int(rng.choice([2, 6, 8])),
        context=48,
        tie_word_embeddings=bool(seed & 1),
        attention_bias=bool(seed & 2),
        mlp_bias=bool(seed & 4),
        bos_token_id=1,
        eos_token_ids=(2,),
    )


def drawn_adapter(seed: int) -> AdapterConfig:
    """Over ``DRAWS`` seeds every way to name targets and every kind of pattern occurs."""
    rng = np.random.default_rng(1000 + seed)
    targets: dict[str, Any] = (
        {"target_modules": "all-linear"},
        {"target_modules": "all-linear", "exclude_modules": ("k_proj", "0.mlp.up_proj")},
        {"target_modules": r".*\.(q|v|down)_proj"},
        {"target_modules": ("self_attn.q_proj", "mlp.up_proj", "w1"), "layers_to_transform": (0, 2)},
        {"target_modules": ("o_proj",), "layers_to_transform": (0,), "layers_pattern": ("layers",)},
        {"target_modules": ("model.layers.0.mlp.down_proj", "v_proj"), "exclude_modules": r".*\.2\..*"},
    )[seed % 6]
    return AdapterConfig.model_validate(
        {
            "r": int(rng.integers(1, 17)),
            "lora_alpha": float(rng.choice([1, 3, 16, 2.5])),
            "rank_pattern": ({}, {"q_proj": 1, r"layers\.0\..*": 5}, {"0.mlp.down_proj": 7, "v_proj": 3})[
                seed % 3
            ],
            "alpha_pattern": ({}, {"^model.layers.0.self_attn.o_proj": 5, "o_proj": 2}, {".*": 0.5})[
                seed // 3 % 3
            ],
            "use_rslora": bool(seed // 2 & 1),
            **targets,
        }
    )


@pytest.mark.parametrize("seed", range(DRAWS))
def test_random_adapters(tmp_path: Path, seed: int) -> None:
    config = drawn_model(seed)
    folder = write_synthetic(tmp_path / config.name, config, seed)
    tuned = write_synthetic_adapter(
        tmp_path / "tuned", config, drawn_adapter(seed), seed, dtype=DTYPES[seed % 3]
    )
    adapter = load_adapter(tuned, config)
    theirs = peft_model(folder, tuned)
    assert_same_linears(adapter, theirs)
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, config.vocab_size, config.context))
    weights = load_checkpoint(folder).tensor
    ours = FloatModel(config, weights, adapter=adapter).forward(tokens)
    torch.testing.assert_close(ours, peft_logits(theirs, tokens), rtol=0, atol=1e-4)
    assert (ours - FloatModel(config, weights).forward(tokens)).abs().max() > 1e-2


def drawn_llama(folder: Path, layers: int) -> Any:
    """A small Llama of transformers' with weights drawn from seed 0, saved in a folder."""
    torch.manual_seed(0)
    llama = transformers.LlamaConfig(
        vocab_size=90, hidden_size=24, intermediate_size=40, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=48,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(llama).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "all-linear"},
        {"target_modules": r".*mlp\.(up|down)_proj", "use_rslora": True},
        {
            "target_modules": None,
            "rank_pattern": {"layers.1.self_attn.v_proj": 5},
            "alpha_pattern": {"q_proj": 3},
        },
        {"target_modules": ["k_proj", "o_proj"], "layers_to_transform": 1, "lora_dropout": 0.3},
        {"target_modules": [f"model.layers.{n}.self_attn.{name}_proj" for n in range(8) for name in "qkv"]},
        {"target_modules": "all-linear", "exclude_modules": ["q_proj"], "task_type": None},
        {"target_modules": ["q_proj"], "init_lora_weights": "orthogonal"},
    ],
    ids=",".join,
)
def test_what_peft_saves(tmp_path: Path, options: dict[str, Any]) -> None:
    """The other direction: config and tensors are written by PEFT."""
    base = drawn_llama(tmp_path / "base", layers=8)
    settings = {"r": 6, "lora_alpha": 9, "task_type": "CAUSAL_LM", "init_lora_weights": False, **options}
    model = peft.get_peft_model(base, peft.LoraConfig(**settings)).eval()
    model.save_pretrained(tmp_path / "tuned")
    checkpoint = load_checkpoint(tmp_path / "base")
    adapter = load_adapter(tmp_path / "tuned", checkpoint.config)
    assert_same_linears(adapter, model)
    tokens = torch.arange(48)
    ours = FloatModel(checkpoint.config, checkpoint.tensor, adapter=adapter).forward(tokens)
    torch.testing.assert_close(ours, peft_logits(model, tokens), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:PiSSA changes the base weights:UserWarning")  # hence the conversion
def test_what_peft_converts_from_pissa(tmp_path: Path) -> None:
    """The way out that the refusal names: a PiSSA adapter, trained, saved as plain LoRA on the initial weights."""
    base = drawn_llama(tmp_path / "base", layers=2)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights="pissa", task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(base, config).eval()
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "initial")
    model.peft_config["default"].init_lora_weights = "pissa"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))  # training
    model.save_pretrained(tmp_path / "pissa")
    checkpoint = load_checkpoint(tmp_path / "base")
    with pytest.raises(InputError, match="init_lora_weights: is 'pissa', which changes the base weights"):
        load_adapter(tmp_path / "pissa", checkpoint.config)
    model.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=tmp_path / "initial")
    adapter = load_adapter(tmp_path / "plain", checkpoint.config)
    ours = FloatModel(checkpoint.config, checkpoint.tensor, adapter=adapter).forward(torch.arange(48))
    torch.testing.assert_close(ours, peft_logits(model, torch.arange(48)), rtol=0, atol=1e-4)


MODEL = drawn_model(2)  # three layers
MODULES = module_names(MODEL)
SUFFIXES = tuple(sorted({".".join(name.split(".")[-n:]) for name in MODULES for n in range(1, 6)}))
WORDS = st.sampled_from([*SUFFIXES, "proj", "w1", "layers.1", ".q_proj", "", "0", "q_proj|v_proj"])
EXPRESSIONS = st.sampled_from(
    [
        *("all-linear", "ALL-LINEAR", ".*", "", "q_proj", "lm_head", r"lm_head|.*\.q_proj", r".*_proj"),
        *(r".*attn.*", r".*\.layers\.[01]\..*_proj", r".*(embed_tokens|up_proj)", r".*\.[qk]_proj"),
        *(r"model\.layers\.\d+\.mlp\.\w+_proj", r".*(?<!1\.self_attn)\.v_proj", r"(?!lm_head).*_proj"),
        *(r"(?i).*\.Q_PROJ", r".*\.1\..*", r".*\.q_pro"),
    ]
)
PATTERNS = st.sampled_from([r"layers\.[02]\..*", "^model.layers.0.mlp.up_proj", "^layers.*", ".*q_proj"])
# A flag must stand at the start of an expression, and a key is put into the midst of one.
PATTERN_KEYS = (WORDS | EXPRESSIONS | PATTERNS).filter(lambda key: not key.startswith("(?i)"))


@st.composite
def peft_settings(draw: st.DrawFn) -> dict[str, Any]:
    names = st.lists(st.sampled_from(LINEARS) | WORDS, max_size=4)
    found: dict[str, Any] = {
        "target_modules": draw(st.none() | EXPRESSIONS | names),
        "exclude_modules": draw(st.none() | EXPRESSIONS | names),
        "rank_pattern": draw(st.dictionaries(PATTERN_KEYS, st.integers(1, 32), max_size=4)),
        "alpha_pattern": draw(st.dictionaries(PATTERN_KEYS, st.integers(1, 32), max_size=4)),
    }
    if not isinstance(found["target_modules"], str):
        found["layers_to_transform"] = draw(
            st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=3)
        )
        if found["layers_to_transform"] not in (None, []):
            pattern = st.sampled_from(["layers", "model.layers", "h", "l.*s", "layers|h", "ayers", "", "mlp"])
            found["layers_pattern"] = draw(st.none() | pattern | st.lists(pattern.filter(bool), max_size=2))
    return found


def by_peft(options: dict[str, Any]) -> tuple[dict[str, tuple[int, float]], list[str]]:
    """PEFT's own functions on this architecture's names: rank and alpha by module; the modules that they take."""
    from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
    from peft.utils.other import get_pattern_key

    config = peft.LoraConfig(r=40, lora_alpha=50, **options)
    if config.target_modules is None:
        config.target_modules = {"q_proj", "v_proj"}
    elif isinstance(config.target_modules, str) and config.target_modules.lower() == "all-linear":
        config.target_modules = {name for name in MODULES if name.endswith("_proj")}
    found, taken = {}, []
    for name in MODULES:
        result = check_target_module_exists(config, name)
        if result and not isinstance(result, _ExcludedModule):
            taken.append(name)
            r_key = get_pattern_key(config.rank_pattern.keys(), name)
            alpha_key = get_pattern_key(config.alpha_pattern.keys(), name)
            found[name] = (config.rank_pattern.get(r_key, 40), config.alpha_pattern.get(alpha_key, 50))
    return found, taken


@settings(max_examples=600, deadline=None)
@given(options=peft_settings())
def test_targets_equal_pefts(options: dict[str, Any]) -> None:
    """Where PEFT takes linears of the layers alone, so do we; where it takes something else or nothing, we refuse."""
    theirs, taken = by_peft(options)
    listed = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    config = AdapterConfig.model_validate({"r": 40, "lora_alpha": 50, **listed})
    try:
        targets = resolve_targets(config, MODEL, Path("adapter_config.json"))
    except InputError as error:
        contradiction = "layers_to_transform leaves that layer out" in str(error)
        assert contradiction or not taken or not all(name.endswith("_proj") for name in taken), error
    else:
        assert {target.linear.module: (target.r, target.alpha) for target in targets} == theirs


def test_module_names_equal_transformers() -> None:
    llama = transformers.LlamaConfig(
        vocab_size=9, hidden_size=4, intermediate_size=4, num_hidden_layers=3, num_attention_heads=1
    )
    theirs = [name for name, _ in transformers.LlamaForCausalLM(llama).named_modules() if name]
    assert set(MODULES) == set(theirs)
    assert len(MODULES) == len(theirs)


def test_every_key_of_pefts_config_is_judged() -> None:
    """A key that a new PEFT brings fails here, before it is refused as unknown at a user's."""
    theirs = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    assert theirs <= {*AdapterConfig.model_fields, *KNOWN_KEYS}


def test_pefts_defaults_are_accepted(tmp_path: Path) -> None:
    peft.LoraConfig(task_type="CAUSAL_LM").save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "adapter_config.json").read_text())
    assert len(raw) > 30
    with pytest.raises(InputError, match=r"holds no adapter_model\.safetensors$"):  # the config is good
        load_adapter(tmp_path, MODEL)
