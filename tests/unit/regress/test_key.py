"""The key of an item: one byte of any file that can reach a result, and a stored result is none."""

from __future__ import annotations

import importlib.machinery
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.project.declaration import Project, load_project
from etchproof.project.sources import ENGINE, files_below, is_documentation, project_files, tree_sha256
from etchproof.regress import key
from etchproof.regress.key import item_key
from etchproof.regress.spec import ItemSpec, ShapeEntry
from tests.conftest import ROOT

OTHER = """
name = "other"
[golden]
factory = "reference_model:make"
[chip]
plan = "silicon.shape:plan"
[rtl]
top = "soc"
renderings = "silicon.text:renderings"
templates = "jinja"
hw = "rtl"
files = ["ip/*.vlog"]
include = ["ip/headers"]
data = {"luts/sine.hex" = "tables/sine.hex"}
[rom]
images = "mask.rom:images"
site = "mask.rom:site"
[taps]
plan = "silicon.shape:taps"
[recipes]
path = "numbers"
default = "one"
[verif]
tests = ["bench.tests"]
"""
FILES = {
    "reference_model.py": "import helpers.fixed\n",  # a module in the root
    "helpers/__init__.py": "",
    "helpers/fixed.py": "from deep import table\n",
    "helpers/notes.md": "no part of it",
    "deep.py": "import quick, importlib\ntable = importlib.import_module('late')\n",  # imported by what is imported
    "late.py": "",
    f"quick{importlib.machinery.EXTENSION_SUFFIXES[0]}": "compiled",
    "silicon/__init__.py": "",
    "silicon/shape.py": "from . import widths\n",
    "silicon/widths.py": "",
    "silicon/notice_offsets.py": "",  # no document, whatever it is called
    "silicon/_reference/table.txt": "1",
    "elsewhere/cells/adder.sv": "",  # the RTL has a link to it
    "silicon/text.py": "",
    "silicon/luts/sigmoid.mem": "00",
    "mask/__init__.py": "",
    "mask/rom.py": "",
    "mask/fuses.json": "{}",
    "ip/core.vlog": "",
    "ip/headers/widths.vh": "",
    "tables/sine.hex": "0",
    "rtl/soc.v": "module soc; endmodule\n",
    "rtl/include/defs.inc": "`define A\n",
    "rtl/LICENSE": "no part of it",
    "jinja/top.sv.j2": "",
    "jinja/macros/port": "",
    "numbers/one.yaml": "",
    "bench/__init__.py": "",
    "bench/tests.py": "",
    "bench/vectors.hjson": "",
    "verif/signoff/testplan.hjson": "judges",
    "verif/signoff/gates.yaml": "judges",
    "verif/signoff/waivers.yaml": "judges",
    "verif/signoff/exclusions.yaml": "judges",
    "verif/signoff/survivors.yaml": "judges",
}
JUDGES = {name for name, content in FILES.items() if content == "judges"}
"""Sign-off and qualification read them anew each time; they make no result."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reference")
    for name in ("hw", "models", "templates", "verif"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "etchproof.toml", root / "etchproof.toml")
    return root


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("other")
    for name, content in {**FILES, "etchproof.toml": OTHER}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "rtl" / "common").symlink_to("../elsewhere")
    (root / "elsewhere" / "back").symlink_to(".")  # a loop ends
    return root


def test_an_import_by_a_name_that_is_not_written_out_may_mean_any_module(other: Path) -> None:
    used = other / "silicon" / "widths.py"
    used.write_text("import importlib, os\nimportlib.import_module(os.environ['WIDTHS'])\n")
    (other / "unused.py").write_text("")
    try:
        assert other / "unused.py" in project_files(load_project(other))
    finally:
        used.write_text("")
    assert other / "unused.py" not in project_files(load_project(other))
    (other / "unused.py").unlink()


def changed(path: Path) -> Iterator[None]:
    """The file with one byte changed, and as it was again."""
    content = path.read_bytes()
    path.write_bytes(content + b"#" if not content else bytes([content[0] ^ 1]) + content[1:])
    try:
        yield
    finally:
        path.write_bytes(content)


def files_of(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def test_one_byte_of_each_file(other: Path) -> None:
    project = load_project(other)

    def now() -> str:
        return tree_sha256(project_files(project), other)

    before, unseen = now(), set()
    paths = files_of(other)
    assert len(paths) >= len(FILES)
    for path in paths:
        for _ in changed(path):
            if now() == before:
                unseen.add(str(path.relative_to(other)))
    assert now() == before
    assert {name for name in unseen if not is_documentation(Path(name))} == JUDGES


def test_each_file_of_the_reference_counts(reference: Path) -> None:
    """One is in the hash if it is among these: ``test_one_byte_of_each_file``."""
    counts = {path.relative_to(reference) for path in project_files(load_project(reference))}
    files = {path.relative_to(reference) for path in files_of(reference)}
    assert {str(path) for path in files - counts if not is_documentation(path)} == JUDGES
    assert counts <= files


def test_a_file_that_is_added_or_renamed_counts(other: Path) -> None:
    project = load_project(other)

    def now() -> str:
        return tree_sha256(project_files(project), other)

    before = now()
    (other / "rtl" / "more.svh").write_text("")
    assert now() != before
    (other / "rtl" / "more.svh").unlink()
    assert now() == before
    (other / "rtl" / "soc.v").rename(other / "rtl" / "soc2.v")
    assert now() != before
    (other / "rtl" / "soc2.v").rename(other / "rtl" / "soc.v")


def test_every_module_and_folder_of_the_projects_file_is_seen(other: Path) -> None:
    """Whatever the key: a section that is new names files all the same."""
    (other / "etchproof.toml").write_text(
        OTHER + '[lora]\nframe = "deep:frame"\nload_cycles = "extra:cycles"\n'
    )
    (other / "extra.py").write_text("")
    try:
        assert other / "extra.py" in project_files(load_project(other))
    finally:
        (other / "etchproof.toml").write_text(OTHER)
        (other / "extra.py").unlink()


def test_each_file_of_the_engine_counts(tmp_path: Path) -> None:
    engine = tmp_path / "etchproof"
    shutil.copytree(ENGINE, engine, ignore=shutil.ignore_patterns("__pycache__", "_reference"))
    (engine / "new.txt").write_text("")
    assert set(files_below(engine)) == {path for path in files_of(engine) if not is_documentation(path)}


def test_tools_count(monkeypatch: pytest.MonkeyPatch) -> None:
    project = load_project(ROOT)
    before = key.sources_sha256(project)
    for name in ("verilator_sha256", "compiler_sha256"):
        with monkeypatch.context() as patched:
            patched.setattr(key, name, lambda *arguments: "another")
            key._tools_sha256.cache_clear()
            assert key.sources_sha256(project) != before, name
    for package in key._PACKAGES:
        with monkeypatch.context() as patched:
            patched.setattr(key, "_version", lambda name, package=package: "0" if name == package else "1")
            key._tools_sha256.cache_clear()
            assert key.sources_sha256(project) != before, package
    key._tools_sha256.cache_clear()
    assert key.sources_sha256(project) == before


@pytest.fixture
def spec(tmp_path: Path) -> ItemSpec:
    for name in ("model", "adapter"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "README.md").write_text("")
    (tmp_path / "model" / "vocabulary.txt").write_text("")
    for name in ("recipe.yaml", "shape.yaml"):
        (tmp_path / name).write_text("")
    return ItemSpec(
        name="one",
        test="RandomTokens",
        model=str(tmp_path / "model"),
        shape=ShapeEntry(shape=str(tmp_path / "shape.yaml"), weights=1),
        recipe=str(tmp_path / "recipe.yaml"),
        context=None,
        kind="fast",
        adapters=(str(tmp_path / "adapter"), "@corners"),
        seed=1,
    )


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("model/config.json", True),
        ("model/vocabulary.txt", True),
        ("adapter/config.json", True),
        ("recipe.yaml", True),
        ("shape.yaml", True),  # edited between a run and its resumption
        ("model/README.md", False),
        ("adapter/README.md", False),
    ],
)
def test_what_an_item_names(spec: ItemSpec, tmp_path: Path, name: str, counts: bool) -> None:
    before = item_key(spec, "sources")
    (tmp_path / name).write_text("changed")
    assert (item_key(spec, "sources") != before) == counts


def test_every_choice_of_an_item_counts(spec: ItemSpec) -> None:
    before = item_key(spec, "sources")
    assert item_key(spec, "others") != before
    changes: dict[str, object] = {
        "name": "two",
        "test": "BackToBack",
        "model": None,
        "shape": None,
        "recipe": "w8a16",
        "context": 3,
        "kind": "plain",
        "adapters": (),
        "seed": 2,
        "prompt": "a",
        "prompt_ids": (1,),
        "tokens": 5,
        "directed": ((1,),),
        "vectors": spec.shape.shape if spec.shape else None,
        "corners": 1,
        "timeout_s": 5.0,
    }
    assert set(changes) == set(ItemSpec.model_fields)
    for name, value in changes.items():
        assert item_key(spec.model_copy(update={name: value}), "sources") != before, name


@pytest.mark.parametrize("missing", ["model", "adapter", "recipe.yaml", "shape.yaml"])
def test_what_is_missing_is_said(spec: ItemSpec, tmp_path: Path, missing: str) -> None:
    path = tmp_path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=missing):
        item_key(spec, "sources")


def test_the_reference_project(tiny_checkpoint: Path) -> None:
    project: Project = load_project(ROOT)
    found = {path.relative_to(ROOT).parts[0] for path in project_files(project)}
    assert found == {"etchproof.toml", "hw", "models", "templates", "verif"}
