"""A chat template is data: it reaches nothing, ends in time, and what is bad about it is one line."""

from __future__ import annotations

import json
import os
import resource
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from etchproof.checkpoint import Tokenizer
from etchproof.checkpoint.chat import Template, chat, find_template, render
from etchproof.errors import InputError

NOW: Final = datetime(2026, 2, 3, 4, 5)
TEMPLATE: Final = "{{ bos_token }}{{ messages[0].content }}{% if add_generation_prompt %}!{% endif %}"


@pytest.fixture
def folder(stories260k: Path, tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((stories260k / name).read_bytes())
    return tmp_path


def configure(folder: Path, **entries: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def made(template: str, message: str = "hello") -> str:
    return render(message, Template(template, Path("t.jinja")), {"bos_token": "<s>"}, NOW)[0]


def refused(template: str) -> str:
    with pytest.raises(InputError) as caught:
        made(template)
    line = str(caught.value)
    assert line.startswith("t.jinja: the chat template ") and "\n" not in line
    assert line.endswith("(give the prompt as --prompt or --prompt-ids)")
    return line


def test_no_bos_but_the_templates_own(folder: Path) -> None:
    configure(folder, chat_template=TEMPLATE)
    tokenizer = Tokenizer(folder / "tokenizer.json", 512)
    said = chat("Once upon a time", tokenizer, NOW)
    assert said.ids == (*tokenizer.encode("Once upon a time"), *tokenizer.encode_chat("!")[1:])
    assert (said.now, said.notes, said.template.source.name) == (None, (), "tokenizer_config.json")
    configure(folder, chat_template=TEMPLATE.replace("{{ bos_token }}", ""))
    assert chat("Once upon a time", Tokenizer(folder / "tokenizer.json", 512), NOW).ids == said.ids[1:]


def test_a_template_that_asks_for_the_date_is_told_and_it_is_said(folder: Path) -> None:
    configure(folder, chat_template="{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}")
    said = chat("a", Tokenizer(folder / "tokenizer.json", 512), NOW)
    assert said.now == NOW
    assert said.notes == ("the chat template writes the date 2026-02-03: another day gives other ids",)
    assert made("{{ strftime_now('%d %b %Y') }}") == "03 Feb 2026"
    before = datetime.now()
    now = chat("a", Tokenizer(folder / "tokenizer.json", 512)).now
    assert now is not None and before <= now <= datetime.now()


ESCAPES: Final = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__ }}",
    "{{ strftime_now.__globals__['__builtins__'] }}",
    "{{ raise_exception.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ dict.__class__ }}",
    "{{ dict.__call__.__globals__ }}",
    "{{ messages|attr('__class__') }}",
    "{{ ('{0.__class__}').format(messages) }}",
    "{{ ['{0.__class__}'.format] | map('call', messages) | list }}",
    "{{ messages | map(attribute='__class__') | list | first | attr('mro') }}",
    "{% set ns = namespace(__html__=raise_exception) %}{{ ns }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns }}",
    "{% set _ = messages.append(1) %}",
    "{% set _ = messages[0].update(role='x') %}",
    "{% include 'tokenizer.json' %}",
    "{% import 'os' as os %}",
    "{% extends '/etc/passwd' %}",
    "{{ open('/etc/passwd') }}",
    "{{ lipsum() }}",
    "{{ [1, 2] | random }}",
)


@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_of_python_is_reached(template: str) -> None:
    with pytest.raises(InputError, match="the chat template"):
        said = made(template)
        assert "class" not in said and "root:" not in said, said
        raise InputError("the chat template makes nothing of it")  # an undefined name is empty text


def test_what_reaches_out_is_called_so() -> None:
    line = refused("{{ ''.__class__.__mro__ }}")
    assert (
        "reaches for what no template may: access to attribute '__class__' of 'str' object is unsafe" in line
    )
    assert "takes no name like '__html__'" in refused("{{ namespace(__html__=1) }}")
    assert "takes no name like '_x'" in refused("{% set ns = namespace() %}{% set ns._x = 1 %}")


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "took more than 5 sec",
        ),
        ("{{ 10 ** (10 ** 10) }}", "(took more than 5 sec|memory)"),
        (
            "{% set ns = namespace(t='a') %}{% for a in range(40) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
            "memory",
        ),
        ("{{ 'a' * 2 ** 33 }}", "memory"),
        ("{{ 'a' * 20000000 }}", "makes more than 16 MiB of it"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails: maximum recursion depth"),
        ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "fails: maximum recursion depth"),
        ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, "fails: maximum recursion depth"),
        ("{{ range(10 ** 9) }}", "Range too big"),
    ],
)
def test_it_ends_in_time_and_memory(template: str, line: str) -> None:
    begun = time.monotonic()
    with pytest.raises(InputError, match=line):
        made(template)
    assert time.monotonic() - begun < 25
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1_200_000  # KiB


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{% for %}", "is no Jinja template: line 1: "),
        ("\n{{ a b }}", "is no Jinja template: line 2: expected token 'end of print statement', got 'b'"),
        ("{{ raise_exception('only\n  tools\x1b[31m') }}", r"refuses the message: only tools\x1b[31m"),
        ("{{ 1 / 0 }}", "fails: division by zero"),
        ("{{ 'a' + x }}", "fails: 'x' is undefined"),
        ("{{ messages | nothing }}", "is no Jinja template: line 1: No filter named 'nothing'."),
        ("{{ undefined | tojson }}", "fails: Object of type Undefined is not JSON serializable"),
        ("{% generation %}", "is no Jinja template: line 1: "),
    ],
)
def test_one_line(template: str, line: str) -> None:
    assert line in refused(template)


def test_what_a_template_may_use() -> None:
    assert made("{% generation %}{{ messages[0].role }}{% endgeneration %}") == "user"
    assert made("{% for a in 'abcd' %}{% if a == 'b' %}{% continue %}{% endif %}{{ a }}"
                "{% if a == 'c' %}{% break %}{% endif %}{% endfor %}") == "ac"  # fmt: skip
    assert made("{{ messages | tojson }}", "<\u20ac>") == '[{"role": "user", "content": "<\u20ac>"}]'
    assert made("{% set ns = namespace({'a': 1}, self=2) %}{% set ns.a = 5 %}{{ ns.a + ns.self }}") == "7"
    assert made("{{ dict(a=1) }}{{ dict.fromkeys('ab') }}") == "{'a': 1}{'a': None, 'b': None}"
    assert made("{{ bos_token }}{{ eos_token }}|{{ tools }}|{{ documents }}") == "<s>|None|None"


def test_half_of_a_pair_is_no_text(folder: Path) -> None:
    configure(folder, chat_template="{{ '\\ud800' }}")
    with pytest.raises(InputError, match="holds half of a surrogate pair"):
        chat("a", Tokenizer(folder / "tokenizer.json", 512))


def test_a_text_without_tokens(folder: Path) -> None:
    configure(folder, chat_template="{# nothing #}")
    with pytest.raises(InputError, match="chat_template: the chat template makes no token of the message"):
        chat("a", Tokenizer(folder / "tokenizer.json", 512))


def test_a_token_beyond_the_models_vocabulary(folder: Path) -> None:
    configure(folder, chat_template="<|new|>", extra_special_tokens=["<|new|>"])
    with pytest.raises(InputError, match="token id 512 is outside the model's vocabulary of 512"):
        chat("a", Tokenizer(folder / "tokenizer.json", 512))


CONFIGS: Final[tuple[tuple[Any, str], ...]] = (
    (
        None,
        "{folder}: there is no chat template: no chat_template.jinja, and no chat_template in tokenizer_config.json",
    ),
    (5, "{config}: chat_template: is 5, expected a text, or a list of objects with a name and a template"),
    ([], "{config}: chat_template: is [], expected a text"),
    ({}, "{config}: chat_template: is {}, expected a text"),
    ([1], "{config}: chat_template: is [1], expected a text"),
    ([{"name": "default"}], "{config}: chat_template: is [{'name': 'default'}], expected a text"),
    ([{"name": 1, "template": "a"}], "{config}: chat_template: is [{"),
    ({"default": 1}, "{config}: chat_template: is {'default': 1}, expected a text"),
    ({"rag": "a", "tool_use": "b"}, "{config}: chat_template: holds 'rag', 'tool_use' and no 'default'"),
    (
        [{"name": "default", "template": "a"}, {"name": "default", "template": "b"}],
        "{config}: chat_template: names the template 'default' twice",
    ),
)


@pytest.mark.parametrize(("value", "line"), CONFIGS)
def test_where_there_is_none(tmp_path: Path, value: Any, line: str) -> None:
    with pytest.raises(InputError) as caught:
        find_template(tmp_path, {} if value is None else {"chat_template": value})
    for name, path in (("{folder}", tmp_path), ("{config}", tmp_path / "tokenizer_config.json")):
        line = line.replace(name, str(path))
    assert str(caught.value).startswith(line)


def test_files(tmp_path: Path) -> None:
    config = {"chat_template": "config"}
    more = tmp_path / "additional_chat_templates"
    more.mkdir()
    (more / "rag.jinja").write_text("rag")
    with pytest.raises(InputError, match=r"additional_chat_templates: holds 'rag' and no default\.jinja"):
        find_template(tmp_path, config)
    (tmp_path / "chat_template.jinja").write_text("file")
    assert find_template(tmp_path, config).text == "file"
    (more / "default.jinja").write_text("default")
    assert find_template(tmp_path, config).text == "default"
    (more / "default.jinja").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"default\.jinja: is not UTF-8 text"):
        find_template(tmp_path, config)
    (more / "default.jinja").write_bytes(b"a" * ((1 << 20) + 1))
    with pytest.raises(InputError, match=r"default\.jinja: holds more than 1,048,576 bytes"):
        find_template(tmp_path, config)
    (more / "default.jinja").unlink()
    os.mkfifo(more / "default.jinja")
    with pytest.raises(InputError, match=r"default\.jinja: is a FIFO"):
        find_template(tmp_path, config)
