"""A message as a model's own chat template puts it: the ids of transformers' ``apply_chat_template``.

The template runs in a process of its own (``chat_child.py``): it comes with a folder, and can loop, fill memory, or try
to reach out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from etchproof.checkpoint.tokenizer import CONFIG_FILE, Tokenizer
from etchproof.contained.parent import Child, ContainedError
from etchproof.errors import InputError, shown
from etchproof.files.regular import exists, read_text

TEMPLATE_FILE: Final = "chat_template.jinja"
_NAMED_TEMPLATES: Final = "additional_chat_templates"
_DEFAULT: Final = "default"
_KEY: Final = "chat_template"
_KEY_WITHIN: Final = "tokenizer.chat_template"  # of a GGUF file
_TEMPLATE_BYTES: Final = 1 << 20  # the longest real one is below 30 kB
_CHILD: Final = Path(__file__).with_name("chat_child.py")
_HINT: Final = "give the prompt as --prompt or --prompt-ids"


@dataclass(frozen=True)
class Template:
    """A chat template: its text, the file that holds it, and under which key (None: the file is the template)."""

    text: str
    source: Path
    key: str | None = None

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Chat:
    """A user's message in its template, ready to be fed.

    Attributes:
        message: what the user says.
        ids: token ids, with the special tokens that the template writes and no others.
        template: that made them.
        now: the local time that the template asked for; None where it did not ask, and every day gives the same ids.
    """

    message: str
    ids: tuple[int, ...]
    template: Template
    now: datetime | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user is told of it, a line each."""
        if self.now is None:
            return ()
        return (f"the chat template writes the date {self.now:%Y-%m-%d}: another day gives other ids",)


def no_template(whose: str) -> InputError:
    """Why ``--chat`` is refused for what comes in no checkpoint's folder."""
    return InputError(f"{whose} have no chat template", key="--chat", hint="give --prompt-ids")


def find_template(folder: Path, config: dict[str, Any]) -> Template:
    """The template of a folder that transformers would take without tools.

    A file ``chat_template.jinja`` comes before ``chat_template`` in ``tokenizer_config.json``, which is a text, or has
    several by name, of which ``default`` counts.

    Args:
        config: of the folder's ``tokenizer_config.json``; empty where there is none.

    Raises:
        InputError: there is none, or it is bad.
    """
    more = folder / _NAMED_TEMPLATES
    names = sorted(path.stem for path in more.glob("*.jinja"))
    for path in (more / f"{_DEFAULT}.jinja", folder / TEMPLATE_FILE):
        if exists(path):
            return Template(read_text(path, _TEMPLATE_BYTES), path)
    if names:
        raise InputError(
            f"holds {', '.join(map(shown, names))} and no default.jinja", source=more, hint=_HINT
        )
    found, path = config.get(_KEY), folder / CONFIG_FILE
    if found is None:
        problem = f"there is no chat template: no {TEMPLATE_FILE}, and no {_KEY} in {CONFIG_FILE}"
        raise InputError(problem, source=folder, hint=_HINT)
    if isinstance(found, str):
        return Template(found, path, _KEY)
    templates = _by_name(found, path)
    if _DEFAULT not in templates:
        known = ", ".join(map(shown, templates)) or "nothing"
        raise InputError(f"holds {known} and no {_DEFAULT!r}", source=path, key=_KEY, hint=_HINT)
    return Template(templates[_DEFAULT], path, _KEY)


def _template_within(tokenizer: Tokenizer) -> Template:
    """The template of a tokenizer of another format, which has one or none."""
    text = tokenizer.config.get(_KEY)
    if text is None:
        raise InputError("there is no chat template", source=tokenizer.path, key=_KEY_WITHIN, hint=_HINT)
    return Template(text, tokenizer.path, _KEY_WITHIN)


def _by_name(found: Any, source: Path) -> dict[str, str]:
    """Several templates: an object, or a list of objects with ``name`` and ``template``."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(found, dict):
        pairs = list(found.items())
    elif isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        pairs = [(entry.get("name"), entry.get("template")) for entry in found]
    if not pairs or not all(isinstance(part, str) for pair in pairs for part in pair):
        raise InputError(
            f"is {shown(found)}, expected a text, or a list of objects with a name and a template",
            source=source,
            key=_KEY,
        )
    templates = dict(pairs)
    if len(templates) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"names the template {shown(twice)} twice", source=source, key=_KEY)
    return templates


def render(message: str, template: Template, special: dict[str, str], now: datetime) -> tuple[str, bool]:
    """The text that a template makes of one user's message, with the beginning of the answer.

    Args:
        special: the named special tokens, ``bos_token`` and so on.
        now: the local time, for a template that asks for it.

    Returns:
        The text, and whether the template asked for the time.

    Raises:
        InputError: the template is none, fails, refuses the message, takes more than 5 seconds of processor time or
            1 GiB, makes more than 16 MiB, or reaches for what it may not have.
    """
    child = Child(_CHILD)
    try:
        made = child.ask(
            template=template.text,
            messages=[{"role": "user", "content": message}],
            special=special,
            now=now.isoformat(),
        )
    except ContainedError as error:
        raise InputError(
            f"the chat template {error}", source=template.source, key=template.key, hint=_HINT
        ) from None
    finally:
        child.close()
    return made["text"], made["asked"]


def chat(message: str, tokenizer: Tokenizer, now: datetime | None = None) -> Chat:
    """A user's message in the template that came with the tokenizer.

    Args:
        now: the local time that the template is told; None is the clock's.

    Raises:
        InputError: as ``find_template`` and ``render``, or the text comes to no token, or to one beyond the vocabulary.
    """
    if tokenizer.own_format:
        template = find_template(tokenizer.path.parent, tokenizer.config)
    else:
        template = _template_within(tokenizer)
    now = datetime.now() if now is None else now
    text, asked = render(message, template, tokenizer.special, now)
    ids = tuple(tokenizer.encode_chat(text))
    if not ids:
        raise InputError(
            "the chat template makes no token of the message",
            source=template.source,
            key=template.key,
            hint=_HINT,
        )
    return Chat(message, ids, template, now if asked else None)
