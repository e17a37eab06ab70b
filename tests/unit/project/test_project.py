"""``etchproof.toml``: where it is looked for, what it may say, and what its object names import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from etchproof.errors import InputError
from etchproof.project import declaration as project_module
from etchproof.project.code import load_object
from etchproof.project.declaration import PROJECT_FILE, find_project, load_project, reference_root

MINIMAL = """\
name = "mine"
[golden]
factory = "mine_golden:Golden"
[chip]
plan = "mine_chip.plan:plan"
[rtl]
top = "my_top"
renderings = "mine_chip.fabric:renderings"
templates = "templates"
hw = "hw"
[rom]
images = "mine_chip.rom:images"
site = "mine_chip.rom:site"
[taps]
plan = "mine_chip.taps:taps"
[recipes]
default = "w8"
[verif]
tests = "mine_verif.tests"
"""


HOST = "[host]\nclock = 'c'\nreset = '!r'\ninput = 's[7:0]'\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder; sys.path and the modules imported from it are put back afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / PROJECT_FILE).write_text(MINIMAL, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(root: Path, text: str) -> None:
    (root / PROJECT_FILE).write_text(text, encoding="utf-8")


def test_found_from_a_folder_below(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = root / "hw" / "deep"
    below.mkdir(parents=True)
    assert find_project(below).root == root
    monkeypatch.chdir(below)
    assert find_project().root == root


def test_the_nearest_file_counts(root: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    (inner / PROJECT_FILE).write_text(MINIMAL.replace('"mine"', '"inner"'), encoding="utf-8")
    assert find_project(inner).name == "inner"


def test_reference_project_when_there_is_none(tmp_path: Path, repo_root: Path) -> None:
    assert find_project(tmp_path).root == repo_root


def test_the_wheels_reference_project_comes_before_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src" / "etchproof"
    (package / "_reference").mkdir(parents=True)
    monkeypatch.setattr(project_module, "_PACKAGE", package)
    with pytest.raises(InputError, match="carries no reference project"):
        reference_root()
    (tmp_path / PROJECT_FILE).touch()
    assert reference_root() == tmp_path
    (package / "_reference" / PROJECT_FILE).touch()
    assert reference_root() == package / "_reference"


def test_the_repositorys_own_file(repo_root: Path) -> None:
    reference = load_project(repo_root)
    assert reference.golden.factory == "models.golden:Golden"
    assert reference.chip.plan == "models.chip:plan"
    assert reference.rtl.top == "ep_sim_top"
    assert reference.recipes.default == "w6a16"
    assert reference.rtl.renderings == "models.fabric:renderings"
    assert reference.rom is not None
    assert (reference.rom.images, reference.rom.site) == (
        "models.rom.writer:images",
        "models.rom.writer:site",
    )
    assert reference.verif.tests == ("verif.tests", "verif.adapter_tests")
    assert reference.verif.generation == "GreedyGeneration"


def test_defaults_and_either_form_of_the_path(root: Path) -> None:
    read = load_project(root)
    assert (read.rtl.hw, read.rtl.templates, read.recipes.path) == ("hw", "templates", "models/recipes")
    assert load_project(root / PROJECT_FILE) == read


def test_frozen(root: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_project(root).name = "other"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[golden]", "colour = 3\n[golden]", "unknown key 'colour'"),
        ("[golden]", "[golden]\nfactroy = 3", "unknown key 'golden.factroy'"),
        ('top = "my_top"\n', "", "key 'rtl.top' is missing"),
        (
            'renderings = "mine_chip.fabric:renderings"\ntemplates = "templates"\nhw = "hw"\n',
            "",
            "names nothing: give files or a filelist, or renderings with templates and hw",
        ),
        ('[verif]\ntests = "mine_verif.tests"\n', "", "[verif] tests is missing: without [host]"),
        ("[recipes]", "[model]\nload = 'a:b'\n[recipes]", "[recipes] stands beside [model]"),
        ('[chip]\nplan = "mine_chip.plan:plan"\n', "", "[chip] is missing: without [model]"),
        ('site = "mine_chip.rom:site"\n', "", "rom: needs either images and site, or memories"),
        ("[golden]", "[golden]\nsession = 'a:b'", "golden: needs either factory or session"),
        ("[verif]", f"{HOST}output = 'm[64:0]'\n[verif]", "'m_tdata[64:0]' has more than 64 bits"),
        ("[verif]", f"{HOST}output = 'm[7:1]'\n[verif]", "host.output.data is 'm_tdata[7:1]'"),
        ("[verif]", f"{HOST}output = {{valid = 'v'}}\n[verif]", "key 'host.output.data' is missing"),
        ('"mine_golden:Golden"', '"mine_golden"', "golden.factory is 'mine_golden': "),
        ('"mine_golden:Golden"', "3", "golden.factory is 3: "),
        ('"my_top"', '"my top"', "rtl.top is 'my top': "),
        ('name = "mine"', "name = ", "is not valid TOML: "),
    ],
)
def test_refused_by_name(root: Path, old: str, new: str, problem: str) -> None:
    write(root, MINIMAL.replace(old, new))
    with pytest.raises(InputError) as refused:
        load_project(root)
    assert str(refused.value).startswith(f"{root / PROJECT_FILE}: ")
    assert problem in str(refused.value)


def test_every_problem_is_named_at_once(root: Path) -> None:
    write(root, MINIMAL.replace("top =", "tpo ="))
    with pytest.raises(InputError, match=r"'rtl\.top' is missing; unknown key 'rtl\.tpo'"):
        load_project(root)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file not found"):
        load_project(tmp_path / "absent.toml")


def test_folders_are_resolved_and_must_exist(root: Path) -> None:
    read = load_project(root)
    with pytest.raises(InputError, match=r"rtl\.hw: 'hw' is not a folder"):
        _ = read.hw_dir
    with pytest.raises(InputError, match=r"shapes\.path: 'models/shapes' is not a folder"):
        _ = read.shapes_dir
    for folder in ("hw", "templates", "models/recipes", "models/shapes"):
        (root / folder).mkdir(parents=True)
    assert read.hw_dir == root / "hw"
    assert read.templates_dir == root / "templates"
    assert read.recipes_dir == root / "models" / "recipes"
    assert read.shapes_dir == root / "models" / "shapes"


def load(root: Path, source: str, name: str = "mine_golden:Golden") -> Any:
    (root / "mine_golden.py").write_text(source, encoding="utf-8")
    return load_object(load_project(root), name, key="golden.factory")


def test_object_is_imported_from_the_root_which_joins_sys_path_once(root: Path) -> None:
    assert load(root, "class Golden:\n    class Inner: pass\n").__name__ == "Golden"
    assert load(root, "", "mine_golden:Golden.Inner").__name__ == "Inner"
    assert sys.path[0] == str(root)
    assert sys.path.count(str(root)) == 1


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "mine_golden has no 'Golden'"),
        (
            "import no_such_module",
            "ModuleNotFoundError at {root}/mine_golden.py:1: No module named 'no_such_module'",
        ),
        ("\nx = 1 / 0", "ZeroDivisionError at {root}/mine_golden.py:2: division by zero"),
        ("def (", "SyntaxError"),
    ],
)
def test_failing_import_names_file_key_and_value(root: Path, source: str, problem: str) -> None:
    with pytest.raises(InputError) as refused:
        load(root, source)
    message = str(refused.value)
    assert message.startswith(f"{root / PROJECT_FILE}: golden.factory: 'mine_golden:Golden'")
    assert problem.format(root=root) in message


def test_missing_module_is_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"'mine_nowhere:x'.*No module named 'mine_nowhere'"):
        load_object(load_project(root), "mine_nowhere:x", key="golden.factory")
    with pytest.raises(InputError, match="not of the form"):
        load_object(load_project(root), "mine_nowhere", key="golden.factory")


def test_namesake_of_another_project_is_refused(root: Path, tmp_path: Path) -> None:
    load(root, "class Golden: pass\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / PROJECT_FILE).write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(InputError, match="not from this project"):
        load(other, "class Golden: pass\n")
