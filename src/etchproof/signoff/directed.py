"""Runs that a sign-off adds to the list: sequences that close what others leave open, and weights for the corners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from etchproof.contract.mask import MaskUnit
from etchproof.coverage import hooks
from etchproof.coverage.closure import close, reach
from etchproof.coverage.corner_tokens import corner_tokens
from etchproof.coverage.corpus import Predict
from etchproof.regress.spec import ItemSpec, item_seed
from etchproof.run.design import Design
from etchproof.signoff.plan import Plan, SignoffRequest
from etchproof.sim.build import Kind

_CLOSURE_SEED: Final = 1
_CORNER_SEEDS: Final = (1, 2, 3, 4)


def directed_sequences(
    plan: Plan, model: Any, roms: Sequence[MaskUnit], predict: Predict
) -> list[tuple[int, ...]]:
    """Sequences that show every bit of the mask and hit every bin, as far as some do."""
    design = plan.design
    config = design.checkpoint.config
    limits = {"vocabulary": config.vocab_size, "context": design.quantized.context}
    sample = hooks.sampler(design.project)(model, design.plan)
    directed = close(roms, [], predict, **limits, seed=_CLOSURE_SEED)
    return [*directed, *reach(plan.groups, sample, directed, predict, **limits, seed=_CLOSURE_SEED)]


def directed_items(
    request: SignoffRequest,
    design: Design,
    directed: Sequence[tuple[int, ...]],
    *,
    counted: bool = False,
) -> Iterator[ItemSpec]:
    """The sequences that close what others leave open, and random ones over weights for the corners.

    Args:
        counted: whether code is covered: the last corners then run on a coverage build, too.
    """
    project, test = request.project, request.project.signoff.directed

    def item(
        name: str, sequences: Sequence[tuple[int, ...]], corners: int | None, kind: Kind = "fast"
    ) -> ItemSpec:
        return ItemSpec(
            name=name,
            test=test,
            model=str(request.model_dir.absolute()),
            shape=None,
            recipe=request.recipe or project.default_recipe,
            context=None,
            kind=kind,
            adapters=(),
            seed=item_seed(name, _CLOSURE_SEED),
            directed=tuple(sequences),
            corners=corners,
        )

    if project.coverage is None:
        return
    yield item(f"{test}-closure", directed, None)
    if project.coverage.corners is not None:
        vocabulary, context = design.checkpoint.config.vocab_size, design.quantized.context
        for seed in _CORNER_SEEDS:
            # Beyond V1, the last on a simulator as Verilator wrote it: the corners of the numerics, too.
            kind: Kind = "strict" if request.stage != "V1" and seed == _CORNER_SEEDS[-1] else "fast"
            sequences = corner_tokens(vocabulary, context, seed)
            yield item(f"{test}-corners-s{seed}", sequences, seed, kind)
            if counted and seed == _CORNER_SEEDS[-1]:
                yield item(f"{test}-corners-coverage-s{seed}", sequences, seed, "coverage")
