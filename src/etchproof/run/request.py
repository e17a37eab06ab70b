"""What a co-simulation is asked for, checked in every part before a run's folder is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from etchproof.checkpoint import Checkpoint, ModelConfig, Tokenizer
from etchproof.checkpoint.chat import Chat, chat, no_template
from etchproof.checkpoint.prompt import notes, open_tokenizer, prompt_ids
from etchproof.checkpoint.shape import RandomModel
from etchproof.compare.dump import Selection
from etchproof.compare.kept import DUMP_NAMES
from etchproof.contract.taps import TapPlan
from etchproof.errors import InputError
from etchproof.files.regular import check_writable, exists
from etchproof.host.stimulus import read_vectors
from etchproof.project.declaration import Project
from etchproof.project.sources import file_sha256
from etchproof.quantize.recipe import Recipe
from etchproof.run import flow, slots
from etchproof.run.design import Design
from etchproof.run.folder import check_out
from etchproof.run.slots import Fault, Plan
from etchproof.run.streams import stream_facts
from etchproof.run.waves import Window
from etchproof.sim.build import Kind
from etchproof.sim.run import MAX_TIMEOUT_S
from etchproof.tools import tool_versions
from etchproof.verdict.expect import Generation

if TYPE_CHECKING:
    from etchproof.adapter import Adapter

_ALL: Final = Selection()
_OF_ADAPTERS: Final = "lora:"  # a fault in an adapter begins so


@dataclass(frozen=True)
class CosimRequest:
    """What is asked for.

    Attributes:
        project: whose chip.
        model_dir: the checkpoint; None with ``random_model``.
        recipe: name or file; None is the project's default.
        prompt: text; None with ``prompt_ids`` or ``chat``. Empty text is the BOS token alone.
        prompt_ids: token ids as they are, no BOS added; None with ``prompt`` or ``chat``.
        vectors: a file of vectors, for a chip that takes no tokens; None with a prompt.
        tokens: how many to generate.
        out: the run's folder, new or empty; None for one below ``runs/``.
        inject: faults that only the simulator sees.
        dump_taps: where taps go as chip and golden have them: an .npz file, or a folder that is new or empty.
        dump_only: which taps of which tokens.
        seed: of everything random but the weights of ``random_model``.
        kind: which build of the simulator.
        timeout_s: wall-clock limit of the simulation.
        context: positions of the chip, in place of the recipe's.
        random_model: a shape to be filled with random weights, in place of a checkpoint.
        waves: what is written of the chip's waves, by a simulator that is built for them (``kind``); None for nothing.
        profile: whether the record says where the time went.
        adapters: folders of the adapters that run beside the base.
        chat: a user's message, put into the model's chat template; None with ``prompt`` or ``prompt_ids``.
    """

    project: Project
    model_dir: Path | None
    recipe: str | None
    prompt: str | None
    prompt_ids: tuple[int, ...] | None
    tokens: int
    vectors: Path | None = None
    out: Path | None = None
    inject: tuple[str, ...] = ()
    dump_taps: Path | None = None
    dump_only: Selection = _ALL
    seed: int = 1
    kind: Kind = "fast"
    timeout_s: float = 600.0
    context: int | None = None
    random_model: RandomModel | None = None
    profile: bool = False
    adapters: tuple[Path, ...] = ()
    waves: Window | None = None
    chat: str | None = None

    def __post_init__(self) -> None:
        if (self.model_dir is None) == (self.random_model is None):
            raise ValueError("a run has either a checkpoint or a random model")


def option_words(request: CosimRequest) -> list[str]:
    """What a request says to ``etchproof cosim`` beside model, project, recipe and prompt."""
    words = [f"--tokens={request.tokens}", f"--seed={request.seed}"]
    words.append("--waves" if request.waves is not None else f"--build={request.kind}")
    words.append(f"--timeout={request.timeout_s:g}")
    words += [f"--adapter={folder.absolute()}" for folder in request.adapters]
    words += [f"--inject={site}" for site in request.inject]
    if request.context is not None:
        words.append(f"--context={request.context}")
    if request.profile:
        words.append("--profile")
    return words


@dataclass(frozen=True)
class Job:
    """A request whose every part has been checked, before anything is written but the cache.

    Attributes:
        request: as it came.
        design: the checkpoint under its recipe.
        asked: the recipe as named, before random weights or ``--context`` changed it; None where models have none.
        tokenizer: None where the checkpoint has none.
        chat: the message in its template; None where the prompt is none.
        notes: where the checkpoint and its tokenizer disagree, a line each.
        adapters: imported.
        planned: the sequences and loads of the run; no sequence where vectors are fed.
        vectors: what is fed, (vectors, elements); None where tokens are. ``vectors_sha256``: hash of their file.
        rom_sites: the faults in ROM, as they are named.
        adapter_faults: where the faults in adapters are.
        tools: version of each tool.
    """

    request: CosimRequest
    design: Design
    asked: Recipe | None
    tokenizer: Tokenizer | None
    adapters: tuple[Adapter, ...]
    planned: Plan
    rom_sites: tuple[str, ...]
    adapter_faults: tuple[Fault, ...]
    tools: dict[str, str]
    notes: tuple[str, ...] = ()
    vectors: NDArray[np.int64] | None = None
    vectors_sha256: str | None = None
    chat: Chat | None = None


def draw_model(request: CosimRequest, model: RandomModel, cache: Path) -> tuple[Path, str]:
    """The checkpoint of a random model, drawn if need be, and a line on it.

    What can be refused is refused before weights are drawn.

    Raises:
        InputError: the shape or a part of the request is bad, or the cache cannot be used.
    """
    _check_options(request)
    recipe = flow.read_recipe(request.project, request.recipe)
    config = model.config(request.project.shapes_dir)
    if request.prompt:
        raise InputError("random weights have no tokenizer", key="--prompt", hint="give --prompt-ids")
    if request.chat is not None:
        raise no_template("random weights")
    recipe, plan = flow.plan_chip(request.project, config, recipe.for_random_weights(), request.context)
    _check_stimulus(request, config, recipe, plan, None, None)
    slots.read_adapters(request.project, config, recipe, request.adapters)
    folder, cached = flow.draw(config, model.seed, cache)
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return folder, f"{size_bytes:,} bytes of random weights, {'cached' if cached else 'drawn'}"


def check(request: CosimRequest, model_dir: Path) -> Job:
    """Import the model and check everything against it.

    Raises:
        InputError: bad input or a missing tool.
    """
    _check_options(request)
    if request.project.model is not None:
        return _check_own(request, model_dir)
    asked = flow.read_recipe(request.project, request.recipe)
    recipe = asked if request.random_model is None else asked.for_random_weights()
    design = flow.plan_design(request.project, model_dir, recipe, request.context)
    checkpoint = design.checkpoint
    tokenizer = _tokenizer(checkpoint, needed=bool(request.prompt) or request.chat is not None)
    _check_only(request.dump_only, design.taps)
    said = None if request.chat is None or tokenizer is None else chat(request.chat, tokenizer)
    sequence = _check_stimulus(request, checkpoint.config, design.recipe, design.plan, tokenizer, said)
    adapters = slots.read_adapters(request.project, checkpoint.config, design.recipe, request.adapters)
    planned = slots.plan_run(sequence, adapters, design.slots)
    named = [text for text in request.inject if text.startswith(_OF_ADAPTERS)]
    faults = slots.locate_faults(request.project, design.plan, named, adapters, design.slots)
    return Job(
        request,
        design,
        asked,
        tokenizer,
        adapters,
        planned,
        _rom_sites(request),
        faults,
        tool_versions(),
        notes=(*notes(checkpoint, tokenizer), *(said.notes if said else ())),
        chat=said,
    )


def _check_own(request: CosimRequest, model: Path) -> Job:
    """As ``check``, of a model of the project's own kind."""
    project = request.project
    if request.chat is not None:
        raise no_template("models of the project's own")
    if request.adapters:
        slots.check_slots(project, None)
    design = flow.make_design(project, model, request.recipe, request.context)
    _check_only(request.dump_only, design.taps)
    sha256: str | None = None
    facts, vocab_size = stream_facts(design), design.inputs.vocab_size
    if facts is not None and (vocab_size is None) != (request.vectors is not None):
        takes = "tokens" if vocab_size is not None else "vectors"
        raise InputError(
            f"the chip takes {takes}",
            key="--prompt-ids" if vocab_size is None and request.prompt_ids is not None else "--vectors",
            hint="give --prompt-ids" if vocab_size is not None else "give --vectors FILE.npy",
        )
    if request.vectors is not None and request.prompt_ids is not None:
        raise InputError("stands beside --vectors", key="--prompt-ids", hint="give one of them")
    if request.vectors is not None and facts is not None:
        sha256 = file_sha256(request.vectors)
        planned, vectors = Plan(()), read_vectors(request.vectors, facts)
        if file_sha256(request.vectors) != sha256:
            raise InputError("changed while it was read", source=request.vectors, key="--vectors")
    else:
        if request.prompt_ids is None:
            raise InputError(
                "is missing", key="--prompt-ids", hint="models of the project's own have no tokenizer"
            )
        prompt = _known(request.prompt_ids, vocab_size)
        if design.context is not None:
            _check_length(len(prompt), request, design.context)
        planned, vectors = Plan((Generation(prompt, request.tokens, design.inputs.stop_tokens),)), None
    flow.check_sites(project, design.plan, request.inject)
    return Job(
        request,
        design,
        None,
        None,
        (),
        planned,
        request.inject,
        (),
        tool_versions(),
        vectors=vectors,
        vectors_sha256=sha256,
    )


def _rom_sites(request: CosimRequest) -> tuple[str, ...]:
    return tuple(text for text in request.inject if not text.startswith(_OF_ADAPTERS))


def _check_options(request: CosimRequest) -> None:
    """What needs no model."""
    if request.out is not None:
        check_out(request.out)
    if request.dump_taps is not None:
        _check_dump(request.dump_taps, request.out)
    check_timeout(request.timeout_s)


def check_timeout(timeout_s: float) -> None:
    """A limit of time that can be one: at most thirty days.

    Raises:
        InputError: it is none, NaN included.
    """
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        most = f"expected more than 0 seconds and at most {MAX_TIMEOUT_S:,}"
        raise InputError(f"is {timeout_s:g}, {most}", key="--timeout")


def _check_dump(dump: Path, out: Path | None) -> None:
    """Look whether taps can come to a place, before the work for them begins."""
    if out is not None and dump.absolute().parent == out.absolute():  # which comes to be later
        if dump.name not in DUMP_NAMES:
            names = " or ".join(DUMP_NAMES)
            raise InputError(f"{dump.name!r} in the folder of the run, expected {names}", key="--dump-taps")
    elif dump.suffix == ".npz":
        check_writable(dump, "--dump-taps")
    else:
        check_out(dump, "--dump-taps")


def _check_only(only: Selection, taps: TapPlan) -> None:
    """Refuse what no tap of the chip is of."""
    layers = {layer for layer, _ in taps.by_key}
    for first, last in only.layers or ():
        if not layers.intersection(range(max(first, -1), min(last, max(layers)) + 1)):
            raise InputError(f"names layer {first}, the last is {max(layers)}", key="--only-layers")
    for name in only.taps or ():
        if name not in taps.names:
            known = ", ".join(dict.fromkeys(tap.name for tap in taps.taps))
            raise InputError(f"names {name!r}, expected some of {known}", key="--only-taps")
    if not any(only.takes(key) for key in taps.by_key):
        raise InputError("takes no tap of those layers", key="--only-taps")


def _tokenizer(checkpoint: Checkpoint, *, needed: bool) -> Tokenizer | None:
    try:
        return open_tokenizer(checkpoint, needed=needed)
    except InputError as error:
        if error.source is not None and not exists(error.source):
            raise InputError(
                error.problem, source=error.source, hint="give the prompt as --prompt-ids"
            ) from None
        raise


def _check_stimulus(
    request: CosimRequest,
    config: ModelConfig,
    recipe: Recipe,
    plan: Any,
    tokenizer: Tokenizer | None,
    said: Chat | None,
) -> Generation:
    """What the chip is to be fed first; the faults in ROM are looked at, too."""
    if request.vectors is not None:
        raise InputError("the chip takes tokens", key="--vectors", hint="give --prompt or --prompt-ids")
    prompt = _prompt(request, config, tokenizer) if said is None else said.ids
    _check_length(len(prompt), request, recipe.chip_context(config))
    flow.check_sites(request.project, plan, _rom_sites(request))
    return Generation(prompt, request.tokens, config.eos_token_ids)


def _prompt(request: CosimRequest, config: ModelConfig, tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """The prompt's token ids, at least one."""
    if request.prompt_ids is not None:
        return _known(request.prompt_ids, config.vocab_size)
    return prompt_ids(request.prompt, config, tokenizer)


def _known(prompt: tuple[int, ...], vocab_size: int | None) -> tuple[int, ...]:
    """A prompt of ids that are tokens."""
    for token in prompt:
        if vocab_size is not None and not 0 <= token < vocab_size:
            raise InputError(f"{token} is outside the vocabulary of {vocab_size}", key="--prompt-ids")
    if not prompt:
        raise InputError("is empty", key="--prompt-ids", hint="give at least one token id")
    return prompt


def _check_length(prompt: int, request: CosimRequest, context: int) -> None:
    """The last generated token is not fed, so it takes no position."""
    new = request.tokens
    if prompt > context:
        key = "--prompt-ids" if request.prompt_ids is not None else "--prompt"
        key = key if request.chat is None else "--chat"
        raise InputError(f"has {prompt} tokens, the chip's context holds {context}", key=key)
    if prompt + new - 1 > context:
        raise InputError(
            f"is {new}: with the prompt's {prompt} tokens that takes {prompt + new - 1} positions, the chip's context "
            f"holds {context}",
            key="--tokens",
            hint=f"at most {context - prompt + 1} fit",
        )
