"""Shapes: what ships, every refusal by its message, and the part of one that random weights fill."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from etchproof.checkpoint import Llama3Scaling, expected_tensors
from etchproof.checkpoint.shape import RandomModel, cut_shape, load_shape
from etchproof.errors import InputError

Write = Callable[[str], Path]

PLAIN = """\
vocab_size: 640
hidden_size: 32
intermediate_size: 48
n_layers: 3
n_heads: 4
n_kv_heads: 2
head_dim: 8
context: 64
bos_token_id: 600
eos_token_ids: [5, 6]
"""


@pytest.fixture
def shapes_dir(repo_root: Path) -> Path:
    return repo_root / "models" / "shapes"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text as a shape file and returns its path."""

    def written(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize(
    ("name", "weights", "factor"),
    [
        ("llama-3.1-8b", 8_030_261_248, 8),
        ("llama-3.2-1b", 1_235_814_400, 32),
        ("llama-3.2-3b", 3_212_749_824, 32),
    ],
)
def test_what_ships_has_the_published_number_of_weights(
    shapes_dir: Path, name: str, weights: int, factor: float
) -> None:
    shape = load_shape(name, shapes_dir)
    assert shape.name == name
    assert sum(map(math.prod, expected_tensors(shape).values())) == weights
    assert (shape.context, shape.vocab_size, shape.rope.theta) == (131072, 128256, 500000.0)
    assert shape.rope.scaling == Llama3Scaling(
        factor=factor, low_freq_factor=1, high_freq_factor=4, original_max_position_embeddings=8192
    )


def test_every_file_that_ships_is_tested(shapes_dir: Path) -> None:
    assert sorted(file.name for file in shapes_dir.iterdir()) == [
        "llama-3.1-8b.yaml",
        "llama-3.2-1b.yaml",
        "llama-3.2-3b.yaml",
    ]


def test_a_file_from_anywhere(write: Write) -> None:
    shape = load_shape(write(PLAIN), Path())
    assert (shape.name, shape.n_layers, shape.eos_token_ids) == ("mine", 3, (5, 6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN + "colour: 3\n", "colour: is 3, but there is no such key"),
        (PLAIN + "head_dim: 8\n", "is not valid YAML: line 11, column 1: key 'head_dim' stands twice"),
        (PLAIN + "name: other\n", "name: is 'other', but the file is mine.yaml"),
        (PLAIN + "rms_norm_eps: 2\n", "rms_norm_eps: is 2, expected less than 1"),
        (PLAIN + "tie_word_embeddings: 1\n", "tie_word_embeddings: is 1, expected true or false"),
        (PLAIN + "rope: 3\n", "rope: is 3, expected keys and values"),
        (PLAIN + "rope: {theta: 0}\n", "rope.theta: is 0, expected more than 0"),
        (
            PLAIN + "rope: {scaling: {rope_type: yarn}}\n",
            "rope.scaling: is {'rope_type': 'yarn'}, expected a 'rope_type' of 'llama3', 'linear'",
        ),
        (PLAIN + "rope: {scaling: {factor: 2}}\n", "rope.scaling: is {'factor': 2}, expected a 'rope_type'"),
        (PLAIN + "rope: {scaling: {rope_type: linear}}\n", "rope.scaling.factor: is missing"),
        (
            PLAIN + "rope: {scaling: {rope_type: linear, factor: 0.5}}\n",
            "rope.scaling.factor: is 0.5, expected at least 1",
        ),
        (
            PLAIN + "rope: {scaling: {rope_type: llama3, factor: 2, low_freq_factor: 4, high_freq_factor: 4, "
            "original_max_position_embeddings: 9}}\n",
            "rope.scaling.low_freq_factor: is 4.0, expected less than high_freq_factor 4.0",
        ),
        (PLAIN.replace("n_layers: 3\n", ""), "n_layers: is missing"),
        (PLAIN.replace("n_layers: 3", "n_layers: many"), "n_layers: is 'many', expected an integer"),
        (PLAIN.replace("[5, 6]", "5"), "eos_token_ids: is 5, expected a list"),
        (PLAIN.replace("[5, 6]", "[5, 640]"), "eos_token_ids: is 640, expected less than vocab_size 640"),
        (PLAIN.replace("n_heads: 4", "n_heads: 5"), "n_kv_heads: is 2, which does not divide n_heads 5"),
        (PLAIN.replace("head_dim: 8", "head_dim: 7"), "head_dim: is 7, expected an even number"),
        ("- a\n", "holds ['a'], expected keys and values"),
    ],
)
def test_refusals(write: Write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(InputError) as caught:
        load_shape(path, Path())
    assert str(caught.value).startswith(f"{path}: {message}")


def test_unknown_name_lists_the_known(shapes_dir: Path) -> None:
    known = r"shape 'llama' is not known \(known are llama-3\.1-8b, llama-3\.2-1b, llama-3\.2-3b\)"
    with pytest.raises(InputError, match=known):
        load_shape("llama", shapes_dir)


def test_no_shape_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder holds no shape"):
        load_shape("llama-3.1-8b", tmp_path)


def test_a_name_that_cannot_name_a_model(tmp_path: Path) -> None:
    path = tmp_path / "my shape.yaml"
    path.write_text(PLAIN, encoding="utf-8")
    with pytest.raises(InputError, match=r"name: is 'my shape', expected letters, digits"):
        load_shape(path, Path())


def test_a_part_of_a_shape(write: Write) -> None:
    shape = load_shape(write(PLAIN), Path())
    whole = cut_shape(shape, layers=None, vocab=640)
    assert (whole.n_layers, whole.vocab_size, whole.bos_token_id, whole.eos_token_ids) == (3, 640, 600, ())
    part = cut_shape(shape, layers=1, vocab=None)
    assert (part.n_layers, part.vocab_size, part.bos_token_id, part.eos_token_ids) == (1, 512, 0, ())
    assert cut_shape(part.model_copy(update={"vocab_size": 70}), layers=None, vocab=None).vocab_size == 70
    plain = cut_shape(shape.model_copy(update={"bos_token_id": None}), layers=1, vocab=640)
    assert plain.bos_token_id == 0


@pytest.mark.parametrize(
    ("layers", "vocab", "message"),
    [
        (0, None, "--layers: is 0, expected 1 .. 3, the shape's own"),
        (4, None, "--layers: is 4, expected 1 .. 3, the shape's own"),
        (None, 0, "--vocab: is 0, expected 1 .. 640, the shape's own"),
        (None, 641, "--vocab: is 641, expected 1 .. 640, the shape's own"),
    ],
)
def test_more_than_the_shape_has(write: Write, layers: int | None, vocab: int | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        cut_shape(load_shape(write(PLAIN), Path()), layers=layers, vocab=vocab)
    assert str(caught.value) == message


def test_the_name_says_what_it_is(shapes_dir: Path) -> None:
    config = RandomModel("llama-3.1-8b", seed=7, layers=1).config(shapes_dir)
    assert config.name == "llama-3.1-8b-layers1-seed7"
    assert (config.n_layers, config.hidden_size, config.intermediate_size) == (1, 4096, 14336)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (32, 8, 128)
