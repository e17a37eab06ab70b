"""A prompt is looked at before anything runs, and a checkpoint whose parts disagree says so once, in every command."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint import load_checkpoint
from etchproof.cli import run
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.regress import execute
from etchproof.regress.check import check_items
from etchproof.regress.prompt import chat_of
from etchproof.regress.spec import ItemSpec, expand, load_list
from etchproof.run import flow
from etchproof.signoff.testplan import all_tests
from tests.conftest import ROOT

PROJECT = load_project(ROOT)
GENERATION = PROJECT.verif.generation
Edit = Callable[[dict[str, Any]], object]


def edit(path: Path, change: Edit) -> None:
    raw = json.loads(path.read_text()) if path.exists() else {}
    change(raw)
    path.write_text(json.dumps(raw))


def model(folder: Path, name: str = "model", **changes: Edit) -> Path:
    """A copy of the shipped checkpoint, with changes of its JSON files by name without suffix."""
    shutil.copytree(ROOT / "models" / "tiny", folder / name)
    for file, change in changes.items():
        edit(folder / name / f"{file}.json", change)
    return folder / name


def no_bos(folder: Path) -> Path:
    """Neither the config nor the tokenizer has a BOS."""
    return model(
        folder,
        config=lambda raw: raw.update(bos_token_id=None),
        generation_config=lambda raw: raw.pop("bos_token_id", None),
        tokenizer=lambda raw: raw.update(post_processor=None),
        tokenizer_config=lambda raw: raw.pop("bos_token", None),
    )


def disagreeing(folder: Path, name: str = "model") -> Path:
    """The tokenizer puts nothing before a text, and the config has a BOS."""
    return model(folder, name, tokenizer=lambda raw: raw.update(post_processor=None))


def checked(folder: Path, **entry: Any) -> tuple[str, ...]:
    path = folder / "listed.yaml"
    given = {"tests": [GENERATION], "recipes": ["w6a16"], **entry}
    path.write_text(json.dumps({"entries": [given]}))
    return check_items(expand(load_list(str(path), ROOT), ROOT, all_tests(PROJECT)), PROJECT)


def item(folder: Path, **fields: Any) -> ItemSpec:
    named: dict[str, Any] = {
        **{"name": "one", "test": GENERATION, "model": str(folder), "shape": None, "recipe": "w6a16"},
        **{"context": None, "kind": "fast", "adapters": (), "seed": 1, **fields},
    }
    return ItemSpec(**named)


class TestPrompts:
    @pytest.mark.parametrize("prompts", [[], [""]])
    def test_an_empty_one_without_bos_is_refused(self, tmp_path: Path, prompts: list[str]) -> None:
        """Token 0 is not what anybody asked for."""
        said = "prompt: is empty, and the model has no BOS token to begin with"
        folder = no_bos(tmp_path)
        with pytest.raises(InputError, match=re.escape(said)) as caught:
            checked(tmp_path, models=[str(folder)], prompts=prompts)
        assert f"item {GENERATION}-model-w6a16-s1" in str(caught.value)
        design = flow.plan_design(PROJECT, folder, flow.read_recipe(PROJECT, "w6a16"))
        for prompt in (None, ""):
            with pytest.raises(InputError, match=re.escape(said)):
                execute.test_config(item(folder, prompt=prompt), design, ())

    def test_an_empty_one_is_bos_alone(self, tmp_path: Path) -> None:
        folder = model(tmp_path, config=lambda raw: raw.update(bos_token_id=5))
        design = flow.plan_design(PROJECT, folder, flow.read_recipe(PROJECT, "w6a16"))
        for prompt in (None, ""):
            config = execute.test_config(item(folder, prompt=prompt), design, ())
            assert config["sequences"][0]["prompt"] == (5,)

    def test_an_empty_one_is_what_the_tokenizer_makes_of_it(self, tmp_path: Path) -> None:
        """As in cosim, where the config alone has no BOS."""
        folder = model(tmp_path, config=lambda raw: raw.update(bos_token_id=None))
        design = flow.plan_design(PROJECT, folder, flow.read_recipe(PROJECT, "w6a16"))
        config = execute.test_config(item(folder), design, ())
        expected = load_checkpoint(folder).tokenizer().encode("")
        assert list(config["sequences"][0]["prompt"]) == expected != []

    def test_a_test_that_continues_nothing_needs_no_prompt(self, tmp_path: Path) -> None:
        checked(tmp_path, models=[str(no_bos(tmp_path))], tests=["RandomTokens"])

    @pytest.mark.parametrize(
        ("prompt", "said"),
        [
            ("Once upon a time " * 200, "tokens, the chip's context holds 256"),
            ("\ud800", "half of a surrogate pair"),
        ],
    )
    def test_one_that_cannot_be_fed_is_refused(self, tmp_path: Path, prompt: str, said: str) -> None:
        with pytest.raises(InputError, match=said):
            check_items([item(ROOT / "models" / "tiny", prompt=prompt)], PROJECT)

    def test_a_text_needs_a_tokenizer(self, tmp_path: Path) -> None:
        folder = model(tmp_path)
        (folder / "tokenizer.json").unlink()
        with pytest.raises(InputError, match=r"tokenizer\.json: file not found"):
            checked(tmp_path, models=[str(folder)], prompts=["Once"])
        checked(tmp_path, models=[str(folder)])  # BOS alone needs none
        shape = {"shape": "llama-3.2-1b", "weights": 1, "layers": 1, "vocab": 64}
        with pytest.raises(InputError, match="prompt: random weights have no tokenizer"):
            checked(tmp_path, models=[], shapes=[shape], recipes=["w4a16"], prompts=["Once"])


class TestNotes:
    def test_nothing_to_say(self, tmp_path: Path) -> None:
        assert checked(tmp_path, models=["models/tiny"], tests=["RandomTokens", GENERATION]) == ()

    def test_once_for_each_checkpoint(self, tmp_path: Path) -> None:
        """However many items name it, and whether or not they have a prompt."""
        folders = [str(disagreeing(tmp_path, name)) for name in ("one", "two")]
        said = checked(
            tmp_path, models=folders, tests=["RandomTokens", GENERATION], contexts=[None, 18], seeds=2
        )
        assert [line.partition(": ")[0] for line in said] == ["one", "two"]
        assert all("puts nothing before a text, config.json has bos_token_id 1" in line for line in said)


class BegunError(Exception):
    """The command came past what it checks."""


@pytest.mark.parametrize("command", ["cosim", "test", "regress", "signoff"])
def test_every_command_says_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """BOS by the tokenizer and a penalty of the host's: two lines on stderr before anything runs."""
    folder = disagreeing(tmp_path)
    edit(folder / "generation_config.json", lambda raw: raw.update(repetition_penalty=1.1))
    monkeypatch.chdir(tmp_path)

    def begin(*_: object, **__: object) -> None:
        raise InputError("begun")

    for name in (
        "etchproof.run.cosim._run",
        "etchproof.regress.execute.run_item",
        "etchproof.regress.run.run_regression",
    ):
        monkeypatch.setattr(name, begin)
    monkeypatch.setattr("etchproof.run.flow.quantize_design", begin)
    (tmp_path / "listed.yaml").write_text(
        json.dumps({"entries": [{"tests": ["RandomTokens", GENERATION], "models": ["@model"], "seeds": 2}]})
    )
    words = {
        "cosim": ["cosim", str(folder)],
        "test": ["test", GENERATION, str(folder)],
        "regress": ["regress", str(tmp_path / "listed.yaml"), "--model", str(folder)],
        "signoff": ["signoff", str(folder), "--stage", "V1"],
    }[command]
    assert run([*words, "--project", str(ROOT), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "etchproof: begun"
    notes = [line for line in lines if line.startswith("etchproof: note: ")]
    assert len(notes) == len(lines) - 1 == 2
    assert sum("puts nothing before a text" in line for line in notes) == 1
    assert sum("has repetition_penalty 1.1: the host's" in line for line in notes) == 1


@pytest.mark.parametrize("command", ["cosim", "test", "regress"])
def test_every_command_refuses_an_empty_prompt_without_bos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    folder = no_bos(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "listed.yaml").write_text(
        json.dumps({"entries": [{"tests": [GENERATION], "models": ["@model"]}]})
    )
    words = {
        "cosim": ["cosim", str(folder)],
        "test": ["test", GENERATION, str(folder)],
        "regress": ["regress", str(tmp_path / "listed.yaml"), "--model", str(folder)],
    }[command]
    assert run([*words, "--project", str(ROOT), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "prompt: is empty, and the model has no BOS token to begin with" in line
    assert not (tmp_path / "out").exists()


def test_a_message_in_the_models_template(tmp_path: Path) -> None:
    """What `etchproof test --chat` feeds: ids, as a template may ask for the date."""
    folder = model(
        tmp_path,
        tokenizer_config=lambda raw: raw.update(
            chat_template="{{ bos_token }}{{ strftime_now('%Y') }} {{ messages[0].content }}"
        ),
    )
    said = chat_of("Once upon a time", folder, PROJECT)
    assert said.now is not None and len(said.notes) == 1
    tokenizer = load_checkpoint(folder).tokenizer()
    assert list(said.ids) == tokenizer.encode(f"{said.now.year} Once upon a time")
    with pytest.raises(InputError, match="--chat: random weights have no chat template"):
        chat_of("a", None, PROJECT)
    with pytest.raises(InputError, match="--chat: models of the project's own have no chat template"):
        chat_of("a", folder, load_project(ROOT / "examples" / "serial"))
