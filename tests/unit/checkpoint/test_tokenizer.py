"""Text to ids and back; the streamed pieces, joined, equal the whole."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.checkpoint import ModelConfig, Tokenizer, load_checkpoint, write_synthetic
from etchproof.errors import InputError

PROMPT = [1, 403, 407, 261, 378]


@pytest.fixture(scope="module")
def llama2_style(stories260k: Path) -> Tokenizer:
    """SentencePiece BPE with byte fallback and a stripped first space."""
    return Tokenizer(stories260k / "tokenizer.json", vocab_size=512)


@pytest.fixture(scope="module")
def llama3_style(tmp_path_factory: pytest.TempPathFactory, tiny: ModelConfig) -> Tokenizer:
    """Byte-level, with a post-processor that adds BOS."""
    config = tiny.model_copy(update={"vocab_size": 270})
    return load_checkpoint(write_synthetic(tmp_path_factory.mktemp("bytes"), config, seed=1)).tokenizer()


def streamed(tokenizer: Tokenizer, ids: list[int], after: list[int] | None = None) -> list[str]:
    stream = tokenizer.stream(after or [])
    return [*(stream.push(token) for token in ids), stream.finish()]


def without_post_processor(source: Path, target: Path, **changes: Any) -> Path:
    raw = json.loads(source.read_text()) | {"post_processor": None} | changes
    target.write_text(json.dumps(raw))
    return target


def test_known_ids(llama2_style: Tokenizer) -> None:
    assert llama2_style.encode("Once upon a time") == PROMPT
    assert llama2_style.decode(PROMPT) == "Once upon a time"


def test_nothing_is_added_that_the_tokenizer_does_not_add(
    stories260k: Path, tmp_path: Path, llama2_style: Tokenizer
) -> None:
    bare = Tokenizer(without_post_processor(stories260k / "tokenizer.json", tmp_path / "t.json"), 512)
    assert bare.encode("Once upon a time") == PROMPT[1:]
    assert (bare.encode(""), llama2_style.encode("")) == ([], [1])
    assert llama2_style.encode("<s>Once upon a time")[:2] == [
        1,
        1,
    ]  # one is the post-processor's, one written out
    assert ((bare.before, bare.after), (llama2_style.before, llama2_style.after)) == (((), ()), ((1,), ()))


def test_truncation_and_padding_of_the_file_are_switched_off(stories260k: Path, tmp_path: Path) -> None:
    truncation = {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    path = without_post_processor(stories260k / "tokenizer.json", tmp_path / "t.json", truncation=truncation)
    assert Tokenizer(path, 512).encode("Once upon a time") == PROMPT[1:]


def test_sampling_is_switched_off(stories260k: Path, tmp_path: Path) -> None:
    raw = json.loads((stories260k / "tokenizer.json").read_text())
    raw["model"]["dropout"] = 0.9
    (tmp_path / "t.json").write_text(json.dumps(raw))
    tokenizer = Tokenizer(tmp_path / "t.json", 512)
    assert {tuple(tokenizer.encode("Once upon a time")) for _ in range(20)} == {tuple(PROMPT)}


def test_a_new_line_is_held_until_its_run_of_bytes_ends(llama2_style: Tokenizer) -> None:
    ids = llama2_style.encode("a\nb\u20ac!")
    pieces = streamed(llama2_style, ids)
    assert "".join(pieces) == "a\nb\u20ac!"
    assert "\ufffd" not in "".join(pieces)


def test_a_continuation_keeps_its_leading_space(llama2_style: Tokenizer) -> None:
    ids = llama2_style.encode("Once upon a time there was")
    assert ids[: len(PROMPT)] == PROMPT
    assert "".join(streamed(llama2_style, ids[len(PROMPT) :], after=PROMPT)) == " there was"


@given(ids=st.lists(st.integers(0, 511), max_size=30))
def test_streamed_pieces_equal_the_whole_llama2(llama2_style: Tokenizer, ids: list[int]) -> None:
    assert "".join(streamed(llama2_style, ids)) == llama2_style.decode(ids)


@given(ids=st.lists(st.integers(0, 269) | st.integers(97, 200), max_size=30))
def test_streamed_pieces_equal_the_whole_llama3(llama3_style: Tokenizer, ids: list[int]) -> None:
    assert "".join(streamed(llama3_style, ids)) == llama3_style.decode(ids)


@given(text=st.text(max_size=20))
def test_byte_level_text_round_trips(llama3_style: Tokenizer, text: str) -> None:
    ids = llama3_style.encode(text)
    assert ids[0] == 1
    if not {"<s>", "</s>"} & {text[i : i + n] for i in range(len(text)) for n in (3, 4)}:
        assert llama3_style.decode(ids) == text
        assert "".join(streamed(llama3_style, ids)) == text


@pytest.mark.parametrize("text", ["\u20ac", "\U0001f600 \u00e9"])
def test_no_piece_shows_half_a_character(llama3_style: Tokenizer, text: str) -> None:
    pieces = streamed(llama3_style, llama3_style.encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("token", [-1, 512, 10**20])
def test_an_id_outside_the_vocabulary(llama2_style: Tokenizer, token: int) -> None:
    with pytest.raises(InputError, match=rf"token id {token} is outside the model's vocabulary of 512"):
        llama2_style.decode([1, token])
    with pytest.raises(InputError, match=rf"token id {token} is outside"):
        llama2_style.stream().push(token)


def test_a_tokenizer_of_a_larger_model(stories260k: Path) -> None:
    tokenizer = Tokenizer(stories260k / "tokenizer.json", vocab_size=400)
    with pytest.raises(
        InputError, match=r"tokenizer\.json: token id 403 is outside the model's vocabulary of 400"
    ):
        tokenizer.encode("Once upon a time")


def test_half_a_surrogate_pair(llama2_style: Tokenizer) -> None:
    with pytest.raises(InputError, match="half of a surrogate pair"):
        llama2_style.encode("a\ud800b")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not valid JSON"),
        (b"{}", "is not a tokenizer the tokenizers library reads"),
        (b'{"version": "1.0", "model": {"type": "BPE"}}', "is not a tokenizer the tokenizers library reads"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_a_bad_file(folder: Path, content: bytes, problem: str) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"tokenizer\.json: {problem}"):
        load_checkpoint(folder).tokenizer()


def broken(raw: dict[str, Any], how: str) -> None:
    """Make a good ``tokenizer.json`` one that panics, hangs or fills memory, when it is read or when it is used."""
    if how == "charsmap":
        raw["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAAAAAA/////w=="}
    elif how == "template":
        raw["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<nowhere>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {},
        }
    elif how == "regex":
        raw["normalizer"] = {
            "type": "Replace",
            "pattern": {"Regex": "(a+)+b"},
            "content": "x",
        }
    elif how == "wordlevel":
        raw["model"] = {"type": "WordLevel", "vocab": {"<s>": 1}, "unk_token": "<unk>"}
    elif how == "bomb":
        double = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
        raw["normalizer"] = {"type": "Sequence", "normalizers": [double] * 8}
    elif how == "decoder bomb":
        raw["decoder"] = {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}] * 8}  # fmt: skip
    else:
        assert how == "not json"
        raw["model"]["vocab"] = {"a": "\ud800"}


BROKEN = ("charsmap", "template", "regex", "wordlevel", "bomb", "decoder bomb", "not json")


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_tokenizer_is_one_line(stories260k: Path, tmp_path: Path, how: str) -> None:
    raw = json.loads((stories260k / "tokenizer.json").read_text())
    broken(raw, how)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(raw))
    begun = time.monotonic()

    def use() -> None:
        tokenizer = Tokenizer(path, 512)
        tokenizer.decode(tokenizer.encode("a" * 40 + "!"))

    with pytest.raises(InputError) as caught:
        use()
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    assert time.monotonic() - begun < 25
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1_200_000  # KiB


def test_one_that_died_says_so_again(stories260k: Path) -> None:
    tokenizer = Tokenizer(stories260k / "tokenizer.json", 512)
    os.kill(tokenizer._child._process.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(InputError, match=r"tokenizer\.json: was killed"):
            tokenizer.encode("a")


def test_no_process_is_left(stories260k: Path) -> None:
    tokenizer = Tokenizer(stories260k / "tokenizer.json", 512)
    process = tokenizer._child._process
    assert process.poll() is None
    del tokenizer
    assert process.poll() is not None


def test_the_folder_that_we_stand_in_runs_no_code(
    stories260k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tokenizers", "json", "resource"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert Tokenizer(stories260k / "tokenizer.json", 512).encode("Once upon a time") == PROMPT
