"""A design as the engine's own tests see it (``etchproof.host``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from etchproof.errors import InputError
from etchproof.host import stimulus
from etchproof.host.stimulus import StreamFacts
from etchproof.project.declaration import Project
from etchproof.project.sections import word_bits
from etchproof.run import hooks
from etchproof.run.design import Design


def test_modules(project: Project) -> tuple[str, ...]:
    """Every module whose tests cocotb may run: the project's, and with a ``[host]`` the engine's."""
    return (*project.verif.tests, *(() if project.host is None else (stimulus.MODULE,)))


def generation_test(project: Project) -> str:
    """The test that generates text."""
    return project.verif.generation if project.host is None else stimulus.GENERATION


def directed_test(project: Project) -> str:
    """The test of given tokens."""
    return project.signoff.directed if project.host is None else stimulus.DIRECTED


def longest_sequences(design: Design, config: Mapping[str, Any]) -> list[tuple[Any, int | None]]:
    """Items as long as a run's sequences may come to be, of the base and of each adapter; their values mean nothing."""
    if "vectors" in config:
        return [(np.array(config["vectors"], np.int64), None)]
    longest: dict[int | None, list[int]] = {}
    for text in config.get("sequences", ()):
        items = [*text["prompt"], *([text["prompt"][-1]] * (text["new_tokens"] - 1))]
        known = longest.setdefault(text.get("adapter"), items)
        if len(items) > len(known):
            longest[text.get("adapter")] = items
    for tokens in config.get("directed", ()):
        if len(tokens) > len(longest.setdefault(None, tokens)):
            longest[None] = tokens
    return [(items, adapter) for adapter, items in longest.items()]


def run_facts(design: Design, config: Mapping[str, Any]) -> StreamFacts | None:
    """As ``stream_facts``, with the cycles of every position that a run of that configuration reaches.

    Raises:
        InputError: as ``stream_facts``, or the cycle model gives no number of cycles.
    """
    facts, cycles = stream_facts(design), hooks.cycles(design.project)
    if facts is None or cycles is None:
        return facts
    found = tuple(cycles(design.plan, position) for position in range(stimulus.longest(facts, config)))
    for position, count in enumerate(found):
        if type(count) is not int or count < 0:
            raise InputError(
                f"says {count!r} of position {position}, expected a number of cycles",
                source=design.project.file,
                key="cycles.model",
            )
    return replace(facts, cycles=found)


def stream_facts(design: Design) -> StreamFacts | None:
    """What the engine's tests have to know of the chip; None for a project without ``[host]``.

    Raises:
        InputError: what goes in does not fit the port, or the answer is none of the taps.
    """
    project = design.project
    if project.host is None:
        return None
    host, inputs = project.host, design.inputs
    in_bits = word_bits(host.input.data)
    least, most = inputs.element_range or (0, (1 << min(in_bits, 63)) - 1)
    if inputs.vocab_size is not None:
        least, most = 0, inputs.vocab_size - 1
    if not -(1 << in_bits - 1) <= least <= most < 1 << (in_bits - (least < 0)):
        raise InputError(
            f"has {in_bits} bits, which do not hold {least} .. {most}", source=project.file, key="host.input"
        )
    if inputs.elements > 1 and host.input.last is None:
        raise InputError(
            f"has no last pin, and vectors of {inputs.elements} elements go in",
            source=project.file,
            key="host.input",
        )
    answer = host.answer
    if (-1, answer) not in design.taps.by_key:
        raise InputError(f"{answer!r} is no tap outside the layers", source=project.file, key="host.answer")
    return StreamFacts(
        vocab_size=inputs.vocab_size,
        elements=inputs.elements,
        context=inputs.context,
        least=least,
        most=most,
        in_bits=in_bits,
        out_bits=word_bits(host.output.data),
        answer=answer,
        holds=host.output.ready is not None,
        timeout_cycles=host.timeout_cycles,
    )
