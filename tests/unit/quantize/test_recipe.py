"""Recipes: what ships, defaults, every refusal by its message, and how rules resolve to matrices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from etchproof.checkpoint import Checkpoint, ModelConfig
from etchproof.errors import InputError
from etchproof.quantize.recipe import (
    Calibration,
    MatrixFormat,
    Recipe,
    Tile,
    load_recipe,
    matrix_shapes,
    resolve,
)

Write = Callable[[str], Path]

PLAIN = "matrices: [{match: '*', bits: 8, group_size: 64}]\n"


def test_all_that_ship_load_and_resolve(recipes_dir: Path, tiny: Checkpoint) -> None:
    names = sorted(path.stem for path in recipes_dir.iterdir())
    assert names == ["w3w6a16", "w4a16", "w6a16", "w8a16", "w8a8"]
    recipes = [load_recipe(name, recipes_dir) for name in names]
    assert len({recipe.sha256 for recipe in recipes}) == len(names)
    for recipe in recipes:
        assert recipe.description
        formats = resolve(recipe, tiny.config)
        assert list(formats) == list(matrix_shapes(tiny.config))
        assert formats["model.embed_tokens"] == MatrixFormat(8, 16)


def test_mixed_recipe_formats(recipes_dir: Path, tiny: Checkpoint) -> None:
    formats = resolve(load_recipe("w3w6a16", recipes_dir), tiny.config)
    narrow = {name for name, form in formats.items() if form.bits == 3}
    ends = ("q_proj", "k_proj", "gate_proj", "up_proj")
    assert narrow == {name for name in formats if name.endswith(ends)}
    assert all(form.group_size == 16 for form in formats.values())


def test_defaults(write_recipe: Write) -> None:
    recipe = load_recipe(write_recipe(PLAIN), Path())
    assert recipe.name == "mine"
    assert (recipe.activation_bits, recipe.kv_bits, recipe.context) == (16, 16, 512)
    assert recipe.tile == Tile(rows=16, inputs=64)
    assert (recipe.headroom, recipe.method) == (2.0, "rtn")
    narrow = load_recipe(write_recipe(PLAIN + "activation_bits: 8\n"), Path())
    assert (narrow.headroom, narrow.kv_bits) == (1.0, 16)


def test_hash_is_of_the_content(write_recipe: Write) -> None:
    one = load_recipe(write_recipe(PLAIN), Path())
    said = load_recipe(write_recipe(PLAIN + "description: other words\nheadroom: 2\ncontext: 512\n"), Path())
    other = load_recipe(write_recipe(PLAIN + "context: 256\n"), Path())
    assert one.sha256 == said.sha256 != other.sha256
    assert one.sha256 == "347d5a42c99a76849020a7b95aa573f68e2dca4f37dd8f91492d10508c1f1e0e"


def test_the_source_of_the_text_counts_only_where_it_is_not_sampled(write_recipe: Write) -> None:
    plain = load_recipe(write_recipe(PLAIN), Path())
    sampled = load_recipe(write_recipe(PLAIN + "calibration: {source: sampled}\n"), Path())
    random = load_recipe(write_recipe(PLAIN + "calibration: {source: random}\n"), Path())
    assert plain.sha256 == sampled.sha256 != random.sha256


def test_for_random_weights(recipes_dir: Path) -> None:
    recipe = load_recipe("w4a16", recipes_dir)
    changed = recipe.for_random_weights()
    assert (changed.method, changed.calibration) == (
        "rtn",
        Calibration(source="random", sequences=1, length=16),
    )
    assert changed.sha256 != recipe.sha256
    same = {"method": recipe.method, "calibration": recipe.calibration}
    assert changed.model_copy(update=same) == recipe
    own = Calibration(source="random", sequences=3, length=9, seed=4)
    assert recipe.model_copy(update={"calibration": own}).for_random_weights().calibration == own


def test_is_frozen(w6a16: Recipe) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        w6a16.context = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN + "activation_bits: 12\n", "activation_bits: is 12, expected 16 or 8"),
        (PLAIN + "activation_bits: '16'\n", "activation_bits: is '16', expected 16 or 8"),
        (PLAIN + "kv_bits: 4\n", "kv_bits: is 4, expected 16 or 8"),
        (PLAIN + "context: 0\n", "context: is 0, expected at least 1"),
        (PLAIN + "context: many\n", "context: is 'many', expected an integer"),
        (PLAIN + "context: true\n", "context: is True, expected an integer"),
        (PLAIN + "tile: 64\n", "tile: is 64, expected keys and values"),
        (PLAIN + "tile: {rows: 7}\n", "tile.rows: is 7, expected 4, 8, 16 or 32"),
        (PLAIN + "tile: {inputs: 8}\n", "tile.inputs: is 8, expected 16, 32, 64 or 128"),
        (PLAIN + "tile: {rows: 32, inputs: 16}\n", "tile.rows: is 32, expected at most inputs 16"),
        (PLAIN + "headroom: 0\n", "headroom: is 0, expected more than 0"),
        (PLAIN + "headroom: .inf\n", "headroom: is inf, expected a finite number"),
        (PLAIN + "headroom: much\n", "headroom: is 'much', expected a number"),
        (PLAIN + "method: awq\n", "method: is 'awq', expected 'rtn' or 'gptq'"),
        (PLAIN + "gptq: {damping: 2}\n", "gptq.damping: is 2, expected at most 1"),
        (PLAIN + "gptq: {clip: 3}\n", "gptq.clip: is 3, expected true or false"),
        (PLAIN + "calibration: {sequences: 0}\n", "calibration.sequences: is 0, expected at least 1"),
        (PLAIN + "calibration: {length: -1}\n", "calibration.length: is -1, expected at least 1"),
        (PLAIN + "calibration: {seed: -1}\n", "calibration.seed: is -1, expected at least 0"),
        (PLAIN + "calibration: {source: web}\n", "calibration.source: is 'web', expected 'sampled' or 'random'"),
        (PLAIN + "contxt: 3\n", "contxt: is 3, but there is no such key"),
        (PLAIN + "tile: {cols: 3}\n", "tile.cols: is 3, but there is no such key"),
        (PLAIN + "description: 3\n", "description: is 3, expected text"),
        (PLAIN + "name: other\n", "name: is 'other', but the file is mine.yaml"),
        (PLAIN + PLAIN, "key 'matrices' stands twice"),
        ("description: x\n", "matrices: is missing"),
        ("matrices: []\n", "matrices: is (), expected at least one"),
        ("matrices: all\n", "matrices: is 'all', expected a list"),
        ("matrices: [3]\n", "matrices[0]: is 3, expected keys and values"),
        ("matrices: [{match: '*', bits: 8}]\n", "matrices[0].group_size: is missing"),
        ("matrices: [{bits: 8, group_size: 16}]\n", "matrices[0].match: is missing"),
        ("matrices: [{match: '*', bits: 5, group_size: 16}]\n", "matrices[0].bits: is 5, expected 3, 4, 6 or 8"),
        (
            "matrices: [{match: '*', bits: 8, group_size: 24}]\n",
            "matrices[0].group_size: is 24, expected 16, 32, 64, 128 or 'row'",
        ),
        (
            "matrices: [{match: '*', bits: mxfp4, group_size: 32}]\n",
            "matrices[0].bits: is 'mxfp4', which the chip does not have: its codes are integers (bits: 3, 4, 6, 8), "
            "with one scale a group of inputs (group_size: 16, 32, 64, 128, row)",
        ),
        ("matrices: [{match: '*', format: NVFP4}]\n", "matrices[0].format: is 'NVFP4', which the chip does not have"),
        ("matrices: [{match: '*', element: e2m1}]\n", "matrices[0].element: is 'e2m1', which the chip does not have"),
        ("matrices: [{match: '*', bits: mxfp6_e3m2}]\n", "is 'mxfp6_e3m2', which the chip does not have"),
        ("matrices: [{match: fp4, bits: 8, group_size: [fp4]}]\n", "group_size: is ['fp4'], expected 16, 32, 64, 128"),
        ("matrices: [{match: [], bits: 8, group_size: 16}]\n", "matrices[0].match: is (), expected at least one"),
        (
            "matrices: [{match: '', bits: 8, group_size: 16}]\n",
            "matrices[0].match[0]: is '', expected 1 or more characters",
        ),
        (
            "matrices: [{match: 'x.{q,k}_proj', bits: 8, group_size: 16}]\n",
            "matrices[0].match: is 'x.{q,k}_proj': braces are no glob here",
        ),
        ("- a\n", "holds ['a'], expected keys and values"),
        ("", "holds None, expected keys and values"),
        ("3: 4\n", "key 3 is no text"),
        ("a: [\n", "is not valid YAML"),
        ("? [a, b]\n: c\n", "is not valid YAML"),
    ],
)  # fmt: skip
def test_refusals(write_recipe: Write, text: str, message: str) -> None:
    path = write_recipe(text)
    with pytest.raises(InputError) as caught:
        load_recipe(path, Path())
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert message in line


def test_unknown_name_lists_the_known(recipes_dir: Path) -> None:
    with pytest.raises(
        InputError, match=r"'w5a16' is not known .*known are w3w6a16, w4a16, w6a16, w8a16, w8a8"
    ):
        load_recipe("w5a16", recipes_dir)


def test_a_name_is_no_way_out_of_the_folder(recipes_dir: Path) -> None:
    with pytest.raises(InputError, match="is not known"):
        load_recipe("../recipes/w6a16", recipes_dir)


def test_no_recipe_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder holds no recipe"):
        load_recipe("w6a16", tmp_path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yml: file not found"):
        load_recipe(tmp_path / "gone.yml", tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="is not UTF-8 text at byte 3"):
        load_recipe("bytes", tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match="is a folder, expected a regular file"):
        load_recipe("folder", tmp_path)


class TestResolve:
    def test_first_match_decides_and_row_is_the_columns(
        self, write_recipe: Write, config: ModelConfig
    ) -> None:
        rules = (
            "matrices:\n"
            "  - {match: 'model.layers.1.*', bits: 3, group_size: row}\n"
            "  - {match: ['*.mlp.*', lm_head], bits: 4, group_size: 32}\n"
            "  - {match: '*', bits: 8, group_size: 128}\n"
        )
        formats = resolve(load_recipe(write_recipe(rules), Path()), config)
        assert formats["model.layers.1.mlp.down_proj"] == MatrixFormat(3, 44)
        assert formats["model.layers.1.self_attn.o_proj"] == MatrixFormat(3, 18)
        assert formats["model.layers.0.mlp.down_proj"] == MatrixFormat(4, 32)
        assert formats["lm_head"] == MatrixFormat(4, 32)  # tied, and still a ROM of its own
        assert formats["model.layers.0.self_attn.q_proj"] == MatrixFormat(8, 128)
        assert len(formats) == 2 + 2 * 7

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            (
                "[{match: 'model.*', bits: 8, group_size: 16}]",
                "mine.yaml: matrices: no rule matches lm_head of toy",
            ),
            (
                "[{match: 'model.layers.2.*', bits: 8, group_size: 16}, {match: '*', bits: 8, group_size: 16}]",
                "mine.yaml: matrices[0].match: 'model.layers.2.*' matches no matrix of toy",
            ),
            (
                "[{match: ['*', q_proj], bits: 8, group_size: 16}]",
                "mine.yaml: matrices[0].match: 'q_proj' matches no matrix of toy",
            ),
            (
                "[{match: '*', bits: 8, group_size: 16}, {match: lm_head, bits: 8, group_size: 16}]",
                "mine.yaml: matrices[1].match: ['lm_head'] decides no matrix of toy: an earlier rule takes each",
            ),
        ],
    )
    def test_refusals(self, write_recipe: Write, config: ModelConfig, rules: str, message: str) -> None:
        recipe = load_recipe(write_recipe(f"matrices: {rules}\n"), Path())
        with pytest.raises(InputError) as caught:
            resolve(recipe, config)
        assert message in str(caught.value)

    def test_context_is_the_smaller(self, w6a16: Recipe, config: ModelConfig) -> None:
        assert w6a16.chip_context(config) == 32
        assert w6a16.model_copy(update={"context": 7}).chip_context(config) == 7
