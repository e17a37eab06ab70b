"""The adapters of a run: which there are, in which slots of the chip they lie and when, and faults there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from etchproof.checkpoint import ModelConfig
from etchproof.compare.comparator import frame_sha256
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.quantize import quantize_adapter_cached
from etchproof.quantize.quantized_model import QuantizedAdapter, QuantizedModel
from etchproof.quantize.recipe import Recipe
from etchproof.run import hooks
from etchproof.run.design import Design
from etchproof.verdict.expect import Expectation, Generation, Load

if TYPE_CHECKING:
    from etchproof.adapter import Adapter

SWAP_TOKENS: Final = 8
"""Generated tokens of each sequence of the swap schedule, where the run generates as many."""

DRAWN: Final = "@"  # begins the name of a kind that the project draws
ADAPTERS_FOLDER: Final = "adapters"  # of a run: the frames

Fault = Mapping[str, int | str]
"""A bit of an adapter in its slot that is inverted after the slot's first load, as the testbench is told of it."""


@dataclass(frozen=True)
class Plan:
    """What a run that generates has to do.

    Attributes:
        sequences: one after the other.
        loads: (adapter, slot) of each load of an adapter, in order.
    """

    sequences: tuple[Generation, ...]
    loads: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter, ready to be written into its slot.

    Attributes:
        quantized: its integers.
        slot: of the chip.
        frame: the words that the host writes.
        cycles: what the chip takes for them when the host does not stall.
    """

    quantized: QuantizedAdapter
    slot: int
    frame: NDArray[np.uint32]
    cycles: int


def slot_of(adapter: int, slots: int) -> int:
    """Where the run's adapter of that index lies: adapters beyond the chip's slots take turns."""
    return adapter % slots


def check_slots(project: Project, recipe: Recipe | None) -> None:
    """Refuse adapters where there is no place for one.

    Raises:
        InputError: the project's chip takes none, or the recipe's has no slot.
    """
    if project.lora is None:
        raise InputError(
            "the project's chip takes no adapters",
            source=project.file,
            key="--adapter",
            hint="[lora] is missing",
        )
    if recipe is not None and recipe.lora.slots == 0:
        raise InputError("the recipe's chip has no slot for adapters", source=recipe.source, key="lora.slots")


def read_adapters(
    project: Project, model: ModelConfig, recipe: Recipe, folders: Sequence[Path]
) -> tuple[Adapter, ...]:
    """Import the adapters of a run.

    Raises:
        InputError: the chip takes none, an adapter is bad or does not fit it, or two are the same.
    """
    if not folders:
        return ()
    check_slots(project, recipe)
    from etchproof.adapter import load_adapter  # slow to import, with PyTorch

    adapters: list[Adapter] = []
    for folder in folders:
        adapter = load_adapter(folder, model, recipe.lora.max_rank)
        same = next((other for other in adapters if other.sha256 == adapter.sha256), None)
        if same is not None:
            raise InputError(f"is the same adapter as {same.path}", source=adapter.path, key="--adapter")
        adapters.append(adapter)
    return tuple(adapters)


def prepare(
    design: Design,
    model: QuantizedModel,
    adapters: Sequence[Adapter],
    cache: Path,
    progress: Callable[[str], None] | None = None,
) -> tuple[LoadedAdapter, ...]:
    """Quantize the adapters and write their frames.

    Raises:
        InputError: one does not fit the chip's arithmetic, or two are the same in integers.
    """
    quantized = [
        quantize_adapter_cached(model, adapter, design.checkpoint, cache, progress=progress)
        for adapter in adapters
    ]
    return place(design, quantized)


def run_adapters(
    design: Design, model: QuantizedModel, names: Sequence[str], seed: int, cache: Path
) -> tuple[LoadedAdapter, ...]:
    """The adapters of a test's run: folders, and kinds that the project draws, ``@kind``, in the order of the names.

    Args:
        seed: of what is drawn.

    Raises:
        InputError: the chip takes none, there is no such kind, or as ``read_adapters`` and ``prepare``.
    """
    if not names:
        return ()
    project = design.project
    check_slots(project, design.recipe)
    assert project.lora is not None
    folders = [Path(name) for name in names if not name.startswith(DRAWN)]
    read = iter(read_adapters(project, design.checkpoint.config, design.recipe, folders))
    quantized: list[QuantizedAdapter] = []
    for name in names:
        if not name.startswith(DRAWN):
            quantized.append(quantize_adapter_cached(model, next(read), design.checkpoint, cache))
        else:
            draw = hooks.drawn_adapters(project, name)
            quantized += draw(name.removeprefix(DRAWN), model, design.plan, seed)
    return place(design, quantized)


def place(design: Design, quantized: Sequence[QuantizedAdapter]) -> tuple[LoadedAdapter, ...]:
    """Adapters with their slots and frames.

    Raises:
        InputError: two are the same in integers.
    """
    if design.project.lora is None:
        return ()
    frame_of, cycles_of = hooks.frame(design.project), hooks.load_cycles(design.project)
    loaded: list[LoadedAdapter] = []
    for index, adapter in enumerate(quantized):
        for other in loaded:
            if _equal(adapter, other.quantized):
                raise InputError(
                    f"holds the same integers as {other.quantized.name}, so that nothing tells them apart",
                    source=adapter.name,
                    key="--adapter",
                )
        slot = slot_of(index, design.slots)
        frame = frame_of(design.plan, adapter, slot)
        loaded.append(LoadedAdapter(adapter, slot, frame, int(cycles_of(design.plan, frame))))
    return tuple(loaded)


def write_frames(folder: Path, loaded: Sequence[LoadedAdapter]) -> list[dict[str, Any]]:
    """The frames on disk, as little-endian 32-bit words, and what the testbench is told of them."""
    folder.mkdir()
    told = []
    for index, adapter in enumerate(loaded):
        file = folder / f"{index}.slot{adapter.slot}.bin"
        file.write_bytes(adapter.frame.astype(np.dtype("<u4")).tobytes())
        told.append({"name": adapter.quantized.name, "slot": adapter.slot, "frame": str(file)})
    return told


def plan_run(
    sequence: Generation, adapters: Sequence[Adapter] | Sequence[QuantizedAdapter], slots: int
) -> Plan:
    """The sequences of a run, all from one prompt, and the loads between them.

    The base alone first, then each adapter; then, with adapters, short sequences in which each of base and adapters
    follows each other one once. An adapter is loaded before a sequence of its own when its slot holds another.

    Args:
        sequence: the base's.
    """
    count = len(adapters)
    order: list[int | None] = [None, *range(count)]
    sequences = [_with(sequence, adapter, sequence.new_tokens) for adapter in order]
    short = min(sequence.new_tokens, SWAP_TOKENS)
    sequences += [_with(sequence, adapter, short) for adapter in swaps(count)]
    return Plan(tuple(sequences), loads_of(sequences, slots))


def loads_of(sequences: Sequence[Generation], slots: int) -> tuple[tuple[int, int], ...]:
    """(adapter, slot) of the loads before a run's sequences: one where the slot holds another adapter."""
    loads: list[tuple[int, int]] = []
    held: dict[int, int] = {}
    for planned in sequences:
        if planned.adapter is not None and held.get(slot_of(planned.adapter, slots)) != planned.adapter:
            held[slot_of(planned.adapter, slots)] = planned.adapter
            loads.append((planned.adapter, slot_of(planned.adapter, slots)))
    return tuple(loads)


def expect_texts(
    sequences: Sequence[Generation], adapters: Sequence[LoadedAdapter], slots: int
) -> Expectation:
    """What a run that generates has to do: its sequences, and each adapter's frame where a sequence needs it."""
    loads = [
        Load(
            len(adapters[index].frame),
            frame_sha256(adapters[index].frame),
            slot=slot,
            adapter=index,
        )
        for index, slot in loads_of(sequences, slots)
    ]
    return Expectation(texts=tuple(sequences), loads=tuple(loads))


def swaps(count: int) -> list[int | None]:
    """After the last adapter: a walk through base (None) and adapters in which each follows each other one once."""
    left = {state: [other for other in range(-1, count) if other != state] for state in range(-1, count)}
    path, circuit = [count - 1], []
    while path:  # Hierholzer: every state has as many ways in as out
        if left[path[-1]]:
            path.append(left[path[-1]].pop(0))
        else:
            circuit.append(path.pop())
    return [None if state < 0 else state for state in circuit[-2::-1]]


def locate_faults(
    project: Project, plan: Any, texts: Sequence[str], adapters: Sequence[Adapter], slots: int
) -> tuple[Fault, ...]:
    """Where the bits of adapters are that ``--inject`` names.

    Args:
        texts: each of one bit, as the project names it.
        adapters: of the run, in order.
        slots: of the chip.

    Raises:
        InputError: a text names no bit of what is loaded, or two name the same bit.
    """
    if not texts:
        return ()
    site = hooks.adapter_site(project, texts[0])
    first = tuple(adapters[:slots])
    if not first:
        raise InputError("no adapter is loaded", key=f"--inject {texts[0]}", hint="name one with --adapter")
    found: dict[frozenset[tuple[str, int | str]], str] = {}
    faults: list[Fault] = []
    for text in texts:
        fault = dict(site(text, first, plan))
        place = frozenset(fault.items())
        if place in found:
            raise InputError(f"{text!r} and {found[place]!r} are the same bit", key="--inject")
        found[place] = text
        faults.append(fault)
    return tuple(faults)


def _with(sequence: Generation, adapter: int | None, new_tokens: int) -> Generation:
    return Generation(sequence.prompt, new_tokens, sequence.stop_tokens, adapter)


def _equal(one: QuantizedAdapter, other: QuantizedAdapter) -> bool:
    return one.linears.keys() == other.linears.keys() and all(
        np.array_equal(x.a, y.a)
        and np.array_equal(x.b, y.b)
        and (x.a_shift, x.b_shift) == (y.a_shift, y.b_shift)
        for x, y in zip(one.linears.values(), other.linears.values(), strict=True)
    )
