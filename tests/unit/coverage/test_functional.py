"""Covergroups: sampling, merging, who was first, the stored form; and the reference chip's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.compare.comparator import ResetRecord, TokenRecord
from etchproof.coverage.closure import reach
from etchproof.coverage.functional import Covergroup, FunctionalCoverage, RunSample, counted
from etchproof.errors import EtchproofError, InputError
from etchproof.quantize.quantized_model import QuantizedModel
from models import chip
from models.cycles import ACCEPT_CYCLES, token_cycles, token_steps
from models.golden import Golden
from tests.unit.coverage.conftest import saturating_model
from verif.coverage.covergroups import CASES, Sampler, groups
from verif.coverage.host import active_step

GROUPS = (Covergroup("a", ("x", "y", "z")), Covergroup("b", ("only",)))


def sampled(*samples: tuple[str, list[int], list[int]]) -> FunctionalCoverage:
    coverage = FunctionalCoverage(GROUPS)
    for test, a, b in samples:
        coverage.sample(test, {"a": np.array(a), "b": np.array(b)})
    return coverage


def test_who_was_first() -> None:
    coverage = sampled(("one", [0, 2, 0], [0]), ("two", [1, 5, 0], [0]))
    assert coverage.first("a") == ("two", "one", None)
    assert coverage.summary() == {"a": (2, 3), "b": (0, 1)}
    assert coverage.holes() == ("a.z", "b.only")


hits = st.lists(
    st.tuples(
        st.sampled_from(["r", "s", "t"]), st.lists(st.integers(0, 3), min_size=3, max_size=3), st.just([1])
    ),
    max_size=4,
)


@given(hits, hits, hits)
def test_merging_is_running_one_after_the_other(first: list, second: list, third: list) -> None:  # type: ignore[type-arg]
    def merged(*parts: FunctionalCoverage) -> FunctionalCoverage:
        total = FunctionalCoverage(GROUPS)
        for part in parts:
            total.merge(part)
        return total

    whole = sampled(*first, *second, *third)
    a, b, c = sampled(*first), sampled(*second), sampled(*third)
    assert merged(a, b, c).to_json() == whole.to_json()
    assert merged(merged(a, b), c).to_json() == merged(a, merged(b, c)).to_json()
    swapped = merged(c, b, a)  # counts commute; who was first does not
    assert all((swapped.hits(name) == whole.hits(name)).all() for name in ("a", "b"))


def test_the_stored_form(tmp_path: Path) -> None:
    coverage = sampled(("one", [0, 2, 0], [4]))
    path = tmp_path / "functional.json"
    path.write_text(coverage.to_json())
    assert FunctionalCoverage.read(path).to_json() == coverage.to_json()
    for old, new, said in (
        ('"format":1', '"format":2', "format: is 2"),
        ('"hits":[0,2,0]', '"hits":[0,2]', "other numbers"),
        ('"bins"', '"bin"', "covergroups.bins: is missing"),
    ):
        path.write_text(coverage.to_json().replace(old, new))
        with pytest.raises(InputError, match=said):
            FunctionalCoverage.read(path)


def test_what_is_refused() -> None:
    with pytest.raises(EtchproofError, match="covergroups are"):
        sampled().sample("x", {"a": np.zeros(3, np.int64)})
    with pytest.raises(EtchproofError, match="counts for"):
        sampled().sample("x", {"a": np.zeros(2, np.int64), "b": np.zeros(1, np.int64)})
    with pytest.raises(EtchproofError, match="another model"):
        sampled().merge(FunctionalCoverage(GROUPS[:1]))
    with pytest.raises(EtchproofError, match="stands twice"):
        FunctionalCoverage((Covergroup("a", ("x", "x")),))
    with pytest.raises(EtchproofError, match="no bins for"):
        counted(("x",), {"y": 1})


# The reference chip's.


@pytest.fixture(scope="module")
def toy() -> tuple[QuantizedModel, Sampler, dict[str, tuple[str, ...]]]:
    model = saturating_model()
    plan = chip.plan(model.config, model.recipe)
    return model, Sampler(model, plan), {group.name: group.bins for group in groups(plan)}


def record(sequence: int, position: int, token: int, status: int = 0) -> TokenRecord:
    return TokenRecord(
        sequence=sequence, position=position, token_in=token, token_out=0, status=status, cycles=1
    )


def hit_bins(
    toy: tuple[QuantizedModel, Sampler, dict[str, tuple[str, ...]]],
    sequences: Sequence[Sequence[int]],
    tokens: Sequence[TokenRecord] | None = None,
) -> dict[str, set[str]]:
    model, sampler, bins = toy
    golden = Golden(model)
    taps = [golden.session().predict(list(tokens), True) for tokens in sequences]
    if tokens is None:
        tokens = [record(s, p, token) for s, listed in enumerate(sequences) for p, token in enumerate(listed)]
    counts = sampler(RunSample("test", tokens, taps))
    return {name: {bins[name][index] for index in np.flatnonzero(counts[name])} for name in bins}


def test_cache_and_control(toy: tuple[QuantizedModel, Sampler, dict[str, tuple[str, ...]]]) -> None:
    found = hit_bins(toy, [list(range(20))])
    assert {"first", "second", "middle", "last"} <= found["kv_cache"]
    assert not {"overflow", "reuse_shorter", "reuse_longer", "reuse_after_close"} & found["kv_cache"]
    assert found["control"] == {"ok_closed", "ok_open", "many_tokens"}
    assert found["embedding_rows"] == set(map(str, range(20)))
    refused = [
        record(-1, 0, 5, 3),  # nothing open
        record(-1, 0, 99, 1),
        *(record(0, position, 1) for position in range(3)),
        record(0, 3, 99, 1),
        record(0, 3, 5, 2),
        record(1, 0, 2),  # shorter than the one before
        record(1, 1, 5, 3),  # a reset came between
        *(record(2, position, 1) for position in range(4)),
    ]
    found = hit_bins(toy, [[1, 1, 1], [2], [1, 1, 1, 1]], refused)
    assert {"overflow", "reuse_shorter", "reuse_longer", "reuse_after_close"} <= found["kv_cache"]
    assert {
        *("no_sequence_closed", "bad_token_closed", "bad_token_open", "context_full_open"),
        *("back_to_back", "one_token", "many_tokens"),
    } <= found["control"]


def test_handshake_and_reset(toy: tuple[QuantizedModel, Sampler, dict[str, tuple[str, ...]]]) -> None:
    plan = chip.plan(toy[0].config, toy[0].recipe)
    stalls = [(0, 0), (3, 0), (0, 1), (2, 2)]
    tokens = [
        record(0, position, 1).model_copy(update={"request_stall": request, "response_stall": response})
        for position, (request, response) in enumerate(stalls)
    ]
    found = hit_bins(toy, [[1] * 4], tokens)
    assert found["handshake"] == {"none_held", "request_held", "response_held", "both_held"}
    assert hit_bins(toy, [[1]], tokens[2:3])["handshake"] == {"response_held"}
    assert found["reset"] == set()

    # A token's way, cycle by cycle: each step has exactly its cycles of the model, the last one all beyond.
    for position in (0, 5):
        total = token_cycles(plan, position)
        steps = Counter(active_step(plan, position, cycle) for cycle in range(total))
        assert steps == Counter(
            {
                step: sum(cycles for _, name, cycles in token_steps(plan, position) if name == step)
                for _, step, _ in token_steps(plan, position)
            }
        )
        assert active_step(plan, position, total + 99) == "respond"
    assert active_step(plan, 0, 0) == active_step(plan, 0, ACCEPT_CYCLES - 1) == "accept"
    assert active_step(plan, 0, ACCEPT_CYCLES) == "receive"


def test_resets(toy: tuple[QuantizedModel, Sampler, dict[str, tuple[str, ...]]]) -> None:
    _, sampler, bins = toy
    resets = [
        ResetRecord(tokens=0, position=None, cycles=0),
        ResetRecord(tokens=1, position=1, cycles=1),
        ResetRecord(tokens=2, position=0, cycles=10**9),
    ]
    counts = sampler(RunSample("test", [], [], resets=resets))["reset"]
    hits = {name: int(count) for name, count in zip(bins["reset"], counts, strict=True) if count}
    assert hits == {"idle": 1, "accept": 1, "respond": 1}


def test_roundings(toy: tuple[QuantizedModel, Sampler, dict[str, tuple[str, ...]]]) -> None:
    """A loud model: both ends are seen, and every unit rounds up and down."""
    found = hit_bins(toy, [list(range(37))[:20], list(range(20, 37))])
    for kind in ("q_proj", "gate_proj", "down_proj"):
        assert f"{kind}.saturated_high" in found["rounding"]
        assert f"{kind}.saturated_low" in found["rounding"]
    assert {name.partition(".")[2] for name in found["rounding"]} == set(CASES)
    assert {"single"} <= found["softmax"]
    assert {f"rope[{position}]" for position in range(20)} <= found["tables"]


def test_accumulators(toy: tuple[QuantizedModel, Sampler, dict[str, tuple[str, ...]]]) -> None:
    """Against the sum of one row, by hand; a larger one stays the largest."""
    model = toy[0]
    plan = chip.plan(model.config, model.recipe)
    sampler = Sampler(model, plan)
    assert {largest for largest, _ in sampler.accumulators().values()} == {0}
    taps = Golden(model).session().predict([5], True)
    sampler(RunSample("test", [record(0, 0, 5)], [taps]))
    matrix = model.lm_head
    weights = (
        matrix.codes.astype(np.int64)
        * np.repeat(matrix.scales.astype(np.int64), matrix.group_size, axis=1)[:, : matrix.cols]
    )
    seen, bound = sampler.accumulators()["lm_head"]
    assert (
        seen == int(np.abs(weights @ np.asarray(taps[-1, "final_norm"])[0].astype(np.int64)).max()) <= bound
    )
    more = [Golden(model).session().predict(list(range(9)), True)]
    sampler(RunSample("test", [record(0, position, position) for position in range(9)], more))
    assert sampler.accumulators()["lm_head"][0] >= seen


def test_every_sample_has_a_bin(tiny_model: QuantizedModel) -> None:
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    sampler, golden = Sampler(tiny_model, plan), Golden(tiny_model)
    tokens = np.random.default_rng(2).integers(397, size=60).tolist()
    records = [record(0, position, token) for position, token in enumerate(tokens)]
    counts = sampler(RunSample("random", records, [golden.session().predict(tokens, True)]))
    assert {name: len(hits) for name, hits in counts.items()} == {
        group.name: len(group.bins) for group in groups(plan)
    }
    assert counts["rounding"].sum() > 10_000
    (tables,) = (group for group in groups(plan) if group.name == "tables")
    table = dict(zip(tables.bins, counts["tables"], strict=True))
    layers = plan.n_layers
    assert (
        sum(count for name, count in table.items() if name.startswith("sigmoid"))
        == layers * 60 * plan.intermediate_size
    )
    assert (
        sum(count for name, count in table.items() if name.startswith("recip")) == layers * 60 * plan.n_heads
    )
    assert sum(count for name, count in table.items() if name.startswith("rsqrt")) == (2 * layers + 1) * 60


def test_reaching(tiny_model: QuantizedModel) -> None:
    """Each further sequence hits a bin that none before it has; the same choice every time."""
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    sampler, golden = Sampler(tiny_model, plan), Golden(tiny_model)

    def chosen() -> tuple[tuple[int, ...], ...]:
        return reach(
            groups(plan),
            sampler,
            [(1, 2, 3)],
            lambda tokens: golden.session().predict(tokens, True),
            vocabulary=397,
            context=12,
            seed=1,
            rounds=1,
        )

    sequences = chosen()
    assert sequences == chosen() and {len(tokens) for tokens in sequences} == {12}
    coverage = FunctionalCoverage(groups(plan))
    for tokens in [(1, 2, 3), *sequences]:
        records = [record(0, position, token) for position, token in enumerate(tokens)]
        before = len(coverage.holes())
        coverage.sample("x", sampler(RunSample("x", records, [golden.session().predict(tokens, True)])))
        assert len(coverage.holes()) < before
