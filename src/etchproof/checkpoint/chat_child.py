"""Jinja in a process of its own: the text that a chat template makes of messages. Imported by nobody.

A template is data of a stranger's folder. It runs in Jinja's immutable sandbox, sees messages, the names of special
tokens and the functions below, and nothing of Python. What those functions are is what transformers' templates rely on:
``raise_exception``, ``strftime_now``, a ``tojson`` that escapes no HTML, ``namespace``, ``dict``, ``break`` and
``continue``, and blocks of ``generation``. Jinja's filter ``random`` and its ``lipsum`` are left out: a message has one
encoding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from etchproof.contained.child import RefusedError, serve

_SAID_CHARS: Final = 200


class _Generation(Extension):
    """``{% generation %}`` marks what an assistant wrote; it changes no text."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own attribute)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_inner"), [], [], body).set_lineno(line)

    def _inner(self, caller: Callable[[], str]) -> str:
        return caller()


class _Namespace(jinja2.utils.Namespace):
    """A namespace without names that begin with an underscore: Python calls some of those by itself."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        own, *given = args
        names = dict(*given, **kwargs)
        for name in names:
            _check_name(name)
        jinja2.utils.Namespace.__init__(own, names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace takes no name like {name!r}")


class _Dict:
    """What a template has for ``dict``: the two ways to make one, and not the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: object) -> None:
    raise RefusedError(f"refuses the message: {_short(message)}")


def _short(value: object) -> str:
    return " ".join(str(value).split())[:_SAID_CHARS]


def _render(request: dict[str, Any]) -> dict[str, Any]:
    """The text of ``messages``, and whether the template asked for the time.

    The request has ``template``, ``messages``, ``special`` (the named special tokens) and ``now`` in ISO form.
    """
    asked = False
    now = datetime.fromisoformat(request["now"])

    def strftime_now(form: str) -> str:
        nonlocal asked
        asked = True
        return now.strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    del environment.filters["random"], environment.globals["lipsum"]
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": strftime_now,
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    try:
        template = environment.from_string(request["template"])
        text = template.render(
            messages=request["messages"],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **request["special"],
        )
    except jinja2.TemplateSyntaxError as error:
        raise RefusedError(f"is no Jinja template: line {error.lineno}: {_short(error.message)}") from None
    except SecurityError as error:
        raise RefusedError(f"reaches for what no template may: {_short(error)}") from None
    except (MemoryError, RefusedError):
        raise
    except Exception as error:
        raise RefusedError(f"fails: {_short(error) or type(error).__name__}") from None
    return {"text": text, "asked": asked}


if __name__ == "__main__":
    serve(_render)
