"""Runs that a sign-off adds to the list: sequences that close what others leave open, and weights for the corners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from etchproof.contract.golden import Golden
from etchproof.contract.mask import TriedUnit
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage import hooks
from etchproof.coverage.closure import (
    close,
    further,
    last_position,
    open_bits,
    reach,
    shown,
    taps_needed,
    without,
)
from etchproof.coverage.corner_tokens import corner_tokens
from etchproof.coverage.corpus import Predict, Segment, gather
from etchproof.coverage.observability import AnyUnit
from etchproof.regress.spec import ItemSpec, item_seed
from etchproof.run import flow
from etchproof.run.design import Design
from etchproof.signoff.observed import all_units, shared
from etchproof.signoff.plan import Plan, SignoffRequest
from etchproof.sim.build import Kind

_CLOSURE_SEED: Final = 1
_CORNER_SEEDS: Final = (1, 2, 3, 4)
_CORNER_LONG: Final = 8
"""Sequences by position at most, of each seed, while one of these bits is open."""
_LONG_BESIDE_CORNERS: Final = 4
"""Sequences by position at most, where runs with weights for the corners see the same positions."""

Sequences = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Directed:
    """Sequences that show every bit of the mask and hit every bin, as far as some do.

    Attributes:
        own: for the checkpoint.
        corners: for the weights of each seed.
    """

    own: Sequences = ()
    corners: Mapping[int, Sequences] = field(default_factory=dict)


def directed_sequences(plan: Plan, model: Any, units: Sequence[AnyUnit], predict: Predict) -> Directed:
    """Choose them.

    Args:
        units: what reads the mask, and the tables in logic.
    """
    design = plan.design
    coverage = design.project.coverage
    assert coverage is not None
    limits = {"vocabulary": design.checkpoint.config.vocab_size, "context": design.quantized.context}
    sample = hooks.sampler(design.project)(model, design.plan)
    mask = [unit for unit in units if all(part.image is not None for part in unit.parts())]
    long = {} if coverage.corners is None else {"long_rounds": _LONG_BESIDE_CORNERS}
    own = close(mask, [], predict, **limits, seed=_CLOSURE_SEED, **long)
    own = (*own, *reach(plan.groups, sample, own, predict, **limits, seed=_CLOSURE_SEED))
    corners = {} if coverage.corners is None else _corner_sequences(design, model, units, own, predict)
    return Directed(own, corners)


def _corner_sequences(
    design: Design, model: Any, units: Sequence[AnyUnit], own: Sequences, predict: Predict
) -> dict[int, Sequences]:
    """Random sequences, and those that prove what weights for the corners share with the checkpoint."""
    vocabulary, context = design.checkpoint.config.vocab_size, design.quantized.context
    tried = [number for number, unit in enumerate(units) if isinstance(unit, TriedUnit)]
    corpus = gather([Segment("own", tuple(own))], predict, taps_needed(units[number] for number in tried))
    left = open_bits(units, corpus, tried)
    found: dict[int, Sequences] = {}
    for seed in _CORNER_SEEDS:
        rng = np.random.default_rng((seed, 1))  # not what the corner tokens are drawn from
        drawn = corner_tokens(vocabulary, context, seed)
        found[seed] = drawn
        weights = flow.corner_weights(design, model, seed)
        same = shared(units, all_units(design.project, weights, design.plan))
        mine = {key: bits for key, bits in left.items() if key[0] in same}
        if not mine:
            continue
        golden = flow.make_golden(design, weights)

        def its(tokens: Sequence[int], golden: Golden = golden) -> Mapping[TapKey, TokenArrays]:
            return golden.session().predict(tokens, True)

        theirs = [same.get(number, unit) for number, unit in enumerate(units)]
        keys = taps_needed(same.values())
        mine = without(mine, shown(theirs, mine, gather([Segment("drawn", tuple(drawn))], its, keys)))
        for _ in range(_CORNER_LONG):
            by_position = {key: bits for key, bits in mine.items() if same[key[0]].positions is not None}
            if not by_position:
                break
            length = min(context, last_position(by_position.values()))
            drawn.append(tuple(rng.integers(vocabulary, size=length).tolist()))
            mine = without(mine, shown(theirs, mine, gather([Segment("long", tuple(drawn[-1:]))], its, keys)))
        anywhere = {key: bits for key, bits in mine.items() if same[key[0]].positions is None}
        more, rest = further(theirs, anywhere, its, rng, vocabulary, context)
        drawn += more
        left = {key: bits for key, bits in left.items() if key[0] not in same}
        left |= {key: bits for key, bits in mine.items() if key not in anywhere} | rest
    return found


def directed_items(
    request: SignoffRequest, directed: Directed, *, counted: bool = False
) -> Iterator[ItemSpec]:
    """The sequences that close what others leave open, and those over weights for the corners.

    Args:
        counted: whether code is covered: the last corners then run on a coverage build, too.
    """
    project, test = request.project, request.project.signoff.directed

    def item(name: str, sequences: Sequences, corners: int | None, kind: Kind = "fast") -> ItemSpec:
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
    yield item(f"{test}-closure", directed.own, None)
    for seed, sequences in directed.corners.items():
        # Beyond V1, the last on a simulator as Verilator wrote it: the corners of the numerics, too.
        kind: Kind = "strict" if request.stage != "V1" and seed == _CORNER_SEEDS[-1] else "fast"
        yield item(f"{test}-corners-s{seed}", sequences, seed, kind)
        if counted and seed == _CORNER_SEEDS[-1]:
            yield item(f"{test}-corners-coverage-s{seed}", sequences, seed, "coverage")
