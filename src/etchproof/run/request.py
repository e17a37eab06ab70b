"""What a co-simulation is asked for, checked in every part before a run's folder is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from etchproof.checkpoint import Checkpoint, ModelConfig, Tokenizer
from etchproof.checkpoint.prompt import notes, open_tokenizer, prompt_ids
from etchproof.checkpoint.shape import RandomModel
from etchproof.errors import InputError
from etchproof.files.regular import check_writable, exists
from etchproof.project.declaration import Project
from etchproof.quantize.recipe import Recipe
from etchproof.run import flow, slots
from etchproof.run.flow import Design, Injection
from etchproof.run.folder import check_out
from etchproof.run.slots import Plan, SramFault
from etchproof.sim.build import Kind
from etchproof.sim.run import MAX_TIMEOUT_S
from etchproof.tools import tool_versions
from etchproof.verdict.expect import Generation

if TYPE_CHECKING:
    from etchproof.adapter import Adapter

_SRAM: Final = "lora:"  # a fault in an adapter's SRAM begins so


@dataclass(frozen=True)
class CosimRequest:
    """What is asked for.

    Attributes:
        project: whose chip.
        model_dir: the checkpoint; None with ``random_model``.
        recipe: name or file; None is the project's default.
        prompt: text; None with ``prompt_ids``. Empty text is the BOS token alone.
        prompt_ids: token ids as they are, no BOS added; None with ``prompt``.
        tokens: how many to generate.
        out: the run's folder, new or empty; None for one below ``runs/``.
        inject: faults that only the simulator sees.
        dump_taps: where every tap goes as chip and golden have it, an .npz file.
        seed: of everything random but the weights of ``random_model``.
        kind: which build of the simulator.
        timeout_s: wall-clock limit of the simulation.
        context: positions of the chip, in place of the recipe's.
        random_model: a shape to be filled with random weights, in place of a checkpoint.
        profile: whether the record says where the time went.
        adapters: folders of the adapters that run beside the base.
    """

    project: Project
    model_dir: Path | None
    recipe: str | None
    prompt: str | None
    prompt_ids: tuple[int, ...] | None
    tokens: int
    out: Path | None = None
    inject: tuple[str, ...] = ()
    dump_taps: Path | None = None
    seed: int = 1
    kind: Kind = "fast"
    timeout_s: float = 600.0
    context: int | None = None
    random_model: RandomModel | None = None
    profile: bool = False
    adapters: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if (self.model_dir is None) == (self.random_model is None):
            raise ValueError("a run has either a checkpoint or a random model")


@dataclass(frozen=True)
class Job:
    """A request whose every part has been checked, before anything is written but the cache.

    Attributes:
        request: as it came.
        design: the checkpoint under its recipe.
        asked: the recipe as named, before random weights or ``--context`` changed it.
        tokenizer: None where the checkpoint has none.
        notes: where the checkpoint and its tokenizer disagree, a line each.
        adapters: imported.
        planned: the sequences and loads of the run.
        injections: where the faults in ROM are.
        sram_faults: where the faults in adapters are.
        tools: version of each tool.
    """

    request: CosimRequest
    design: Design
    asked: Recipe
    tokenizer: Tokenizer | None
    adapters: tuple[Adapter, ...]
    planned: Plan
    injections: tuple[Injection, ...]
    sram_faults: tuple[SramFault, ...]
    tools: dict[str, str]
    notes: tuple[str, ...] = ()


def draw_model(request: CosimRequest, model: RandomModel, cache: Path) -> tuple[Path, str]:
    """The checkpoint of a random model, drawn if need be, and a line on it.

    What can be refused is refused before weights are drawn.

    Raises:
        InputError: the shape or a part of the request is bad, or the cache cannot be used.
    """
    recipe = _check_options(request)
    config = model.config(request.project.shapes_dir)
    if request.prompt:
        raise InputError("random weights have no tokenizer", key="--prompt", hint="give --prompt-ids")
    recipe, plan = flow.plan_chip(request.project, config, recipe.for_random_weights(), request.context)
    _check_stimulus(request, config, recipe, plan, None)
    slots.read_adapters(request.project, config, recipe, request.adapters)
    folder, cached = flow.draw(config, model.seed, cache)
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return folder, f"{size_bytes:,} bytes of random weights, {'cached' if cached else 'drawn'}"


def check(request: CosimRequest, model_dir: Path) -> Job:
    """Import the checkpoint and check everything against it.

    Raises:
        InputError: bad input or a missing tool.
    """
    asked = _check_options(request)
    recipe = asked if request.random_model is None else asked.for_random_weights()
    design = flow.plan_design(request.project, model_dir, recipe, request.context)
    checkpoint = design.checkpoint
    tokenizer = _tokenizer(checkpoint, needed=bool(request.prompt))
    sequence, injections = _check_stimulus(request, checkpoint.config, design.recipe, design.plan, tokenizer)
    adapters = slots.read_adapters(request.project, checkpoint.config, design.recipe, request.adapters)
    planned = slots.plan_run(sequence, adapters, design.recipe.lora.slots)
    sram = [text for text in request.inject if text.startswith(_SRAM)]
    faults = slots.locate_faults(sram, adapters, design.recipe.lora.slots, checkpoint.config.n_layers)
    tools, said = tool_versions(), notes(checkpoint, tokenizer)
    return Job(request, design, asked, tokenizer, adapters, planned, injections, faults, tools, said)


def _check_options(request: CosimRequest) -> Recipe:
    """What needs no model; returns the recipe as named."""
    if request.out is not None:
        check_out(request.out)
    if request.dump_taps is not None:
        _check_dump(request.dump_taps)
    check_timeout(request.timeout_s)
    return flow.read_recipe(request.project, request.recipe)


def check_timeout(timeout_s: float) -> None:
    """A limit of time that can be one: at most thirty days.

    Raises:
        InputError: it is none, NaN included.
    """
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        most = f"expected more than 0 seconds and at most {MAX_TIMEOUT_S:,}"
        raise InputError(f"is {timeout_s:g}, {most}", key="--timeout")


def _check_dump(file: Path) -> None:
    if file.suffix != ".npz":
        raise InputError(f"{str(file)!r} does not end in .npz", key="--dump-taps")
    check_writable(file, "--dump-taps")


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
    request: CosimRequest, config: ModelConfig, recipe: Recipe, plan: Any, tokenizer: Tokenizer | None
) -> tuple[Generation, tuple[Injection, ...]]:
    """What the chip is to be fed first, and with which faults in ROM."""
    prompt = _prompt(request, config, tokenizer)
    _check_length(len(prompt), request, recipe.chip_context(config))
    injections = flow.locate(
        request.project, plan, [text for text in request.inject if not text.startswith(_SRAM)]
    )
    return Generation(prompt, request.tokens, config.eos_token_ids), injections


def _prompt(request: CosimRequest, config: ModelConfig, tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """The prompt's token ids, at least one."""
    if request.prompt_ids is not None:
        for token in request.prompt_ids:
            if not 0 <= token < config.vocab_size:
                raise InputError(
                    f"{token} is outside the vocabulary of {config.vocab_size}", key="--prompt-ids"
                )
        if request.prompt_ids:
            return request.prompt_ids
        raise InputError("is empty", key="--prompt-ids", hint="give at least one token id")
    return prompt_ids(request.prompt, config, tokenizer)


def _check_length(prompt: int, request: CosimRequest, context: int) -> None:
    """The last generated token is not fed, so it takes no position."""
    new = request.tokens
    if prompt > context:
        key = "--prompt" if request.prompt_ids is None else "--prompt-ids"
        raise InputError(f"has {prompt} tokens, the chip's context holds {context}", key=key)
    if prompt + new - 1 > context:
        raise InputError(
            f"is {new}: with the prompt's {prompt} tokens that takes {prompt + new - 1} positions, the chip's context "
            f"holds {context}",
            key="--tokens",
            hint=f"at most {context - prompt + 1} fit",
        )
