"""The float reference equals transformers' Llama, on trained and on random checkpoints of every supported form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from etchproof.checkpoint import (
    LinearScaling,
    Llama3Scaling,
    ModelConfig,
    RopeConfig,
    load_checkpoint,
    write_synthetic,
)
from etchproof.checkpoint.rope import rope_inv_freq
from etchproof.checkpoint.synthetic import RopeForm
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel, KvCache, greedy, sample
from models.taps import HEAD_TAPS, LAYER_TAPS, TAIL_TAPS

DRAWS = 12


@pytest.fixture(scope="module")
def stories(stories260k: Path) -> FloatModel:
    checkpoint = load_checkpoint(stories260k)
    return FloatModel(checkpoint.config, checkpoint.tensor)


@pytest.fixture(scope="module")
def stories64(stories260k: Path) -> FloatModel:
    checkpoint = load_checkpoint(stories260k)
    return FloatModel(checkpoint.config, checkpoint.tensor, torch.float64)


def transformers_logits(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    """(T, vocab_size) float32 of the independent implementation."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    theirs = transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    with torch.no_grad():
        logits: torch.Tensor = theirs(tokens[None]).logits[0]
    return logits


def drawn_config(seed: int) -> tuple[ModelConfig, torch.dtype, int, RopeForm]:
    """A random small architecture and its form; over ``DRAWS`` seeds every choice below occurs."""
    rng = np.random.default_rng(seed)
    n_kv_heads, group = ((1, 4), (2, 2), (4, 1), (3, 2))[seed % 4]  # MQA, GQA, MHA, GQA off powers of two
    n_heads = n_kv_heads * group
    head_dim = int(rng.choice([2, 6, 8, 16]))
    per_head = (
        head_dim if seed // 3 % 2 else int(rng.integers(3, 9))
    )  # hidden_size may differ from n_heads * head_dim
    scaling = (
        None,
        Llama3Scaling(factor=8, low_freq_factor=1, high_freq_factor=4, original_max_position_embeddings=32),
        LinearScaling(factor=4),
    )[seed % 5 % 3]
    config = ModelConfig(
        name=f"draw{seed}",
        vocab_size=int(rng.integers(40, 300)),
        hidden_size=n_heads * per_head,
        intermediate_size=int(rng.integers(5, 90)),
        n_layers=int(rng.integers(1, 4)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        context=64,
        rms_norm_eps=float(rng.choice([1e-6, 1e-5, 1e-2])),
        rope=RopeConfig(theta=float(rng.choice([100.0, 10000.0, 500000.0])), scaling=scaling),
        tie_word_embeddings=bool(seed & 1),
        attention_bias=bool(seed & 2),
        mlp_bias=bool(seed & 4),
        bos_token_id=1,
        eos_token_ids=((2,), (2, 3))[seed & 1],
    )
    dtype = (torch.float32, torch.bfloat16, torch.float16)[seed % 3]
    return config, dtype, 1 + seed // 2 % 3, "old" if seed % 2 else "new"


@pytest.mark.parametrize("seed", range(DRAWS))
def test_random_checkpoints_equal_transformers(tmp_path: Path, seed: int) -> None:
    config, dtype, shards, form = drawn_config(seed)
    folder = write_synthetic(tmp_path / config.name, config, seed, dtype=dtype, shards=shards, rope_form=form)
    checkpoint = load_checkpoint(folder)
    assert checkpoint.config == config
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, config.vocab_size, 64))
    ours = FloatModel(config, checkpoint.tensor).forward(tokens)
    torch.testing.assert_close(ours, transformers_logits(folder, tokens), rtol=0, atol=1e-4)


def test_a_saved_transformers_model_loads(tmp_path: Path) -> None:
    """The other direction: the folder is transformers' own, config and weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=90, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=48, rope_parameters={"rope_type": "default", "rope_theta": 5e4},
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    tokens = torch.arange(48)
    ours = FloatModel(checkpoint.config, checkpoint.tensor).forward(tokens)
    torch.testing.assert_close(ours, transformers_logits(tmp_path, tokens), rtol=0, atol=1e-4)


def test_stories260k_equals_transformers(stories: FloatModel, stories260k: Path) -> None:
    tokens = torch.cat((torch.tensor([1, 403, 407, 261, 378]), torch.arange(3, 510)))  # the whole context
    ours = stories.forward(tokens)
    torch.testing.assert_close(ours, transformers_logits(stories260k, tokens), rtol=0, atol=1e-4)


def test_stories260k_tells_its_story(stories: FloatModel, stories260k: Path) -> None:
    tokenizer = load_checkpoint(stories260k).tokenizer()
    prompt = tokenizer.encode("Once upon a time")
    stream = tokenizer.stream(after=prompt)
    story = "".join(stream.push(token) for token in greedy(stories, prompt, 27)) + stream.finish()
    assert story == ", there was a little girl named Lily. She loved to play outside in the park."


@pytest.mark.parametrize("seed", range(DRAWS))
def test_rope_equals_transformers(seed: int) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config, *_ = drawn_config(seed)
    scaling = config.rope.scaling.model_dump() if config.rope.scaling else {"rope_type": "default"}
    theirs = LlamaRotaryEmbedding(
        transformers.LlamaConfig(
            hidden_size=config.n_heads * config.head_dim,
            num_attention_heads=config.n_heads,
            head_dim=config.head_dim,
            max_position_embeddings=config.context,
            rope_parameters={**scaling, "rope_theta": config.rope.theta},
        )
    ).inv_freq
    ours = rope_inv_freq(config)
    assert ours.dtype == np.float64
    torch.testing.assert_close(torch.from_numpy(ours).float(), theirs, rtol=1e-6, atol=0)


def test_every_tap_is_observed_once_in_dataflow_order(stories: FloatModel) -> None:
    seen: list[tuple[int, str]] = []
    values: dict[tuple[int, str], torch.Tensor] = {}

    def observe(layer: int, tap: str, value: torch.Tensor) -> None:
        seen.append((layer, tap))
        values[layer, tap] = value

    logits = stories.forward([1, 403, 407], observe)
    layers = [(layer, tap) for layer in range(5) for tap in LAYER_TAPS]
    tail = [(-1, tap) for tap in TAIL_TAPS if tap != "token"]
    assert seen == [*((-1, tap) for tap in HEAD_TAPS), *layers, *tail]

    widths = {
        "q_proj": 64, "k_proj": 32, "v_proj": 32, "q_rope": 64, "k_rope": 32, "attn_out": 64, "gate_proj": 172,
        "up_proj": 172, "swiglu": 172, "logits": 512,
    }  # fmt: skip
    for (_, tap), value in values.items():
        assert value.shape == ((3, 8, 3) if tap in {"scores", "softmax"} else (3, widths.get(tap, 64)))
    assert torch.equal(values[-1, "logits"], logits)
    softmax = values[2, "softmax"]
    torch.testing.assert_close(softmax.sum(-1), torch.ones(3, 8))
    assert not softmax[0, :, 1:].any()
    assert values[2, "scores"].isfinite().all()


def test_steps_with_a_cache_equal_the_whole_pass(stories: FloatModel) -> None:
    tokens = torch.tensor([[1, 403, 407, 261, 378], [1, 300, 301, 302, 303]])
    cache = KvCache(stories.config, 2, 5, torch.float32)
    steps = torch.cat(
        [stories.step(tokens[:, :2], cache), *(stories.step(tokens[:, i : i + 1], cache) for i in (2, 3, 4))],
        1,
    )
    for row in range(2):
        torch.testing.assert_close(steps[row], stories.forward(tokens[row]), rtol=0, atol=1e-4)


class TestSample:
    def test_seeded_and_of_full_length(self, stories64: FloatModel) -> None:
        texts = sample(stories64, n=4, length=50, seed=7)
        assert (texts.shape, texts.dtype) == ((4, 50), torch.int64)
        assert torch.equal(texts, sample(stories64, n=4, length=50, seed=7))
        assert not torch.equal(texts, sample(stories64, n=4, length=50, seed=8))
        assert (texts[:, 0] == 1).all()
        assert not torch.isin(texts[:, 1:], torch.tensor([1, 2])).any()

    def test_each_token_is_the_inverse_cdf_of_its_uniform(self, stories64: FloatModel) -> None:
        """Recomputed from the whole pass, without the cache."""
        texts = sample(stories64, n=2, length=20, seed=3, temperature=0.8)
        uniforms = np.random.Generator(np.random.PCG64(3)).random((2, 19))
        for text, row in zip(texts, uniforms, strict=True):
            logits = stories64.forward(text[:-1]) / 0.8
            logits[:, [1, 2]] = -torch.inf
            cdf = logits.softmax(-1).cumsum(-1)
            drawn = [int(torch.searchsorted(line, u, right=True)) for line, u in zip(cdf, row, strict=True)]
            assert drawn == text[1:].tolist()

    def test_nearly_zero_temperature_is_greedy(self, stories64: FloatModel) -> None:
        assert sample(stories64, 1, 20, seed=0, temperature=1e-6)[0, 1:].tolist() == greedy(
            stories64, [1], 19
        )

    @pytest.mark.parametrize(
        ("length", "temperature", "problem"), [(513, 1.0, "length is 513"), (5, 0.0, "temperature")]
    )
    def test_out_of_range(self, stories64: FloatModel, length: int, temperature: float, problem: str) -> None:
        with pytest.raises(InputError, match=problem):
            sample(stories64, 1, length, 0, temperature)

    def test_without_bos(self, stories64: FloatModel) -> None:
        config = stories64.config.model_copy(update={"bos_token_id": None})
        with pytest.raises(InputError, match="bos_token_id: is null"):
            sample(FloatModel(config, lambda name: stories64._weights[name]), 1, 5, 0)


def test_greedy_ends_with_an_eos(stories: FloatModel) -> None:
    first = greedy(stories, [1, 403], 5)
    assert len(first) == 5
    config = stories.config.model_copy(update={"eos_token_ids": (first[2],)})
    assert greedy(FloatModel(config, lambda name: stories._weights[name]), [1, 403], 5) == first[:3]


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ([], "no token"),
        ([512], "token id 512"),
        ([-1], "token id -1"),
        ([1] * 513, "513 tokens exceed the context of 512"),
    ],
    ids=lambda value: str(value)[:15],
)
def test_refused_tokens(stories: FloatModel, tokens: list[int], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        stories.forward(tokens)
