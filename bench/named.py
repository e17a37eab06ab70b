"""``python -m bench.named MODEL --out FILE``: faults of RTL drawn by seed, each simulated, diagnosed and scored.

A fault is tried on runs of the chip with that fault alone. The first run that it spoils is diagnosed. What that says is
then held against another run of the same chip, of other tokens: a cause that was called certain and does not hold there
was wrong. Declared faults are also held against what ``verif.qualify.rtl_named`` says of each. ``bench.named_report``
makes the tables of docs/diagnosed-faults.md.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from bench.measure import ROOT
from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import ModelConfig, RopeConfig, write_synthetic
from etchproof.checkpoint.linears import LINEARS
from etchproof.diagnose.result import CauseRecord, Diagnosis
from etchproof.diagnose.run import diagnose
from etchproof.diagnose.triage import place_of
from etchproof.errors import InputError
from etchproof.project.declaration import Project, load_project
from etchproof.qualify.run import apart
from etchproof.regress.execute import adapters_of, test_config
from etchproof.regress.spec import ItemSpec
from etchproof.run import flow
from etchproof.run.slots import LoadedAdapter
from etchproof.run.testrun import Chip, TestRun, Variation, etch, run_test
from etchproof.schemata.faults import PLUSARG, RtlFault
from etchproof.schemata.sources import draw, make_schemata, read_sources
from etchproof.sim.build import build
from etchproof.sim.forks import Forks
from etchproof.sim.results import UNTIL, limit_ps
from etchproof.tools import find_verilator
from verif.qualify.rtl import faults as declared
from verif.qualify.rtl_named import NO_TAP, UNITS, Named, named

ODD: Final = "odd"
"""A chip of an odd shape in place of a model's folder: no dimension fills its tiles, and adapters of any kind."""
LIMIT_S: Final = 60.0
_CPU_S: Final = 60
_RANK: Final = 3  # of the adapters

_ODD_CONFIG: Final[dict[str, Any]] = {
    "name": "odd",
    "vocab_size": 101,
    "hidden_size": 44,
    "intermediate_size": 37,
    "n_layers": 2,
    "n_heads": 6,
    "n_kv_heads": 3,
    "head_dim": 6,
    "context": 33,
    "rms_norm_eps": 1e-5,
    "rope": RopeConfig(theta=10000.0, scaling=None),
    "tie_word_embeddings": False,
    "attention_bias": True,
    "mlp_bias": True,
    "bos_token_id": 1,
    "eos_token_ids": (2,),
}
_ODD_RECIPE: Final = """
lora: {slots: 3, max_rank: 5}
kv_bits: 8
tile: {rows: 8, inputs: 32}
matrices:
  - {match: model.embed_tokens, bits: 4, group_size: row}
  - {match: "*.q_proj", bits: 3, group_size: 32}
  - {match: "*.v_proj", bits: 4, group_size: 16}
  - {match: "*", bits: 6, group_size: row}
"""


class Scored(BaseModel):
    """A fault, and what was said of it.

    Attributes:
        operator: of the generic ones, or what a declared fault is called.
        seen: whether a run showed it in a tap.
        finding: of its diagnosis.
        units: tap of each origin.
        kinds: of the first cause, the likeliest first.
        blames: whether each origin is in a unit that the fault may be in.
        first: whether the first cause has a kind that is right; None where no kind is, or nobody says which.
        three: likewise, one of the first three.
        complete: whether every hypothesis was tried before time was up.
        certain: whether the diagnosis called its cause certain.
        holds: whether each certain cause holds in another run, too; None where that run does not show it.
        said: the causes in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chip: str
    name: str
    module: str
    operator: str
    is_declared: bool
    seen: bool = False
    finding: str = ""
    units: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    blames: bool | None = None
    first: bool | None = None
    three: bool | None = None
    complete: bool | None = None
    certain: bool = False
    holds: bool | None = None
    said: tuple[str, ...] = ()
    wall_s: float = 0.0


@dataclass(frozen=True)
class Run:
    """Stimulus that a fault is tried on."""

    spec: ItemSpec
    config: Mapping[str, Any]
    adapters: tuple[LoadedAdapter, ...]
    until_ps: int


class Bench:
    """Runs of one chip with one fault each.

    Args:
        count: faults of the generic operators beside all that are declared.
    """

    def __init__(
        self, project: Project, model: Path, recipe: str | None, seed: int, count: int, out: Path
    ) -> None:
        self.out = out
        self.design = design = flow.make_design(project, model, recipe)
        self.etched = etch(design, out / "chip", flow.cache_folder())
        sources = read_sources(self.etched.fabric, apart(project))
        own = tuple(declared(design.plan))
        self._files = {(edit.file, edit.what) for edit in own}
        drawn = draw(sources, seed, own)
        self.schemata = make_schemata(self.etched.fabric, sources, drawn, len(own) + count, out / "schemata")
        made = build(self.schemata.fabric, "fast", verilator=find_verilator(), cache_dir=flow.cache_folder())
        self.chip = Chip(design, self.etched.model, self.schemata.fabric, self.etched.images, made)
        self._launcher = Forks(_CPU_S)
        rng = random.Random(seed)
        base = [self._ready(self._directed(rng)) for _ in range(2)]
        adapted = [self._ready(spec) for spec in self._adapted(rng, recipe)] if design.slots else []
        self.pairs = [tuple(base), *([tuple(adapted)] if adapted else [])]

    def close(self) -> None:
        """End the simulator that waits."""
        self._launcher.close()

    def is_declared(self, fault: RtlFault) -> bool:
        """Whether the project declares it."""
        return (fault.file, fault.operator) in self._files

    def shows(self, fault: RtlFault) -> bool:
        """Whether a tap may show it, as far as is known."""
        return not self.is_declared(fault) or named(fault.file, fault.operator) != NO_TAP

    def run(self, run: Run, number: int, folder: Path) -> TestRun:
        """A run of the chip with a fault; 0 is none."""
        shutil.rmtree(folder, ignore_errors=True)
        until = (f"+{UNTIL}={run.until_ps}",) if run.until_ps else ()
        return run_test(
            self.chip,
            run.spec.test,
            folder,
            seed=run.spec.seed,
            config=run.config,
            adapters=run.adapters,
            timeout_s=300,
            variation=Variation(launcher=self._launcher, plusargs=(f"+{PLUSARG}={number}", *until)),
        )

    def diagnosed(self, run: Run, number: int) -> Diagnosis | None:
        """The diagnosis of a run; None where no tap differs."""
        folder = self.out / "run"
        done = self.run(run, number, folder)
        if done.passed or done.comparison is None or not done.comparison.first_divergence:
            return None
        adapters = [adapter.quantized for adapter in run.adapters]
        try:
            return diagnose(self.design, self.etched.model, adapters, folder, LIMIT_S)
        except InputError as error:
            print(f"  {error}", file=sys.stderr)
            return None

    def _ready(self, spec: ItemSpec) -> Run:
        adapters = adapters_of(spec, self.etched)
        config = test_config(spec, self.design, adapters)
        run = Run(spec, config, adapters, 0)
        done = self.run(run, 0, self.out / "run")
        if not done.passed:
            reason = done.reasons[0]
            raise InputError(f"is no PASS without a fault: {reason.name}: {reason.message}", source=spec.name)
        return Run(spec, config, adapters, limit_ps(done.outcome.results_xml))

    def _directed(self, rng: random.Random) -> ItemSpec:
        """Sequences of drawn tokens; one is as long as the context allows, at most 18."""
        vocab = self._vocab()
        longest = min(18, self.design.context or 18)
        sequences = [[rng.randrange(vocab) for _ in range(count)] for count in (longest, 5, 3)]
        return self._spec(self.design.project.signoff.directed, rng, directed=tuple(map(tuple, sequences)))

    def _adapted(self, rng: random.Random, recipe: str | None) -> Iterator[ItemSpec]:
        """Base and two adapters, one after the other and in turn."""
        config = AdapterConfig(r=_RANK, lora_alpha=2.0 * _RANK, target_modules=tuple(LINEARS))
        folders = [
            write_synthetic_adapter(
                self.out / f"adapter{number}", self.design.checkpoint.config, config, number
            )
            for number in (1, 2)
        ]
        for _ in range(2):
            prompt = tuple(rng.randrange(self._vocab()) for _ in range(6))
            names = tuple(str(folder.absolute()) for folder in folders)
            yield self._spec(
                self.design.project.verif.generation, rng, prompt_ids=prompt, tokens=5, adapters=names
            )

    def _vocab(self) -> int:
        size = self.design.inputs.vocab_size
        assert size is not None  # of a chip that takes tokens
        return size

    def _spec(self, test: str, rng: random.Random, **fields: Any) -> ItemSpec:
        return ItemSpec(
            name=test,
            test=test,
            model=str(self.design.source.path.absolute()),
            shape=None,
            recipe=self.design.recipe.name,
            context=None,
            kind="fast",
            seed=rng.randrange(1 << 30),
            **{"adapters": (), **fields},
        )


def scored(bench: Bench, number: int, fault: RtlFault, chip: str) -> Scored:
    """Try a fault: a run that shows it, its diagnosis, and another run that has to agree."""
    started = time.monotonic()
    is_declared = bench.is_declared(fault)
    due = named(fault.file, fault.operator) if is_declared else Named(UNITS.get(fault.module, ("*",)))
    result = Scored(
        chip=chip,
        name=fault.name,
        module=fault.module,
        operator=fault.operator,
        is_declared=is_declared,
    )
    for first, again in bench.pairs:
        found = bench.diagnosed(first, number)
        if found is None:
            continue
        fields = _judged(found, due)
        if found.certain:
            fields["holds"] = _holds(found, bench.diagnosed(again, number))
        return result.model_copy(
            update={**fields, "seen": True, "wall_s": round(time.monotonic() - started, 2)}
        )
    return result.model_copy(update={"wall_s": round(time.monotonic() - started, 2)})


def _judged(found: Diagnosis, due: Named) -> dict[str, Any]:
    ranked = [[cause.kind, *(rival.kind for rival in cause.rivals)] for cause in found.causes]
    fits = [[any(fnmatch(kind, right) for right in due.kinds) for kind in kinds] for kinds in ranked]
    is_named = bool(due.kinds)
    whole = bool(fits) and not found.unexplained
    return {
        "finding": found.finding,
        "units": tuple(dict.fromkeys(one.tap for one in found.origins)),
        "kinds": tuple(ranked[0]) if ranked else (),
        "blames": all("*" in due.units or {one.module, one.tap} & set(due.units) for one in found.origins)
        if found.origins
        else None,
        "first": whole and all(kinds[0] for kinds in fits) if is_named else None,
        "three": whole and all(any(kinds[:3]) for kinds in fits) if is_named else None,
        "complete": found.complete,
        "certain": found.certain,
        "said": tuple(f"{cause.kind}: {cause.what} ({place_of(cause)})" for cause in found.causes[:3]),
    }


def _holds(first: Diagnosis, again: Diagnosis | None) -> bool | None:
    """Whether each cause holds in another run: every origin there that is of its units has it among its causes."""
    if again is None or not again.complete:
        return None
    held = [_holds_there(cause, first, again) for cause in first.causes]
    known = [one for one in held if one is not None]
    return all(known) if known else None


def _holds_there(cause: CauseRecord, first: Diagnosis, again: Diagnosis) -> bool | None:
    classes = {one.unit: (one.module, one.tap) for one in (*first.origins, *again.origins)}
    mine = {classes[unit] for unit in cause.origins}
    own = set(cause.origins)
    is_local = cause.at in own or bool(cause.where.inject) or cause.where.image is not None
    due = {one.unit for one in again.origins if (one.unit in own if is_local else classes[one.unit] in mine)}
    if not due:
        return None
    key = (cause.kind, cause.at)
    explained = {
        unit
        for other in again.causes
        if key in [(one.kind, one.at) for one in (other, *other.rivals)]
        for unit in other.origins
    }
    return due <= explained


def _odd(folder: Path) -> tuple[Path, str]:
    """The checkpoint of an odd shape, and its recipe."""
    model = write_synthetic(folder / ODD, ModelConfig.model_validate(_ODD_CONFIG), 5)
    recipe = folder / "odd.yaml"
    recipe.write_text(_ODD_RECIPE, encoding="utf-8")
    return model, str(recipe)


def _done(file: Path) -> set[str]:
    if not file.exists():
        return set()
    return {json.loads(line)["name"] for line in file.read_text(encoding="utf-8").splitlines()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.named", description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help=f"a checkpoint's folder, or {ODD}")
    parser.add_argument("--recipe", default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--generic", type=int, default=60, help="faults of the generic operators to draw")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; one that is there is continued")
    parser.add_argument("--work", type=Path, required=True, help="folder for chip and runs, made anew")
    parser.add_argument(
        "--only", default="", help="faults whose name holds this text alone, said and not written"
    )
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    model, recipe = (
        _odd(arguments.work) if arguments.model == ODD else (Path(arguments.model), arguments.recipe)
    )
    bench = Bench(load_project(ROOT), model, recipe, arguments.seed, arguments.generic, arguments.work)
    done = _done(arguments.out)
    chip = ODD if arguments.model == ODD else model.name
    faults: list[tuple[int, RtlFault]] = [
        (number, fault)
        for number, fault in bench.schemata.faults.items()
        if arguments.only in fault.name and (arguments.only or fault.name not in done) and bench.shows(fault)
    ]
    random.Random(arguments.seed).shuffle(faults)  # as far as it goes, it is a fair sample
    try:
        for place, (number, fault) in enumerate(faults, 1):
            result = scored(bench, number, fault, chip)
            if not arguments.only:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(result.model_dump_json() + "\n")
            line = f"{place}/{len(faults)} {fault.name}: {result.finding or 'not seen'} {result.said}"
            marks = f"first {result.first}, blames {result.blames}, holds {result.holds}"
            print(f"{line} {marks}, {result.wall_s} s", flush=True)
    finally:
        bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
