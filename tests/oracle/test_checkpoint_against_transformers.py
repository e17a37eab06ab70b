"""Mutated checkpoint folders: refused, or the float model gives transformers' logits within 1e-4.

Where transformers itself refuses a folder there is nothing to compare, and we may take it or refuse it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import Checkpoint, ModelConfig, load_checkpoint, write_synthetic
from etchproof.checkpoint import config as reader
from etchproof.checkpoint.unsupported import JUDGED, NO_EFFECT
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::FutureWarning"
    ),  # configs of odd values: what transformers says is not ours
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity(transformers.logging.CRITICAL)

MODEL = ModelConfig(
    name="model",
    vocab_size=40,
    hidden_size=16,
    intermediate_size=12,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=4,
    context=24,
    bos_token_id=1,
    eos_token_ids=(2,),
)
TOKENS: Final = torch.tensor([1, 5, 39, 0, 17, 5, 5, 2, 30, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 3])
LLAMA3: Final = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
UNKNOWN: Final = ("some_new_key", "rope_shift", "get_text_config", "attention_scale", "head_size", "to_dict")
DROPPED: Final = object()

ANYTHING: Final = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            1,
            2,
            3,
            -1,
            0.5,
            1.0,
            8,
            64,
            1e-3,
            1e30,
            "",
            "x",
            "silu",
            "gelu",
            "relu",
            "float16",
        ),
        *(
            "bfloat16",
            "float32",
            "int8",
            "eager",
            "sdpa",
            [],
            {},
            [1],
            [2, 3],
            {"a": 1},
            ["full_attention"] * 2,
        ),
        *("model.safetensors", "other.safetensors", ["sliding_attention"] * 2, "sliding_attention"),
        {"0": {"num_attention_heads": 2}},
        {"1": {"rms_norm_eps": 0.5}},
    ]
)
ROPE_VALUES: Final = st.sampled_from(
    [None, 1, 1.0, 2.0, 8, 16, 23, 24, 100, 1e4, 5e5, 0.5, "x", "linear", True]
)
ROPE: Final = st.builds(
    lambda base, more: base | more,
    st.sampled_from(
        [{}, {"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}, LLAMA3, {"type": "yarn"}]
    ),
    st.dictionaries(
        st.sampled_from(
            sorted({*reader._HfRope.model_fields, "type", "partial_rotary_factor", "beta_fast", "new"})
        ),
        ROPE_VALUES,
        max_size=3,
    ),
)
SPECIFIC: Final[dict[str, st.SearchStrategy[Any]]] = {
    "rope_parameters": ROPE,
    "rope_scaling": ROPE,
    "rope_theta": ROPE_VALUES,
    "partial_rotary_factor": ROPE_VALUES,
    "original_max_position_embeddings": ROPE_VALUES,
    "max_position_embeddings": st.sampled_from([20, 24, 64, 2048]),
    "rms_norm_eps": st.sampled_from([1e-6, 1e-5, 0.1, 0.9]),
    "num_key_value_heads": st.sampled_from([None, 1, 2, 4]),
    "head_dim": st.sampled_from([None, 2, 4, 8]),
    "num_attention_heads": st.sampled_from([1, 2, 4, 8]),
    "num_hidden_layers": st.sampled_from([1, 2, 3]),
    "tie_word_embeddings": st.booleans(),
    "attention_bias": st.booleans(),
    "mlp_bias": st.booleans(),
}
KEYS: Final = sorted({*reader._HfConfig.model_fields, *JUDGED, *NO_EFFECT, *UNKNOWN})


def changes(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Some keys, each with a value, or dropped."""
    one = st.sampled_from(keys).flatmap(
        lambda key: st.tuples(st.just(key), SPECIFIC.get(key, ANYTHING) | ANYTHING | st.just(DROPPED))
    )
    return st.lists(one, min_size=1, max_size=3).map(dict)


CHANGES: Final = changes(KEYS) | changes(sorted(SPECIFIC))


def as_it_is(folder: Path) -> None: ...


def other_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: value * 2 for name, value in tensors.items()}, folder / "other.safetensors", {"format": "pt"}
    )


def pickled_beside(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    torch.save({name: value * 2 for name, value in tensors.items()}, folder / "pytorch_model.bin")


def index_beside(folder: Path) -> None:
    other_weights(folder)
    names = load_file(folder / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "other.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def adapter_inside(folder: Path) -> None:
    config = AdapterConfig(r=2, lora_alpha=8, target_modules="all-linear")
    write_synthetic_adapter(folder.parent / "adapter", MODEL, config, seed=3)
    for path in (folder.parent / "adapter").iterdir():
        shutil.copy(path, folder)
    shutil.rmtree(folder.parent / "adapter")


def frequencies(folder: Path) -> None:
    """The buffer that older versions saved, of another base."""
    save_with(folder, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.tensor([1.0, 0.5])})


def surplus(folder: Path) -> None:
    save_with(folder, {"model.layers.0.self_attn.q_norm.weight": torch.ones(4)})


def tied_twice(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_with(folder, {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})


def save_with(folder: Path, more: dict[str, torch.Tensor]) -> None:
    save_file(load_file(folder / "model.safetensors") | more, folder / "model.safetensors", {"format": "pt"})


def generation(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3], "temperature": 0.1}))


def older_config(folder: Path) -> None:
    """Another configuration under a versioned name: read where config.json lists it."""
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.4.0.0.json").write_text(json.dumps(raw | {"rms_norm_eps": 0.5}))


FOLDERS: Final[tuple[Callable[[Path], None], ...]] = (
    *(
        as_it_is,
        other_weights,
        pickled_beside,
        index_beside,
        adapter_inside,
        frequencies,
        surplus,
        tied_twice,
    ),
    *(generation, older_config),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("base") / "model", MODEL, seed=5, tokenizer=False)


def ours(folder: Path) -> Checkpoint | None:
    try:
        return load_checkpoint(folder)
    except InputError as error:
        assert "\n" not in str(error)
        return None


def theirs(folder: Path, tokens: torch.Tensor) -> torch.Tensor | None:
    """transformers' logits, (T, vocab_size); None where it refuses the folder."""
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        ).eval()
        with torch.no_grad():
            logits: torch.Tensor = model(tokens[None]).logits[0]
    except Exception:
        return None
    return logits


def compare(base: Path, mutate: Callable[[Path], None], config: dict[str, Any]) -> str:
    """ "refused", "incomparable" or "equal"; fails on the fourth."""
    folder = base.parent / "mutated"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    raw = json.loads((folder / "config.json").read_text()) | config
    kept = {key: value for key, value in raw.items() if value is not DROPPED}
    (folder / "config.json").write_text(json.dumps(kept))
    mutate(folder)
    checkpoint = ours(folder)
    if checkpoint is None:
        return "refused"
    tokens = TOKENS[: checkpoint.config.context]
    expected = theirs(folder, tokens)
    if expected is None:
        return "incomparable"
    logits = FloatModel(checkpoint.config, checkpoint.tensor).forward(tokens)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    return "equal"


def search(base: Path, examples: int) -> dict[str, int]:
    counts = dict.fromkeys(("refused", "incomparable", "equal"), 0)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutate=st.sampled_from(FOLDERS), config=CHANGES)
    def mutated(mutate: Callable[[Path], None], config: dict[str, Any]) -> None:
        counts[compare(base, mutate, config)] += 1

    mutated()
    return counts


def test_mutated_folders(base: Path) -> None:
    counts = search(base, 120)
    assert counts["equal"] >= 12, counts
    assert counts["refused"] >= 12, counts


@pytest.mark.slow
def test_many_mutated_folders(base: Path) -> None:
    counts = search(base, 5000)
    assert counts["equal"] >= 300, counts


@pytest.mark.parametrize("mutate", FOLDERS)
def test_each_folder_by_itself(base: Path, mutate: Callable[[Path], None]) -> None:
    refused = mutate in (index_beside, adapter_inside, surplus)
    assert compare(base, mutate, {}) == ("refused" if refused else "equal")
    if mutate is tied_twice:  # two tensors of the same values
        assert compare(base, mutate, {"tie_word_embeddings": True}) == "equal"


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted({*NO_EFFECT, *JUDGED} - {"model_type"}))
def test_null_and_absence_are_the_same(base: Path, key: str) -> None:
    """Each key by itself: null is refused, refused by transformers, or changes nothing."""
    compare(base, as_it_is, {key: None})


FOUND: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    ({"transformers_weights": "other.safetensors"}, "refused"),
    ({"configuration_files": ["config.json", "config.4.0.0.json"]}, "refused"),
    ({"is_causal": False}, "refused"),
    ({"per_layer_config": {"1": {"rms_norm_eps": 0.5}}}, "refused"),
    ({"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 16}, "original_max_position_embeddings": 8},
     "refused"),
    ({"rope_parameters": LLAMA3, "original_max_position_embeddings": 8}, "equal"),
    ({"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 8}}, "equal"),
    ({"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 16}}, "equal"),
    ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "equal"),
)  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), FOUND, ids=str)
def test_what_passed_silently(base: Path, config: dict[str, Any], expected: str) -> None:
    def mutate(folder: Path) -> None:
        other_weights(folder)
        older_config(folder)

    assert compare(base, mutate, config) == expected


UNCHECKED: Final[tuple[dict[str, Any], ...]] = (
    {"transformers_weights": "other.safetensors"},
    {"is_causal": False},
    {"configuration_files": ["config.json", "config.4.0.0.json"]},
)


@pytest.mark.parametrize("config", UNCHECKED, ids=str)
def test_the_comparison_sees_it(base: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the allow-list, the same folders fail."""
    monkeypatch.setattr(reader, "refuse_unsupported", lambda *_: None)
    with pytest.raises(AssertionError, match="not close"):
        test_what_passed_silently(base, config, "equal")


def test_the_comparison_sees_rope(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two lengths beside each other, taking the one inside fails."""
    inside = LLAMA3 | {"original_max_position_embeddings": 16}
    beside = reader._HfConfig.model_fields["original_max_position_embeddings"]
    assert beside.default is None
    resolve = reader._resolve_rope
    monkeypatch.setattr(
        reader,
        "_resolve_rope",
        lambda hf, source: resolve(hf.model_copy(update={"original_max_position_embeddings": None}), source),
    )
    with pytest.raises(AssertionError, match="not close"):
        compare(base, as_it_is, {"rope_parameters": inside, "original_max_position_embeddings": 4})
