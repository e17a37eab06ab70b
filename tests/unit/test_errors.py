"""A refusal is one line that can be printed and read, whatever the input held."""

from __future__ import annotations

import pytest

from etchproof.errors import InputError


@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b", "\0", "\u2028", "\u202e", "\x85", "\ud800", "\u00a0"])
def test_one_line_that_can_be_printed(sign: str) -> None:
    error = InputError(f"is {sign}[2J", source=f"a{sign}b", key=f"k{sign}", hint=f"h{sign}")
    assert str(error).isprintable()
    assert len(str(error).splitlines()) == 1
    assert error.problem == f"is {sign}[2J"


def test_a_line_has_an_end() -> None:
    said = str(InputError("x" * 5000, source="file", hint="do this"))
    assert len(said) == 1000
    assert said.startswith("file: xxx") and said.endswith("x (do this)")
    assert str(InputError("x" * 900, source="file")) == "file: " + "x" * 900
