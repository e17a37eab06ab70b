"""Rendering: templates and hand-written files in, one folder of SystemVerilog out, formatted and named by its content.

Deterministic: the same project, plan and tool versions give the same bytes on any machine and day.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

import etchproof
from etchproof.errors import InputError, said_by_the_system
from etchproof.files.regular import exists, read_bytes, read_text
from etchproof.project.sources import files_below
from etchproof.tools import find_formatter

_LIMIT_BYTES: Final = (
    512 << 10
)  # of a source or template: Jinja and the formatter take seconds for each megabyte
LIBRARY: Final = Path(__file__).parent / "sv"
"""The engine's own SystemVerilog: the taps. It is part of every fabric, and simulation only (docs/taps.md)."""

FORMAT_FLAGS: Final = (
    "--column_limit=100",
    "--indentation_spaces=2",
    "--port_declarations_indentation=indent",
    "--formal_parameters_indentation=indent",
    "--named_port_indentation=indent",
    "--named_parameter_indentation=indent",
    # Columns are the author's choice: the formatter's own give way wherever one long comment does not fit.
    "--port_declarations_alignment=preserve",
    "--formal_parameters_alignment=preserve",
    "--assignment_statement_alignment=preserve",
    "--module_net_variable_alignment=preserve",
    "--case_items_alignment=preserve",
    "--failsafe_success=false",
)
"""The formatter's flags, for rendered and hand-written SystemVerilog alike: lowRISC's 100 columns and 2 spaces."""


@dataclass(frozen=True)
class Rendering:
    """One file to render: a template of the project, the output's name, and what the template sees."""

    template: str
    output: str
    context: Mapping[str, Any]


def render(
    renderings: Sequence[Rendering], *, templates: Path | None, hw: Path | None, out: Path
) -> list[str]:
    """Write the chip's SystemVerilog to ``out``: hand-written files copied, templates rendered and formatted.

    The engine's taps (``LIBRARY``) are written beside them.

    Args:
        renderings: what to render, in compilation order; a plan's, never a checkpoint's.
        templates: the project's templates; None without any.
        hw: SystemVerilog that goes with them; files below it are copied flat. None for none.
        out: an empty folder.

    Returns:
        The files' names in compilation order: packages first, Verilator control files last.

    Raises:
        InputError: a template is missing or does not fit its context, two files have one name, or the formatter
            is missing or refuses what was rendered.
    """
    texts = {path.name: read_text(path) for path in library_files()}
    for path in files_below(hw) if hw is not None else ():
        if path.suffix == ".sv":
            if path.name in texts:
                which = "is Etchproof's own" if (LIBRARY / path.name).exists() else "is there twice"
                raise InputError(f"{which}, and files are copied flat", source=hw, key=path.name)
            texts[path.name] = read_text(path, _LIMIT_BYTES)
    if renderings and templates is None:
        raise InputError("is missing, and something is to be rendered", key="rtl.templates")
    folder = templates or out  # of which nothing is asked
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _template(folder / name)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    rendered = []
    for item in renderings:
        if item.output in texts:
            raise InputError(
                "is both hand-written and rendered, or rendered twice", source=hw or folder, key=item.output
            )
        texts[item.output] = _header(item, folder) + _render(environment, item, folder)
        rendered.append(item.output)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    if formatted := [out / name for name in rendered if name.endswith(".sv")]:
        format_files(formatted)
    return compile_order(texts)


def library_files() -> list[Path]:
    """The files of ``LIBRARY``, by name."""
    return sorted(LIBRARY.glob("*.sv"))


def _template(path: Path) -> str | None:
    """A template's text; None where there is none of that name, as Jinja asks for it."""
    return read_text(path, _LIMIT_BYTES) if exists(path) else None


def compile_order(names: Iterable[str]) -> list[str]:
    """Packages first, Verilator control files last."""
    return sorted(names, key=lambda name: (name.endswith(".vlt"), not name.endswith("_pkg.sv"), name))


def _render(environment: jinja2.Environment, item: Rendering, templates: Path) -> str:
    try:
        return environment.get_template(item.template).render(item.context)
    except jinja2.TemplateError as error:
        raise InputError(
            f"{type(error).__name__}: {error}",
            source=templates / item.template,
            hint="mend the template or its view",
        ) from error


def _header(item: Rendering, templates: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(templates.glob("*.j2")):
        digest.update(read_bytes(path))
    digest.update(json.dumps(item.context, default=_jsonable, sort_keys=True).encode())
    comment = "//"
    return (
        f"{comment} Generated by Etchproof {etchproof.__version__} from {item.template}; do not edit.\n"
        f"{comment} Inputs: {digest.hexdigest()[:32]}\n"
    )


def _jsonable(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} in a template's context has no canonical form")


def format_files(paths: Sequence[Path]) -> None:
    """Format SystemVerilog in place with the pinned formatter.

    Raises:
        InputError: the formatter is missing, or refuses a file.
    """
    command = [str(find_formatter()), *FORMAT_FLAGS, "--inplace", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if said := said_by_the_system(done.stderr + done.stdout):
            raise InputError(f"cannot be used: {said}", source=paths[0].parent)
        first = (done.stderr or done.stdout).strip().splitlines()[:1] or ["no message"]
        raise InputError(
            f"the formatter refused what was rendered: {first[0]}", hint="mend the template or its view"
        )
