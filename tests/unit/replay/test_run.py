"""What is left of a failed run, on chips that are functions of what they are fed; stored runs and their records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from etchproof.compare.comparator import COMPARISON_FILE, Comparator, Comparison
from etchproof.compare.differing import KEPT_FILE, Keeper, KeptTaps
from etchproof.contract.taps import Tap, TapPlan
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.project.declaration import load_project
from etchproof.regress.spec import ItemSpec
from etchproof.regress.subject import SUBJECT_FILE, Subject
from etchproof.replay.folder import LAYER_FILE, read_replay
from etchproof.replay.record import REPLAY_FILE, FedSequence, ReplayRecord
from etchproof.replay.run import _shrink
from etchproof.replay.stored import Fed, Stored, differs, read_stored, sequences
from tests.conftest import ROOT
from tests.fuzz import seeds

UNIT = (0, "q")
TAPS = TapPlan((Tap("q", 0), Tap("p", 0)))
Fails = Callable[[Sequence[FedSequence]], bool]


def comparison(wrong: bool) -> Comparison:
    """Of one token, whose second tap differs, too, where the first does."""
    comparator = Comparator(TAPS)
    comparator.begin(0, None)
    got = {UNIT: np.array([int(wrong)], np.int32), (0, "p"): np.array([int(wrong)], np.int32)}
    right = {key: np.zeros((1, 1), np.int32) for key in got}
    comparator.compare(0, list(got), [0], right, [got])
    return Comparison(
        taps=comparator.counts(),
        sequences=comparator.sequences(),
        loads=(),
        first_divergence=comparator.first_divergence,
        divergence_ps=77 if wrong else None,
        tokens=(),
        failures=(),
        **dict.fromkeys(("sim_s", "golden_s", "compare_s", "wait_s"), 0.0),
    )


def bench(fails: Fails, plays: bool = False) -> Any:
    """A chip that fails where ``fails`` says so, and in its whole test where it ``plays``."""
    return SimpleNamespace(
        unit=UNIT,
        subject=SimpleNamespace(project=load_project(ROOT)),
        feed=lambda fed, folder, launcher: SimpleNamespace(comparison=comparison(fails(fed))),
        play=lambda folder: SimpleNamespace(comparison=comparison(plays)),
    )


def spec(test: str = "BackToBack") -> ItemSpec:
    return ItemSpec(
        name="x", test=test, model="/m", shape=None, recipe="", context=None, kind="fast", adapters=(), seed=1
    )


def stored(*texts: tuple[int | None, Sequence[int]], test: str = "BackToBack") -> Stored:
    fed = [
        Fed(0, sequence, position, adapter, item)
        for sequence, (adapter, items) in enumerate(texts)
        for position, item in enumerate(items)
    ]
    fed = [one._replace(number=number) for number, one in enumerate(fed)]
    kept = KeptTaps((), {}, whole=True)
    return Stored(Path("run"), spec(test), (), "0" * 64, UNIT, True, tuple(fed), len(fed), None, kept)


def shrunk(of: Stored, fails: Fails, *, plays: bool = False, alone: bool = False) -> Any:
    return _shrink(bench(fails, plays), of, of.fed, Path("trial"), alone=alone)


def test_the_last_sequence_is_enough() -> None:
    found = shrunk(stored((None, [1, 2, 3]), (0, [4, 5, 6, 7])), lambda fed: 6 in fed[-1].items)
    assert sequences(found.fed) == (FedSequence(adapter=0, items=(6,)),)
    assert (found.fed[0].number, found.minimal, found.scenario, found.divergence_ps) == (5, True, None, 77)


def test_a_sequence_before_it_is_needed() -> None:
    """What an earlier sequence left behind: the sequences stay apart, with their adapters."""

    def fails(fed: Sequence[FedSequence]) -> bool:
        return len(fed) == 2 and 2 in fed[0].items and 6 in fed[1].items

    found = shrunk(stored((None, [1, 2, 3]), (0, [4, 5, 6])), fails)
    assert sequences(found.fed) == (FedSequence(adapter=None, items=(2,)), FedSequence(adapter=0, items=(6,)))


def test_a_scenario_whose_tokens_do_not_fail() -> None:
    found = shrunk(stored((None, [1, 2])), lambda fed: False, plays=True)
    assert (found.fed, found.scenario, found.minimal, found.trials) == ((), "BackToBack", False, 2)


def test_what_does_not_fail_again() -> None:
    with pytest.raises(InputError, match=r"does not fail again at 0\.q"):
        shrunk(stored((None, [1, 2])), lambda fed: False)
    with pytest.raises(InputError, match="does not fail again"):
        shrunk(stored((None, [1, 2]), test="GreedyGeneration"), lambda fed: False, plays=True)
    with pytest.raises(InputError, match=r"0\.q does not differ in its layer alone: .*leave out --alone"):
        shrunk(stored((None, [1, 2])), lambda fed: False, plays=True, alone=True)
    answers = iter([True, False])
    with pytest.raises(InputError, match="not deterministic"):
        shrunk(stored((None, [1])), lambda fed: next(answers))


def test_a_unit_that_differs() -> None:
    found = comparison(wrong=True)
    assert differs(found, UNIT, first=True) and differs(found, (0, "p"))
    assert not differs(found, (0, "p"), first=True)
    assert not differs(comparison(wrong=False), UNIT, first=True)


def failed_run(folder: Path, items: Any, injected: str = "") -> Path:
    """A stored run whose second item differs, and a third one."""
    keeper = Keeper()
    comparator = Comparator(TAPS, keeper)
    comparator.begin(0, None)
    right = {UNIT: np.zeros((3, 1), np.int32), (0, "p"): np.zeros((3, 1), np.int32)}
    got = [{key: np.array([wrong], np.int32) for key in right} for wrong in (0, 1, 1)]
    comparator.compare(0, list(right), [0, 1, 2], right, got)
    found = comparison(wrong=True).model_copy(
        update={"taps": comparator.counts(), "first_divergence": comparator.first_divergence}
    )
    (folder / COMPARISON_FILE).write_text(found.model_dump_json())
    keeper.save(folder / KEPT_FILE, [(items, True, None)])
    subject = Subject(project="reference", spec=spec(), model_sha256="0" * 64)
    (folder / SUBJECT_FILE).write_text(subject.model_dump_json())
    return folder


def test_a_stored_item(tmp_path: Path) -> None:
    """What follows the first difference is left out, unless another unit is named."""
    run, project = failed_run(tmp_path, [7, 8, 9]), load_project(ROOT)
    found = read_stored(run, project, None)
    assert [one.item for one in found.fed] == [7, 8]
    assert (found.unit, found.first, found.count, found.vectors, found.injected) == (UNIT, True, 3, None, ())
    other = read_stored(run, project, (0, "p"))
    assert ([one.item for one in other.fed], other.first) == ([7, 8, 9], False)
    with pytest.raises(InputError, match=r"0\.x does not differ in the run"):
        read_stored(run, project, (0, "x"))
    with pytest.raises(InputError, match="is 'reference', the project is 'other'"):
        read_stored(run, project.model_copy(update={"name": "other"}), None)


def test_stored_vectors(tmp_path: Path) -> None:
    """A chip that takes vectors: its items are their numbers."""
    vectors = np.arange(6).reshape(3, 2)
    found = read_stored(failed_run(tmp_path, vectors), load_project(ROOT), None)
    assert [one.item for one in found.fed] == [0, 1]
    assert found.vectors is not None and np.array_equal(found.vectors, vectors)


def test_a_negative_token(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a token of a negative number"):
        read_stored(failed_run(tmp_path, [7, -8, 9]), load_project(ROOT), None)


def test_a_record_of_a_replay(tmp_path: Path) -> None:
    seeds.replay(tmp_path)
    project = load_project(ROOT)
    record, vectors = read_replay(tmp_path, project)
    assert record.unit == (1, "q_proj") and vectors is not None and vectors.shape == (3, 4)
    np.save(tmp_path / LAYER_FILE, vectors[:2])
    with pytest.raises(InputError, match="holds 2 vectors, vector 2 is fed"):
        read_replay(tmp_path, project)
    np.save(tmp_path / LAYER_FILE, vectors.astype(np.int16))
    with pytest.raises(InputError, match="holds no vectors of a replay"):
        read_replay(tmp_path, project)
    empty = replace_sequences(tmp_path)
    with pytest.raises(InputError, match="sequences: feeds nothing"):
        read_replay(empty, project)
    with pytest.raises(InputError, match="is of project 'reference', not of 'other'"):
        read_replay(tmp_path, project.model_copy(update={"name": "other"}))


def replace_sequences(folder: Path) -> Path:
    """The record without anything that is fed."""
    file = folder / REPLAY_FILE
    record = read_json_record(file, ReplayRecord).model_copy(update={"sequences": ()})
    file.write_text(record.model_dump_json())
    return folder
