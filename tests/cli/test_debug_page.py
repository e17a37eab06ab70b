"""docs/debug.md and its pictures are what the page's own commands give."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from bench.debug import COMMANDS, PAGE, PICTURES, Made, make

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def made(cli_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("debug").resolve(), cli_env)


def without_numbers(text: str) -> str:
    """What does not hang on the last bit of a floating-point unit, with which the model was quantized."""
    return re.sub(r"[0-9][0-9,.]*", "#", text)


def test_the_page_is_what_its_commands_say(made: Made) -> None:
    """To renew it: python -m bench.debug."""
    page = PAGE.read_text(encoding="utf-8")
    assert without_numbers(page) == without_numbers(made.page)
    for line in COMMANDS.values():
        assert f"    etchproof {line}\n" in page
    assert len(made.commands) == len(COMMANDS)


def test_the_pictures_are_drawn_from_the_run(made: Made) -> None:
    for name, text in made.pictures.items():
        stored = (PICTURES / name).read_text(encoding="utf-8")
        tags = [[element.tag for element in ET.fromstring(one).iter()] for one in (stored, text)]
        assert tags[0] and tags[0] == tags[1], name
        assert without_numbers(stored) == without_numbers(text), name


def test_the_wrong_lane_is_marked(made: Made) -> None:
    """The value that the diagnosis names stands in the waves, right behind the marker."""
    first = re.search(r"^first .*expected (-?\d+), got (-?\d+)$", made.page, re.MULTILINE)
    assert first is not None
    waves = made.pictures["waves.svg"]
    assert f">{first[2]}</text>" in waves
    assert ">first_wrong</text>" in waves
    assert f">{first[1]}</text>" not in waves


def test_one_column_is_wrong(made: Made) -> None:
    tips = re.findall(
        r"<title>position (\d+), element (\d+): ([+-]\d+)</title>", made.pictures["elements.svg"]
    )
    assert tips and {element for _, element, _ in tips} == {"17"}
