"""The sections of ``etchproof.toml`` (docs/project.md), each a record."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from etchproof.files.validation import as_tuple

ObjectName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
"""``package.module:attribute``, imported from the project's root."""

ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
Text = Annotated[str, Field(min_length=1)]


def _modules(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _places(value: object) -> object:
    """A list of files is looked for where each lies."""
    return {name: name for name in value} if isinstance(value, list) else value


Texts = Annotated[tuple[Text, ...], BeforeValidator(as_tuple)]
"""A list of texts."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSection(Section):
    """``[model]``: ``load(path)`` reads a model of the project's own kind (``etchproof.contract.model``).

    Without this section a model is a Hugging Face Llama, and a recipe says how it is quantized.
    """

    load: ObjectName


class GoldenSection(Section):
    """``[golden]``: the model that says what the chip has to compute (``etchproof.contract.golden``).

    ``factory(model, adapters)`` makes one that gives sessions; ``session(model)`` makes a session itself. ``data`` has
    patterns of files and folders that the project's Python reads, beside the model's (``etchproof.project.reading``).
    """

    factory: ObjectName | None = None
    session: ObjectName | None = None
    data: Texts = ()

    @model_validator(mode="after")
    def _one(self) -> GoldenSection:
        if (self.factory is None) == (self.session is None):
            raise ValueError("needs either factory or session")
        return self


class ChipSection(Section):
    """``[chip]``: the project's own record of the chip's shapes and widths, which every other function is given.

    ``plan(config, recipe)`` works it out for a Llama under a recipe, ``plan(model)`` for a model of the project's own.
    """

    plan: ObjectName


class RtlSection(Section):
    """``[rtl]``: what is simulated: files as they are, rendered ones, or both. Paths are relative to the root.

    Attributes:
        top: the top module.
        files: patterns of files of any suffix, copied byte for byte, in the order of compilation.
        filelist: lists of files, ahead of ``files``: command files (.f), or EDA metadata as FuseSoC writes it (.yml).
            Paths in a command file start from the root, after "-F " from the list's own folder
            (``etchproof.project.filelist``).
        testbench: patterns of files that are simulated beside the chip and are no part of it, such as transactors:
            SystemVerilog, compiled after ``files``, and C++, linked into the simulator.
        include: folders of included files.
        defines: macros; an empty value defines the name alone.
        parameters: of the top module, in Verilog's own words.
        data: files that the RTL reads while it runs, by where it looks from its working folder.
        waive: warnings of Verilator that do not fail the build, each with its reason.
        renderings: ``renderings(plan)`` says what to render of the folder ``templates``.
        templates: the folder of templates.
        hw: a folder of SystemVerilog that goes with them: each ``.sv`` below it is copied into one flat folder.
    """

    top: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
    files: Texts = ()
    filelist: Annotated[tuple[Text, ...], BeforeValidator(_modules)] = ()
    testbench: Texts = ()
    include: Texts = ()
    defines: dict[str, str] = {}
    parameters: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Text] = {}
    data: Annotated[dict[str, Text], BeforeValidator(_places)] = {}
    waive: dict[str, Text] = {}
    renderings: ObjectName | None = None
    templates: Text | None = None
    hw: Text | None = None

    @model_validator(mode="after")
    def _names_something(self) -> RtlSection:
        if not (self.files or self.filelist or self.hw or self.renderings):
            raise ValueError("names nothing: give files or a filelist, or renderings with templates and hw")
        return self


class RomSection(Section):
    """``[rom]``: the mask ROM.

    Of ROMs that the engine fills, ``images(model, plan)`` gives the images, and ``site(text, plan)`` says where the bit
    of a weight is etched. Of memories that the RTL fills itself with ``$readmemh``, ``memories(model)`` gives the
    content (``etchproof.contract.memory``). ``flipped(model, place, index, bit)`` gives the model with one bit of one
    word inverted; it is needed only where ``memories`` gives copies of what the model holds.
    """

    images: ObjectName | None = None
    site: ObjectName | None = None
    memories: ObjectName | None = None
    flipped: ObjectName | None = None

    @model_validator(mode="after")
    def _one(self) -> RomSection:
        if (self.images is None) == (self.memories is None) or (self.images is None) != (self.site is None):
            raise ValueError("needs either images and site, or memories")
        if self.flipped is not None and self.memories is None:
            raise ValueError("has flipped without memories")
        return self


class TapsSection(Section):
    """``[taps]``: ``plan(plan)`` declares the taps of a chip, in dataflow order (``etchproof.contract.taps.Tap``)."""

    plan: ObjectName


class LoraSection(Section):
    """``[lora]``: how an adapter enters the chip; a chip that takes none has no such section.

    ``frame(plan, adapter, slot)`` gives the words that the host writes, uint32, and ``load_cycles(plan, frame)`` the
    cycles that the chip takes for them. ``drawn(kind, model, plan, seed)`` draws adapters that show what trained ones
    do not; a list or ``--adapter`` names a kind as ``@kind``. ``site(text, adapters, plan)`` says where the bit of an
    adapter is that ``--inject lora:...`` names, as the testbench is told of it; ``adapters`` has one for each slot.
    """

    frame: ObjectName
    load_cycles: ObjectName
    drawn: ObjectName | None = None
    site: ObjectName | None = None


class RecipesSection(Section):
    """``[recipes]``: the folder of recipes, relative to the root, and the one used when none is named."""

    path: Text = "models/recipes"
    default: Text


class ShapesSection(Section):
    """``[shapes]``: the folder of architectures without weights, relative to the root."""

    path: Text = "models/shapes"


Pin = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
"""A port of the top module."""

Word = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\[\d{1,2}:0\])?$")]
"""A port of up to 64 bits, as Verilog declares it: "tok_id[15:0]"; without a range it is one bit."""


def word_bits(word: str) -> int:
    """The bits of a port as it is declared."""
    _, _, high = word.rstrip("]").partition("[")
    return int(high.partition(":")[0]) + 1 if high else 1


def _stream(value: object) -> object:
    """The ports of an AXI4-Stream by its prefix and the range of its data, "s_axis[15:0]"."""
    if not isinstance(value, str):
        return value
    name, bracket, bits = value.partition("[")
    return {
        "valid": f"{name}_tvalid",
        "ready": f"{name}_tready",
        "data": f"{name}_tdata{bracket}{bits}",
        "last": f"{name}_tlast",
    }


class StreamPins(Section):
    """Ports with a handshake: a word is taken at each rising edge of the clock with ``valid`` and ``ready`` high.

    Attributes:
        ready: None where each word is taken at once. An output without ``ready`` and ``last`` gives a word where
            ``valid`` rises.
        last: high with the last word of a vector; None where each vector is one word.
        status: of an answer: another value than 0 is a failure.
    """

    valid: Pin
    ready: Pin | None = None
    data: Word
    last: Pin | None = None
    status: Word | None = None

    @model_validator(mode="after")
    def _fits(self) -> StreamPins:
        for word in (self.data, self.status):
            if word is not None and word_bits(word) > MAX_WORD_BITS:
                raise ValueError(f"{word!r} has more than {MAX_WORD_BITS} bits")
        return self


MAX_WORD_BITS: Final = 64
"""Of a port that carries data."""


class HostSection(Section):
    """``[host]``: how vectors or tokens enter the chip, and its answers leave it; ``[rtl] top`` is the chip itself.

    The engine makes the simulation's top around it and brings the tests (``etchproof.host``).

    Attributes:
        clock: the chip's clock.
        reset: its reset; "!name" for one that is active low.
        input: where vectors enter: an AXI4-Stream by prefix and range, "s_axis[15:0]", or ``StreamPins``.
        output: likewise, where answers leave.
        first: an input that is high with the first vector of a sequence; without it the chip is reset before each.
        answer: the tap, outside the layers, whose elements are the words of the answer.
        constants: further inputs, each with its value.
        unused: further outputs.
        timeout_cycles: that an item and its answer may take.
    """

    clock: Pin
    reset: Annotated[str, Field(pattern=r"^!?[A-Za-z_]\w*$")]
    input: Annotated[StreamPins, BeforeValidator(_stream)]
    output: Annotated[StreamPins, BeforeValidator(_stream)]
    answer: Text
    first: Pin | None = None
    constants: dict[Pin, Annotated[int, Field(ge=0, lt=2**32)]] = {}
    unused: Annotated[tuple[Pin, ...], BeforeValidator(as_tuple)] = ()
    timeout_cycles: Annotated[int, Field(ge=1, lt=2**32)] = 20_000_000


class CyclesSection(Section):
    """``[cycles]``: how long a chip with a ``[host]`` takes.

    ``model(plan, position)`` gives the cycles from the edge that takes the first word of the item at that position to
    the edge that takes the last word of its answer, where the host stalls neither.
    """

    model: ObjectName


class VerifSection(Section):
    """``[verif]``: the modules whose tests cocotb runs, the test that generates text, and what a run has to do.

    ``expect(test, run)`` says beforehand what a run of any other test has to do (``etchproof.verdict.expect``), None
    for a test that it does not know. It is called in the process that starts the simulator; without it such a run is
    no PASS. A project with a ``[host]`` has the engine's tests beside those of its own.
    """

    tests: Annotated[tuple[ModuleName, ...], BeforeValidator(_modules)] = ()
    expect: ObjectName | None = None
    generation: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "GreedyGeneration"


class CoverageSection(Section):
    """``[coverage]``: the coverage model.

    ``rom(model, plan)`` gives what reads the mask, and ``sites(images)`` the tensors that a chip with those ROM images
    holds (``etchproof.contract.mask``); without them no bit is observed. ``groups(plan)`` gives the covergroups,
    ``sampler(model, plan)`` makes what fills them from a run (``etchproof.coverage.functional``),
    ``rom_files(model, plan, images)`` compares the ROM files with the checkpoint: problems, bits of padding.
    ``corners(model, plan, seed)`` draws a model for the same fabric whose weights reach what trained ones do not.
    ``exclusions(plan, images)`` works out which points of code coverage the chip with that mask does not have
    (``etchproof.coverage.exclusions``); without it only what the file of exclusions says is left out.
    ``tables(model, plan)`` gives the constant tables that are made in logic, as units without a ROM image; without it
    none of their bits is observed.
    """

    rom: ObjectName | None = None
    sites: ObjectName | None = None
    tables: ObjectName | None = None
    groups: ObjectName
    sampler: ObjectName
    rom_files: ObjectName
    corners: ObjectName | None = None
    exclusions: ObjectName | None = None

    @model_validator(mode="after")
    def _both(self) -> CoverageSection:
        if (self.rom is None) != (self.sites is None):
            raise ValueError("needs both rom and sites, or neither")
        if self.tables is not None and self.rom is None:
            raise ValueError("has tables without rom")
        return self


class SignoffSection(Section):
    """``[signoff]``: files, relative to the root, and two tests of the testbench.

    ``directed`` feeds given sequences of tokens. ``readback`` reads the mask ROM back and leaves ``readback.json``; it
    is None for a chip whose ROM cannot be read back. Without a file of waivers or exclusions there is none. A project
    with a ``[host]`` that brings neither testplan nor gates is signed off by the engine's (``etchproof.host``).
    """

    testplan: Text = "verif/signoff/testplan.hjson"
    gates: Text = "verif/signoff/gates.yaml"
    waivers: Text = "verif/signoff/waivers.yaml"
    exclusions: Text = "verif/signoff/exclusions.yaml"
    directed: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "DirectedTokens"
    readback: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = None


class QualifySection(Section):
    """``[qualify]``: faults, and what is known of them (``etchproof.qualify``).

    ``survivors`` lists faults that no run sees and that may stand. ``rtl(plan)`` declares what may go wrong in the RTL
    beside what the generic operators know (``etchproof.schemata.declared``). ``flow(model, seed)`` declares what may go
    wrong between a checkpoint and what golden model and chip are made of (``etchproof.qualify.wrong``).
    """

    survivors: Text = "verif/signoff/survivors.yaml"
    rtl: ObjectName | None = None
    flow: ObjectName | None = None


class DiagnoseSection(Section):
    """``[diagnose]``: why a run failed (``etchproof.contract.diagnosis``, docs/diagnose.md).

    ``units(model, plan, adapters)`` gives every unit of the chip and what may be wrong with it. Without it a golden
    model whose ``predict`` takes ``given`` is asked unit by unit; without that, too, no origin is known.
    """

    units: ObjectName | None = None


class ReplaySection(Section):
    """``[replay]``: a layer of the chip alone (``etchproof.contract.alone``).

    ``alone(model, plan, layer, adapters)`` gives a layer that can be made a chip of its own, fed recorded vectors.
    Without it a replay simulates the whole chip.
    """

    alone: ObjectName | None = None
