"""The golden model against an oracle written from the documentation alone (chip_by_the_book.py), bit for bit."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from etchproof.checkpoint import (
    LinearScaling,
    Llama3Scaling,
    ModelConfig,
    RopeConfig,
    load_checkpoint,
    write_synthetic,
)
from etchproof.quantize import quantize_model
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import Recipe, load_recipe, resolve
from etchproof.render.images import read_images, write_images
from models import chip, lora
from models.golden import Golden, greedy_token
from models.numerics import ops
from models.rom import writer
from models.taps import HEAD_TAPS, LAYER_TAPS, TAIL_TAPS
from tests.oracle import chip_by_the_book as book
from tests.oracle.chip_by_the_book import Chip as Oracle
from tests.oracle.chip_by_the_book import (
    Facts,
    Taps,
    llama3_frequency,
    read_roms,
    recompute,
    rom_sha256,
    rope_frequencies,
    rope_table,
)
from verif.load_port.drawn_adapters import random_adapter

TOP_MODULES = {"embed_tokens": "model.embed_tokens", "lm_head": "lm_head"}
LAYER_MODULES = {
    **{name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{name: f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
}


@dataclass(frozen=True)
class Case:
    """A random checkpoint and a recipe for it; ``factors`` multiply the weights whose names end so."""

    config: ModelConfig
    recipe: Mapping[str, Any]
    n_tokens: int = 6
    factors: Mapping[str, float] = field(default_factory=dict)


def _config(**sizes: Any) -> ModelConfig:
    return ModelConfig(name="synthetic", context=40, **sizes)


CASES = {
    # A sharp softmax, one key/value head, heads * head_dim != hidden, nothing a multiple of the tile, biases, three
    # group sizes.
    "biased": Case(
        _config(
            vocab_size=83,
            hidden_size=36,
            intermediate_size=141,
            n_layers=2,
            n_heads=3,
            n_kv_heads=1,
            head_dim=10,
            attention_bias=True,
            mlp_bias=True,
            rms_norm_eps=1e-6,
        ),
        {
            "matrices": [
                {"match": "model.embed_tokens", "bits": 4, "group_size": "row"},
                {"match": ["*.q_proj", "*.k_proj"], "bits": 3, "group_size": 16},
                {"match": "*.down_proj", "bits": 4, "group_size": 128},
                {"match": "*", "bits": 8, "group_size": 16},
            ]
        },
        factors={"q_proj.weight": 6.0, "k_proj.weight": 6.0},
    ),
    # 8-bit activations and cache, tied embedding, a group of four chunks of a small tile, a scaled RoPE, saturation.
    "narrow": Case(
        _config(
            vocab_size=61,
            hidden_size=150,
            intermediate_size=135,
            n_layers=2,
            n_heads=6,
            n_kv_heads=3,
            head_dim=8,
            tie_word_embeddings=True,
            rope=RopeConfig(theta=500.0, scaling=LinearScaling(factor=4.0)),
        ),
        {
            "activation_bits": 8,
            "kv_bits": 8,
            "tile": {"rows": 8, "inputs": 32},
            "headroom": 0.5,
            "matrices": [
                {"match": ["model.embed_tokens", "*.up_proj"], "bits": 8, "group_size": 128},
                {"match": ["lm_head", "*.v_proj", "*.down_proj"], "bits": 6, "group_size": "row"},
                {"match": "*.gate_proj", "bits": 4, "group_size": 16},
                {"match": "*", "bits": 3, "group_size": 128},
            ],
        },
    ),
    # 16-bit activations over an 8-bit cache, the largest tile, GPTQ, Llama 3's RoPE, residuals beyond 24 and 32 bits.
    "loud": Case(
        _config(
            vocab_size=45,
            hidden_size=130,
            intermediate_size=67,
            n_layers=2,
            n_heads=4,
            n_kv_heads=2,
            head_dim=14,
            attention_bias=True,
            rms_norm_eps=0.003,
            rope=RopeConfig(
                theta=500000.0,
                scaling=Llama3Scaling(
                    factor=8.0,
                    low_freq_factor=1.0,
                    high_freq_factor=4.0,
                    original_max_position_embeddings=16,
                ),
            ),
        ),
        {
            "kv_bits": 8,
            "tile": {"rows": 32, "inputs": 128},
            "method": "gptq",
            "matrices": [
                {"match": ["lm_head", "*.o_proj"], "bits": 4, "group_size": "row"},
                {"match": "*", "bits": 3, "group_size": 16},
            ],
        },
        factors={"o_proj.weight": 2e4, "down_proj.weight": 2e4},
    ),
    # 8-bit activations over a 16-bit cache, a steep gate, a matrix narrower than a group, a tile of the smallest size.
    "small": Case(
        _config(
            vocab_size=19,
            hidden_size=9,
            intermediate_size=21,
            n_layers=1,
            n_heads=2,
            n_kv_heads=1,
            head_dim=6,
        ),
        {
            "activation_bits": 8,
            "tile": {"rows": 4, "inputs": 16},
            "matrices": [
                {"match": "model.embed_tokens", "bits": 8, "group_size": 16},
                {"match": "*", "bits": 6, "group_size": 16},
            ],
        },
        n_tokens=8,
        factors={"gate_proj.weight": 30.0},
    ),
}


FREQUENCIES: Mapping[str, Callable[[float], float]] = {
    "tiny": lambda f: f,
    "narrow": lambda f: f / 4.0,
    "loud": lambda f: llama3_frequency(f, factor=8.0, low=1.0, high=4.0, original=16),
}
THETAS = {"tiny": 10000.0, "narrow": 500.0, "loud": 500000.0}


@dataclass(frozen=True)
class Chip:
    """A chip's images, what a third party knows of it besides, a prompt, and what the golden model makes of it."""

    folder: Path
    facts: Facts
    tokens: list[int]
    golden: Taps
    model: QuantizedModel = field(compare=False)


@pytest.fixture(scope="session")
def chips(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, repo_root: Path
) -> Callable[[str], Chip]:
    """Make a case's chip, once."""
    made: dict[str, Chip] = {}

    def get(name: str) -> Chip:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            if name == "tiny":
                recipe = load_recipe("w6a16", repo_root / "models" / "recipes")
                made[name] = _make(tiny_checkpoint, recipe, folder / "roms", n_tokens=12)
            else:
                case = CASES[name]
                recipe = _write_recipe(folder / f"{name}.yaml", case.recipe)
                made[name] = _make(_write_checkpoint(folder, case), recipe, folder / "roms", case.n_tokens)
        return made[name]

    return get


@pytest.mark.parametrize("name", ["tiny", *CASES])
def test_every_tap_agrees(chips: Callable[[str], Chip], name: str) -> None:
    made = chips(name)
    taps = recompute(made.folder, made.facts, made.tokens)

    expected = {(-1, tap) for tap in (*HEAD_TAPS, *TAIL_TAPS)}
    expected |= {(layer, tap) for layer in range(made.facts.layers) for tap in LAYER_TAPS}
    assert set(taps) == set(made.golden) == expected
    for key, vectors in taps.items():
        assert len(vectors) == len(made.tokens)
        for position, vector in enumerate(vectors):
            assert vector == made.golden[key][position], f"{key} at position {position}"


@pytest.mark.parametrize("name", ["biased", "narrow", "small"])
def test_every_tap_agrees_whatever_the_images_hold(
    chips: Callable[[str], Chip], tmp_path: Path, name: str
) -> None:
    """Codes of all patterns, scales, gains and biases of any value: what a quantizer would never write."""
    plain, case = chips(name), CASES[name]
    recipe = load_recipe(plain.folder.parent / f"{name}.yaml", tmp_path)
    made = _make(plain.folder.parent / "checkpoint", recipe, tmp_path, case.n_tokens, scrambled=True)
    taps = recompute(made.folder, made.facts, made.tokens)
    assert all(taps[key] == made.golden[key] for key in made.golden)
    assert made.golden != plain.golden


@pytest.mark.parametrize("name", ["tiny", *CASES])
def test_every_tap_agrees_with_an_adapter(chips: Callable[[str], Chip], name: str) -> None:
    """From its frame, as the host writes it: ranks of their own, linears left out, every value and shift."""
    made = chips(name)
    plan = chip.plan(made.model.config, made.model.recipe)
    keys = [(layer, linear) for layer in range(plan.n_layers) for linear in LAYER_MODULES]
    ranks = {key: 1 + 5 * index % 16 for index, key in enumerate(keys) if index % 5 != 3}
    adapter = random_adapter(made.model, plan, "drawn", ranks, seed=8)
    frame = lora.load_frame(plan, adapter, slot=2).tolist()
    taps = recompute(made.folder, made.facts, made.tokens, frame)
    golden = _golden_taps(Golden(made.model, [adapter]), made.tokens, 0)
    assert taps == golden
    added = {(layer, f"{linear}.lora_{part}") for layer, linear in ranks for part in "ab"}
    assert taps.keys() - made.golden.keys() == added
    assert any(taps[key] != made.golden[key] for key in made.golden)
    assert {2**15 - 1, -(2**15)} & {v for key in added for row in taps[key] for v in row}, "no h saturates"


def test_a_flipped_bit_of_a_frame_is_seen(chips: Callable[[str], Chip]) -> None:
    """By the checksum; and where that is made anew, in a tap, be the bit of an element or of a shift."""
    made = chips("small")
    plan = chip.plan(made.model.config, made.model.recipe)
    one = random_adapter(made.model, plan, "drawn", {(0, "q_proj"): 2}, seed=4)
    matrix = one.linears[0, "q_proj"]
    matrix = replace(matrix, a_shift=12, b_shift=0, b=matrix.b // 256)  # nothing saturates
    adapter = replace(one, linears={(0, "q_proj"): matrix})
    frame = lora.load_frame(plan, adapter, slot=1).tolist()
    taps = recompute(made.folder, made.facts, made.tokens, frame)
    for at, bit in ((4, 1), (4, 9), (5, 15), (len(frame) - 4, 13)):
        broken = [*frame]
        broken[at] ^= 1 << bit
        with pytest.raises(AssertionError):
            recompute(made.folder, made.facts, made.tokens, broken)
        broken[-1] = int(lora.checksum(np.array(broken[:-1], np.uint32)))
        assert recompute(made.folder, made.facts, made.tokens, broken) != taps, (at, bit)


def test_units_agree_where_no_checkpoint_goes() -> None:
    """Each unit on the ends of its range and on seeded draws of every magnitude."""
    rng = np.random.default_rng(1)

    def draws(bits: int, count: int = 2000) -> list[int]:
        """Of 0 .. 2^bits - 1, all magnitudes alike, with powers of two and their neighbours."""
        near = {2**n + d for n in range(bits) for d in (-1, 0, 1)}
        some = {int(rng.integers(2 ** int(rng.integers(1, bits + 1)))) for _ in range(count)}
        return sorted(value for value in near | some | {0, 2**bits - 1} if 0 <= value < 2**bits)

    def tensor(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64)

    def pairs(result: tuple[torch.Tensor, torch.Tensor]) -> list[tuple[int, int]]:
        return list(zip(*(part.tolist() for part in result), strict=True))

    positive = [value for value in draws(62) if value]
    assert pairs(ops.rsqrt(tensor(positive))) == [book.rsqrt(value) for value in positive]
    totals = [value for value in draws(38) if value]
    assert pairs(ops.recip(tensor(totals))) == [book.recip(value) for value in totals]
    exponents = [*range(0, 2**17, 7), *draws(60)]
    assert ops.exp2n(tensor(exponents)).tolist() == [book.exp2n(value) for value in exponents]

    gates = [sign * value for value in draws(15) for sign in (-1, 1)] + [-(2**15)]
    ups = rng.integers(-(2**15), 2**15, len(gates)).tolist()
    for gate_shift in (0, 5, 12, 24):
        ours = book.swiglu(gates, ups, gate_shift, 35, 16)
        assert ops.swiglu(tensor(gates), tensor(ups), gate_shift, 35, 16).tolist() == ours

    gains = rng.integers(-(2**15), 2**15, 33).tolist()
    for peak in (0, 1, 2, 3, 2**23, 2**24 - 1, 2**24, 2**25 - 1, 2**25, 2**31 - 1, 2**31):
        for e in (0, 1, 17, 2**45):
            r = [-peak, *(rng.integers(-peak, peak + 1, 32) // rng.integers(1, 100, 32)).tolist()]
            r = [max(-(2**31), min(2**31 - 1, value)) for value in r]
            ours = book.rms_norm(r, gains, e, 31, 16)
            assert ops.rms_norm(tensor([r]), tensor(gains), e, 31, 16).tolist() == [ours]

    ties = [[3, 7, -1, 7], [-5, -5, -5, -9], [-(2**15), 2**15 - 1, 2**15 - 1, 0]]
    assert greedy_token(tensor(ties)).tolist() == [book.greedy(row) for row in ties] == [1, 0, 1]


def test_the_cases_reach_the_corners(chips: Callable[[str], Chip]) -> None:
    """A residual beyond 24 bits, so that its norm shifts, and one that saturates; a narrow tap that saturates; softmax
    weights that vanish; gates beyond the sigmoid's table; biases shifted; no tap all zero."""
    biased, narrow, loud, small = (chips(name).golden for name in ("biased", "narrow", "loud", "small"))
    peaks = [max(map(abs, vector)) for layer in (0, 1) for vector in loud[layer, "attn_residual"]]
    assert any(2**24 <= peak < 2**31 - 1 for peak in peaks)
    assert any(value in (-(2**31), 2**31 - 1) for vector in loud[1, "mlp_residual"] for value in vector)
    assert {-128, 127} <= {value for vector in narrow[0, "gate_proj"] for value in vector}
    assert 0 in biased[0, "softmax"][-1]
    gate_shift = Oracle(chips("small").folder, chips("small").facts).words[0]["swiglu.gate_shift"]
    gates = [value << gate_shift for vector in small[0, "gate_proj"] for value in vector]
    assert min(gates) <= -(2**20) and max(gates) >= 2**20
    assert Oracle(chips("biased").folder, chips("biased").facts).words[0]["o_proj.bias_shift"] > 0
    for name in CASES:
        assert all(any(any(vector) for vector in taps) for taps in chips(name).golden.values())


def test_a_flipped_bit_is_seen(chips: Callable[[str], Chip], tmp_path: Path) -> None:
    """Of each image in turn, one bit that the prompt depends on: at least one tap changes."""
    made = chips("small")
    taps = recompute(made.folder, made.facts, made.tokens)
    for image in read_images(made.folder).images:
        folder = tmp_path / f"{image.layer}.{image.name}"
        first = made.tokens[0] * image.size_bytes // image.shape[0] if image.name.startswith("embed") else 0
        bit = 0 if image.name == "params" else image.bits - 2
        _copy_with_flipped_bit(made.folder, folder, (image.layer, image.name), first, bit)
        assert recompute(folder, made.facts, made.tokens) != taps, image.name


@pytest.mark.parametrize("name", THETAS)
def test_the_rope_images_are_made_as_the_page_says(chips: Callable[[str], Chip], name: str) -> None:
    made = chips(name)
    roms = read_roms(made.folder)
    positions, _ = roms[-1, "rope.cos"].shape
    plain = rope_frequencies(made.facts.head_dim, THETAS[name])
    tables = rope_table(positions, [FREQUENCIES[name](f) for f in plain])
    for image, table in zip(("rope.cos", "rope.sin"), tables, strict=True):
        assert roms[-1, image].elements == [value for row in table for value in row]


def test_the_images_have_one_hash(chips: Callable[[str], Chip]) -> None:
    folder = chips("small").folder
    assert rom_sha256(folder) == read_images(folder).sha256


def test_an_image_that_is_not_its_hash_is_refused(chips: Callable[[str], Chip], tmp_path: Path) -> None:
    made = chips("small")
    key = (0, "q_proj.codes")
    _copy_with_flipped_bit(made.folder, tmp_path, key, 0, 0, rename=False)
    with pytest.raises(AssertionError):
        recompute(tmp_path, made.facts, made.tokens)


def test_the_oracle_stands_alone() -> None:
    """It imports the standard library and numpy: nothing of what it is to judge."""
    tree = ast.parse(Path(book.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    assert imported <= {*sys.stdlib_module_names, "numpy"}


def test_eps_counts(chips: Callable[[str], Chip]) -> None:
    """A fact that no image holds: without it the taps are wrong."""
    made = chips("small")
    other = replace(made.facts, eps=made.facts.eps * 100000)
    taps = recompute(made.folder, other, made.tokens)
    assert taps[0, "attn_norm"] != made.golden[0, "attn_norm"]


def _make(
    checkpoint_folder: Path, recipe: Recipe, folder: Path, n_tokens: int, *, scrambled: bool = False
) -> Chip:
    checkpoint = load_checkpoint(checkpoint_folder)
    model = quantize_model(checkpoint, recipe)
    if scrambled:
        _scramble(model)
    write_images(folder, writer.images(model, chip.plan(checkpoint.config, recipe)))
    facts = _facts(checkpoint_folder / "config.json", recipe, checkpoint.config)
    tokens = np.random.default_rng(n_tokens).integers(0, facts.vocab, n_tokens).tolist()
    return Chip(folder, facts, tokens, _golden_taps(Golden(model), tokens), model)


def _facts(config_json: Path, recipe: Recipe, config: ModelConfig) -> Facts:
    raw = json.loads(config_json.read_text(encoding="utf-8"), parse_float=Decimal)
    layers = raw["num_hidden_layers"]
    modules = {(-1, name): module for name, module in TOP_MODULES.items()}
    for layer in range(layers):
        modules |= {(layer, name): f"model.layers.{layer}.{part}" for name, part in LAYER_MODULES.items()}
    formats = resolve(recipe, config)
    return Facts(
        hidden=raw["hidden_size"],
        ffn=raw["intermediate_size"],
        vocab=raw["vocab_size"],
        layers=layers,
        heads=raw["num_attention_heads"],
        kv_heads=raw["num_key_value_heads"],
        head_dim=raw["head_dim"],
        eps=Decimal(raw["rms_norm_eps"]),
        activation_bits=recipe.activation_bits,
        kv_bits=recipe.kv_bits,
        tile_rows=recipe.tile.rows,
        tile_inputs=recipe.tile.inputs,
        groups={key: formats[module].group_size for key, module in modules.items()},
    )


def _golden_taps(golden: Golden, tokens: Sequence[int], adapter: int | None = None) -> Taps:
    """Golden's taps in the order of docs/numerics.md: of scores and softmax rows t = 0..p, then heads."""
    taps: Taps = {}

    def see(layer: int, tap: str, value: torch.Tensor) -> None:
        assert (layer, tap) not in taps
        if tap in ("scores", "softmax"):  # (T, N, T)
            taps[layer, tap] = [value[p, :, : p + 1].T.reshape(-1).tolist() for p in range(len(tokens))]
        else:  # (T, elements)
            taps[layer, tap] = value.tolist()

    golden.forward(torch.tensor(tokens), observe=see, adapter=adapter)
    return taps


def _scramble(model: QuantizedModel) -> None:
    """Any value that the images' bits can hold, in place: sizes, shifts and recipe stay."""
    rng = np.random.default_rng(3)
    linears = [matrix for layer in model.layers for matrix in layer.linears.values()]
    for matrix in (model.embedding, model.lm_head, *linears):
        half = 1 << (matrix.bits - 1)
        matrix.codes[:] = rng.integers(-half, half, matrix.codes.shape)
        matrix.codes[0] = -half
        matrix.scales[:] = rng.integers(0, 2**16, matrix.scales.shape)
        matrix.scales[0] = 2**16 - 1
        if matrix.bias is not None:
            matrix.bias[:] = rng.integers(-(2**31), 2**31, matrix.bias.shape)
    for gains in (
        model.final_norm,
        *(norm for layer in model.layers for norm in (layer.attn_norm, layer.mlp_norm)),
    ):
        gains.values[:] = rng.integers(-(2**15), 2**15, gains.values.shape)


def _write_recipe(path: Path, recipe: Mapping[str, Any]) -> Recipe:
    brief = {"calibration": {"sequences": 2, "length": 12}}
    path.write_text(yaml.safe_dump({**brief, **recipe}), encoding="utf-8")
    return load_recipe(path, path.parent)


def _write_checkpoint(folder: Path, case: Case) -> Path:
    path = write_synthetic(folder / "checkpoint", case.config, seed=7)
    weights = load_file(path / "model.safetensors")
    for name, weight in weights.items():
        weight.mul_(next((factor for end, factor in case.factors.items() if name.endswith(end)), 1.0))
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


def _copy_with_flipped_bit(
    source: Path, folder: Path, key: tuple[int, str], byte: int, bit: int, *, rename: bool = True
) -> None:
    """A copy of an image folder; one image has a bit of the element at ``byte`` inverted, and a name to match."""
    folder.mkdir(exist_ok=True)
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["images"]:
        raw = bytearray((source / entry["file"]).read_bytes())
        if (entry["layer"], entry["name"]) == key:
            raw[byte + bit // 8] ^= 1 << bit % 8
            if rename:
                entry["file"] = hashlib.sha256(raw).hexdigest() + ".bin"
        (folder / entry["file"]).write_bytes(raw)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
