"""Prompt ids against transformers' ``AutoTokenizer``, on folders as they are shipped and bent in what decides BOS, EOS
and special tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint import Tokenizer, read_config, write_synthetic
from tests.oracle.byte_model import BYTES

transformers = pytest.importorskip("transformers")

TEXTS = (
    *("", " ", "Once upon a time", "Once upon a time, there was\na girl.", "<s>Once</s> upon", "a <unk> b"),
    *("\u20ac \U0001f600 \u00e9", "  two  spaces  ", "<extra>tail", "\tx\r\n", "a" * 100),
)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    raw = json.loads(path.read_text()) if path.exists() else {}
    change(raw)
    path.write_text(json.dumps(raw))


def template(*around: str) -> dict[str, Any]:
    """A post-processor that puts BOS (``<s>``) before, EOS (``</s>``) after, or both."""
    ids = {"<s>": 1, "</s>": 2}
    single: list[dict[str, Any]] = [{"Sequence": {"id": "A", "type_id": 0}}]
    if "<s>" in around:
        single.insert(0, {"SpecialToken": {"id": "<s>", "type_id": 0}})
    if "</s>" in around:
        single.append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in around},
    }


def drop_special(raw: dict[str, Any]) -> None:
    """``<s>`` in the vocabulary alone: the named token of tokenizer_config.json makes it special again."""
    raw["added_tokens"] = [token for token in raw["added_tokens"] if token["content"] != "<s>"]


# (changes of tokenizer.json, of tokenizer_config.json, other files)
BENT: dict[str, tuple[Callable[[dict[str, Any]], None], dict[str, Any], dict[str, Any]]] = {
    "as shipped": (lambda raw: None, {}, {}),
    "no post-processor": (lambda raw: raw.update(post_processor=None), {}, {}),
    "add_bos_token without post-processor": (
        lambda raw: raw.update(post_processor=None),
        {"add_bos_token": True},
        {},
    ),
    "add_bos_token false": (
        lambda raw: raw.update(post_processor=template("<s>")),
        {"add_bos_token": False},
        {},
    ),
    "add_eos_token": (lambda raw: None, {"add_eos_token": True}, {}),
    "EOS after": (lambda raw: raw.update(post_processor=template("</s>")), {}, {}),
    "both": (lambda raw: raw.update(post_processor=template("<s>", "</s>")), {}, {}),
    "named token that is not added": (drop_special, {}, {}),
    "extra special token": (lambda raw: None, {"extra_special_tokens": ["upon"]}, {}),
    "added_tokens_decoder": (
        lambda raw: None,
        {
            "added_tokens_decoder": {
                "1": {"content": "<s>", "lstrip": True, "rstrip": True, "normalized": False, "special": True}
            }
        },
        {},
    ),
    "split_special_tokens": (lambda raw: None, {"split_special_tokens": True}, {}),
    "special_tokens_map": (
        drop_special,
        {"bos_token": None},
        {"special_tokens_map.json": {"bos_token": "<s>"}},
    ),
    "truncation and padding": (
        lambda raw: raw.update(
            truncation={"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
        ),
        {"model_max_length": 4},
        {},
    ),
}


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("bytes"), BYTES, seed=1)


@pytest.fixture(params=["stories260k", "tiny_checkpoint", "byte_level"])
def shipped(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a folder, to be bent."""
    source: Path = request.getfixturevalue(request.param)
    target = tmp_path / "model"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", "*.py", "__pycache__"))
    for path in (target, *target.iterdir()):
        path.chmod(0o755)
    return target


@pytest.mark.parametrize("how", BENT)
def test_the_same_ids(shipped: Path, how: str) -> None:
    change, config, files = BENT[how]
    edit(shipped / "tokenizer.json", change)
    edit(
        shipped / "tokenizer_config.json",
        lambda raw: raw.update({"tokenizer_class": "PreTrainedTokenizerFast"} | config),
    )
    for name, content in files.items():
        (shipped / name).write_text(json.dumps(content))
    theirs = transformers.AutoTokenizer.from_pretrained(shipped, local_files_only=True)
    ours = Tokenizer(shipped / "tokenizer.json", 10**6)
    for text in TEXTS:
        expected = theirs(text)["input_ids"]
        assert ours.encode(text) == expected, text
        assert ours.decode(expected) == theirs.decode(expected, skip_special_tokens=True), text


AS_SHIPPED = (None, "PreTrainedTokenizerFast", "TokenizersBackend", "NoSuchTokenizer")
REBUILT = ("LlamaTokenizer", "LlamaTokenizerFast")
PLAIN = tuple(text for text in TEXTS if not text.startswith(" ") and "<" not in text)


@pytest.mark.parametrize("name", [*AS_SHIPPED, *REBUILT])
def test_the_class_as_the_page_says(shipped: Path, name: str | None) -> None:
    """docs/checkpoints.md, "Tokenizer": where the ids are transformers', and where a line says that they may not be."""

    def choose(raw: dict[str, Any]) -> None:
        raw.pop("tokenizer_class", None)
        raw.update({} if name is None else {"tokenizer_class": name})

    edit(shipped / "tokenizer_config.json", choose)
    theirs = transformers.AutoTokenizer.from_pretrained(shipped, local_files_only=True)
    ours = Tokenizer(shipped / "tokenizer.json", 10**6)
    same = {text for text in TEXTS if ours.encode(text) == theirs(text)["input_ids"]}
    rebuilt = name in REBUILT and '"ByteLevel"' not in (shipped / "tokenizer.json").read_text()
    assert type(theirs).__name__ == ("LlamaTokenizer" if rebuilt else "TokenizersBackend")
    said = [line for line in ours.notes(read_config(shipped)) if "tokenizer_class" in line]
    if rebuilt:
        assert set(PLAIN) <= same != set(TEXTS)
        assert len(said) == 1
        assert f"tokenizer_class {name!r}: transformers 5 builds that one anew" in said[0]
    else:
        assert same == set(TEXTS)
        assert said == []


def test_a_disagreement_is_said(shipped: Path) -> None:
    config = read_config(shipped)
    assert Tokenizer(shipped / "tokenizer.json", 10**6).notes(config) == ()
    edit(shipped / "tokenizer.json", lambda raw: raw.update(post_processor=template("</s>")))
    edit(
        shipped / "tokenizer_config.json",
        lambda raw: raw.update(add_bos_token=True, eos_token="<s>", bos_token="</s>"),
    )
    said = "\n".join(Tokenizer(shipped / "tokenizer.json", 10**6).notes(config))
    for line in (
        "puts nothing before a text, config.json has bos_token_id 1",
        "ends every text with [2]",
        "has add_bos_token True",
        "has bos_token of id 2, config.json has bos_token_id 1",
        "has eos_token of id 1, the model's EOS ids are [2]",
    ):
        assert line in said
