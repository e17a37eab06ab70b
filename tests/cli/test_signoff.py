"""``etchproof signoff`` from end to end on the shipped checkpoint, and what makes it say no."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import load_checkpoint
from etchproof.signoff.evidence import LINKS
from etchproof.signoff.result import SignoffResult, evidence_sha256
from etchproof.signoff.verdict import draw
from tests.cli.conftest import LIMIT_S, command

pytestmark = pytest.mark.sim

GATES = """
stages:
  V1:
    regression: signoff-v1
    injected_faults: 4
    gates:
      tests_passed: 100
      elements_compared: 100000
      cycle_model: 100
      provenance: 100
      testpoints_passed: 100
      rom_files: 100
      rom_readback: 100
      rom_signature: 100
      quantized: 100
      arithmetic: 100
      checker: 100
      rom_observability: 100
      table_bits: 100
      injected_faults_drawn: 4
      injected_faults_caught: 100
      covergroup:
        {kv_cache: 40, kv_rows: 5, kv_columns: 80, control: 25, handshake: 25, reset: 5, rounding: 100, ends: 100,
         tables: 30, residual: 100, softmax: 100, swiglu: 100, argmax: 100,
         embedding_rows: 100, lora_ranks: 5, lora_sram: 20, lora_adapters: 90, lora_swaps: 10, lora_status: 10,
         lora_rounding: 60}
    not_measured:
      {qualified: this test signs off in a minute,
       testpoints_untouched: this test signs off in a minute, fabric_invariance: this test signs off in a minute,
       lint: this test signs off in a minute, rom_words: this test signs off in a minute,
       accumulators: this test signs off in a minute, code_line: this test signs off in a minute,
       code_branch: this test signs off in a minute, code_toggle: this test signs off in a minute,
       code_control: this test signs off in a minute,
       quality_kl: this test signs off in a minute, quality_top1: this test signs off in a minute,
       saturation: this test signs off in a minute, dead: this test signs off in a minute}
"""
LIST = """
entries:
  - {tests: [GreedyGeneration], models: ["@model"], adapters: [["@adapters"]], prompts: ["Once"], tokens: 12}
  - {tests: [RandomTokens, VocabularySweep, RomReadback], models: ["@model"]}
  - {tests: [ResetMidSequence], models: ["@model"]}
  - {tests: [ContextLimit], models: ["@model"], contexts: [18]}
  - {tests: [AdapterTwice], models: ["@model"], adapters: [["@corners", "@adapters"]]}
"""

Signoff = Callable[..., subprocess.CompletedProcess[str]]
Change = Callable[[str, str, str], None]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """A copy of the reference project with few runs."""
    root = tmp_path_factory.mktemp("project")
    for name in ("hw", "templates", "models", "verif", "ci", "etchproof.toml"):
        source = repo_root / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    (root / "verif" / "signoff" / "gates.yaml").write_text(GATES)
    (root / "ci" / "signoff-v1.yaml").write_text(LIST)
    return root


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that pass are not repeated from one test to the next."""
    return tmp_path_factory.mktemp("signoff")


@pytest.fixture(scope="module")
def signoff(project: Path, out: Path, cli_env: dict[str, str]) -> Signoff:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return etchproof(
            project,
            cli_env,
            *("signoff", project / "models" / "tiny", "--stage", "V1", "--out", out, "-j", "2", *words),
        )

    return run


def etchproof(project: Path, env: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=project, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@dataclass(frozen=True)
class Passed:
    """A sign-off that passed, kept from what later tests do to the folder."""

    stdout: str
    result: SignoffResult
    folder: Path


@pytest.fixture(scope="module")
def passed(signoff: Signoff, out: Path, tmp_path_factory: pytest.TempPathFactory) -> Passed:
    done = signoff()
    assert done.returncode == 0, done.stdout + done.stderr
    kept = tmp_path_factory.mktemp("passed")
    shutil.rmtree(kept)
    shutil.copytree(out, kept, ignore=shutil.ignore_patterns(".lock*", "chips", "injected"))
    return Passed(done.stdout, read(kept), kept)


def read(out: Path) -> SignoffResult:
    return SignoffResult.model_validate_json((out / "signoff.json").read_bytes())


def test_pass(passed: Passed) -> None:
    assert "PASS     tiny under w6a16, stage V1" in passed.stdout
    result = passed.result
    assert result.verdict == "PASS" and result.open_items == ()
    evidence = result.evidence
    assert evidence.rom is not None and evidence.rom.open == 0 and evidence.rom.padding_bits > 0
    assert evidence.rom.proven + evidence.rom.redundant == evidence.rom.total > 900_000
    sizes = sum(image.bits for image in evidence.rom.images)
    assert evidence.rom.uncounted == 0 and sizes == evidence.rom.total + evidence.rom.padding_bits
    held = {part.site: part.copies for part in evidence.rom.parts}
    assert held["rope.cos"] == held["rope.sin"] == 3 and held["params"] == held["model.layers.2.params"] == 1
    assert evidence.tables is not None and evidence.tables.open == 0 and len(evidence.tables.parts) == 4
    assert evidence.injection is not None and evidence.injection.located == 4
    assert all(point.shown for point in evidence.testpoints)
    assert {point.stage for point in evidence.testpoints} == {"V1"}
    assert evidence.provenance is not None
    assert [link.name for link in evidence.provenance.links if link.holds] == list(LINKS)
    for item in evidence.items:
        assert item.in_cycles == item.answers > 0
    for name in ("report.html", "junit.xml"):
        assert (passed.folder / name).stat().st_size > 100
    stored = json.loads((passed.folder / "functional.json").read_text())
    first = {group["name"]: group["first"] for group in stored["covergroups"]}
    assert set(first["embedding_rows"]) <= {item.name for item in evidence.items}


def test_report(passed: Passed, project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    """A stored verdict is drawn again: the same bytes, and never through a link."""
    folder = shutil.copytree(passed.folder, tmp_path / "copy")
    victim = tmp_path / "victim"
    victim.write_text("not yours")
    for name in ("report.html", "junit.xml", "dvsim.json"):
        (folder / name).unlink()
        (folder / name).symlink_to(victim)
    done = etchproof(project, cli_env, "report", folder, "--project", project)
    assert done.returncode == 0, done.stderr
    assert "PASS     tiny under w6a16, stage V1; not measured: " in done.stdout
    assert victim.read_text() == "not yours"
    assert (folder / "report.html").read_bytes() == (passed.folder / "report.html").read_bytes()


Record = dict[str, Any]


def _link(name: str) -> Callable[[Record], Record]:
    return lambda e: next(link for link in e["provenance"]["links"] if link["name"] == name)


def _check(name: str) -> Callable[[Record], Record]:
    return lambda e: next(check for check in e["checks"] if check["name"] == f"signoff.{name}")


def _all_of(test: str) -> Callable[[Record], None]:
    def change(e: Record) -> None:
        e["items"] = [item for item in e["items"] if item["test"] != test]

    return change


def _shortened(points: list[Record]) -> None:
    point = next(point for point in points if len(point["tests"]) > 1)
    dropped = point["tests"].pop()
    for name in ("passed", "untouched"):
        point[name] = [test for test in point[name] if test != dropped]


DOCTORED: dict[str, Callable[[Record], object]] = {
    "files not named": lambda e: e.update(files={}),
    "one bit many times": lambda e: e["injection"].update(bits=[e["injection"]["bits"][0]] * 20),
    "a bit that is none": lambda e: e["injection"]["bits"][0].update(site="rom:nonsense[0,0]^0"),
    "one part of the ROM": lambda e: e["rom"].update(
        parts=e["rom"]["parts"][:1], by_run={"x": e["rom"]["parts"][0]["proven"]}
    ),
    "one accumulator": lambda e: e.update(accumulators=e["accumulators"][:1]),
    "an accumulator twice": lambda e: e["accumulators"].append(e["accumulators"][0]),
    "an accumulator of another name": lambda e: e["accumulators"][0].update(site="model.norm"),
    "an accumulator of a tensor that has none": lambda e: e["accumulators"].append(
        {"site": "model.norm", "largest": 1, "bound": 2}
    ),
    "one tap that is sound": lambda e: e["health"].update(taps=e["health"]["taps"][:1]),
    "a covergroup that is closed": lambda e: (
        [group.update(hit=group["bins"], holes=[]) for group in e["covergroups"]]
        + [e["covergroups"][0].update(bins=1, hit=1)]
    ),
    "a run removed": lambda e: e["items"].pop(0),
    "all runs of a test removed": _all_of("VocabularySweep"),
    "a run twice": lambda e: e["items"].append(e["items"][0]),
    "a run renamed": lambda e: e["items"][0].update(name="another"),
    "a run of another test": lambda e: e["items"][0].update(test="BackToBack"),
    "another seed": lambda e: e["items"][0].update(seed=5),
    "another kind": lambda e: e["items"][0].update(kind="strict"),
    "a PASS with reasons": lambda e: e["items"][0].update(reasons=[{"name": "mismatch", "message": "3"}]),
    "a PASS of nothing": lambda e: e["items"][0].update(elements=0),
    "more elements": lambda e: e["items"][0].update(elements=10**9),
    "more answers": lambda e: e["items"][0].update(answers=10**6, in_cycles=10**6),
    "an untouched run": lambda e: e["items"][0].update(untouched=True),
    "another item.json": lambda e: e["items"][0].update(sha256="0" * 64),
    "another fabric of a run": lambda e: e["items"][0].update(fabric_sha256="0" * 64),
    "another ROM of a run": lambda e: e["items"][0].update(rom_sha256="0" * 64),
    "another rerun": lambda e: e["items"][0].update(rerun="true"),
    "the stage renamed": lambda e: e.update(stage="V2"),
    "another project": lambda e: e.update(project="other"),
    "another list": lambda e: e.update(list_name="other"),
    "another checkpoint": lambda e: e["model"].update(sha256="0" * 64),
    "another model's name": lambda e: e["model"].update(name="other"),
    "another model's path": lambda e: e["model"].update(path="/other/tiny"),
    "another recipe": lambda e: e["recipe"].update(sha256="0" * 64),
    "another recipe's name": lambda e: e["recipe"].update(name="w8a16"),
    "another method": lambda e: e["recipe"].update(method="gptq"),
    "another context": lambda e: e["recipe"].update(context=9),
    "another ROM": lambda e: e.update(rom_sha256="0" * 64),
    "another fabric": lambda e: e.update(fabric_sha256="0" * 64),
    "a testpoint removed": lambda e: e["testpoints"].pop(0),
    "a testpoint reworded": lambda e: e["testpoints"][0].update(desc="something else is shown"),
    "a testpoint of fewer tests": lambda e: _shortened(e["testpoints"]),
    "a testpoint passed and failed": lambda e: e["testpoints"][0].update(
        failed=e["testpoints"][0]["tests"], passed=e["testpoints"][0]["tests"]
    ),
    "a testpoint shown untouched": lambda e: e["testpoints"][0].update(untouched=e["testpoints"][0]["tests"]),
    "a link removed": lambda e: e["provenance"]["links"].pop(3),
    "links in another order": lambda e: e["provenance"]["links"].reverse(),
    "a link of another hash": lambda e: _link("images")(e).update(sha256="0" * 64),
    "the fabric's link of another hash": lambda e: _link("fabric")(e).update(sha256="0" * 64),
    "the checkpoint's link of another hash": lambda e: _link("checkpoint")(e).update(sha256="0" * 64),
    "a link that holds without its check": lambda e: e["checks"].remove(_check("rom_files")(e)),
    "wrong words that were read back": lambda e: e["provenance"]["images"][3]["units"][0].update(wrong=2),
    "words that were not read back": lambda e: e["provenance"]["images"][3]["units"][0].update(read=0),
    "another signature": lambda e: e["provenance"]["images"][3]["units"][0].update(signature=1),
    "a ROM that was not read back": lambda e: e["provenance"]["images"][3].update(units=[]),
    "an image removed": lambda e: e["provenance"]["images"].pop(2),
    "another image": lambda e: e["provenance"]["images"][2].update(sha256="0" * 64),
    "hits above bins": lambda e: e["covergroups"][0].update(hit=e["covergroups"][0]["bins"] + 1),
    "holes that were filled": lambda e: e["covergroups"][0].update(hit=e["covergroups"][0]["bins"]),
    "a covergroup removed": lambda e: e["covergroups"].pop(0),
    "more bits proven": lambda e: e["rom"]["parts"][0].update(proven=10**9),
    "fewer bits": lambda e: e["rom"]["parts"].pop(0),
    "more words read": lambda e: e["rom"]["parts"][0].update(words_read=10**9),
    "a bit caught elsewhere": lambda e: e["injection"]["bits"][0].update(found=[0, "q_proj", 99]),
    "a bit caught nowhere": lambda e: e["injection"]["bits"][0].update(found=None),
    "a bit that was not caught": lambda e: e["injection"]["bits"][0].update(caught=False),
    "a check that failed": lambda e: _check("rom_readback")(e).update(passed=False),
    "nothing applies": lambda e: e.update(not_applicable=["lora_ranks"]),
    "another functional coverage": lambda e: e["files"].update({"functional.json": "0" * 64}),
}


def _doctored(
    passed: Passed, folder: Path, change: Callable[[Record], object], *, of_result: bool = False
) -> None:
    """Edit signoff.json, and mend all that is drawn from its evidence, as somebody would who knows how."""
    record = json.loads((passed.folder / "signoff.json").read_text())
    change(record if of_result else record["evidence"])
    (folder / "signoff.json").write_text(json.dumps(record))
    with contextlib.suppress(ValidationError):
        result = SignoffResult.model_validate(record)
        drawn = draw(result.rules, result.evidence, [one.waiver for one in result.waivers], result.today)
        mended = result.model_copy(
            update={
                "evidence_sha256": evidence_sha256(result.evidence),
                "verdict": drawn.verdict,
                "open_items": drawn.open_items,
                "gates": drawn.gates,
                "waivers": drawn.waivers,
                "not_measured": drawn.not_measured,
            }
        )
        (folder / "signoff.json").write_text(mended.model_dump_json())


VERIFIER = """
import sys
from pathlib import Path
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.signoff.result import read_result
from etchproof.signoff.verify import verify

for line in sys.stdin:
    folder = Path(line.rstrip())
    try:
        verify(read_result(folder / "signoff.json"), folder, load_project(Path(sys.argv[1])))
    except InputError as error:
        print(error, flush=True)
    else:
        print(flush=True)
"""

Refused = Callable[[Path], str]


@pytest.fixture(scope="module")
def refused(project: Path) -> Iterator[Refused]:
    """Why ``report`` does not believe a folder; empty where it does.

    A process of its own looks at one folder after the other: it imports the copy's ``models``, this one the checkout's.
    """
    with subprocess.Popen(
        [sys.executable, "-c", VERIFIER, project], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def ask(folder: Path) -> str:
            print(folder, file=asked, flush=True)
            line = answers.readline()
            assert line.endswith("\n"), "the verifier ended"
            return line.rstrip()

        yield ask


@pytest.fixture(scope="module")
def doctored(passed: Passed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose signoff.json tests may edit."""
    return shutil.copytree(passed.folder, tmp_path_factory.mktemp("doctored") / "copy")


def test_the_copy_is_believed(passed: Passed, refused: Refused, doctored: Path) -> None:
    shutil.copy(passed.folder / "signoff.json", doctored / "signoff.json")
    assert refused(doctored) == ""


@pytest.mark.parametrize("what", DOCTORED)
def test_a_doctored_record(passed: Passed, refused: Refused, doctored: Path, what: str) -> None:
    """However well it was mended."""
    _doctored(passed, doctored, DOCTORED[what])
    assert refused(doctored)


OF_RESULT: dict[str, Callable[[Record], object]] = {
    "limits lowered": lambda r: r["rules"]["gates"].update(rom_observability=1.0),
    "a gate deleted": lambda r: r["rules"]["gates"].pop("rom_readback"),
    "fewer faults": lambda r: r["rules"].update(injected_faults=0),
    "another list": lambda r: r["rules"].update(regression="smoke"),
    "a reason reworded": lambda r: r["rules"]["not_measured"].update(lint="whatever anybody may say of it"),
    "other judges": lambda r: r.update(judged_by={}),
    "another gates file": lambda r: r["judged_by"].update({"verif/signoff/gates.yaml": "0" * 64}),
    "a waiver": lambda r: r["waivers"].append(
        {
            "waiver": {
                "what": "rom_words",
                "why": "nobody will look at this one",
                "who": "lead",
                "until": "2099-01-01",
                "fabric": r["evidence"]["fabric_sha256"],
            },
            "state": "used",
            "message": "",
        }
    ),
}


@pytest.mark.parametrize("what", OF_RESULT)
def test_doctored_rules(passed: Passed, refused: Refused, doctored: Path, what: str) -> None:
    """The project's own files decide the limits."""
    _doctored(passed, doctored, OF_RESULT[what], of_result=True)
    assert refused(doctored)


def test_every_leaf_of_the_evidence_is_bound(passed: Passed, refused: Refused, doctored: Path) -> None:
    """An edit that leaves the hash as it was is noticed, wherever it is."""
    record = json.loads((passed.folder / "signoff.json").read_text())
    leaves = list(_leaves(record["evidence"]))
    assert len(leaves) > 1000
    for path in leaves[:: max(1, len(leaves) // 200)]:
        edited = copy.deepcopy(record)
        _alter(edited["evidence"], path)
        (doctored / "signoff.json").write_text(json.dumps(edited))
        assert refused(doctored), path


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def _alter(record: Any, path: tuple[Any, ...]) -> None:
    *above, last = path
    for key in above:
        record = record[key]
    value = record[last]
    record[last] = (
        not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("regression/items/RandomTokens-tiny-w6a16-s1/item.json", "evidence.items"),
        ("regression/items/RandomTokens-tiny-w6a16-s1/comparison.json", "evidence.items"),
        ("regression/regression.json", "regression.json"),
        ("functional.json", "evidence.files"),
        ("readback/readback.json", "evidence.files"),
        ("chip/fabric/ep_chip.sv", "evidence.fabric_sha256"),
        ("chip/fabric.json", "evidence.fabric_sha256"),
        ("chip/rom/manifest.json", "manifest.json"),
    ],
)
def test_a_file_of_the_folder_that_was_edited(
    passed: Passed, refused: Refused, doctored: Path, name: str, problem: str
) -> None:
    shutil.copy(passed.folder / "signoff.json", doctored / "signoff.json")
    path = doctored / name
    content = path.read_bytes()
    for changed in (content[:-3], None):
        path.unlink()
        if changed is not None:
            path.write_bytes(changed)
        assert problem in refused(doctored)
        path.write_bytes(content)
    assert refused(doctored) == ""


@pytest.mark.parametrize(
    "name",
    [
        "verif/signoff/gates.yaml",
        "verif/signoff/waivers.yaml",
        "verif/signoff/testplan.hjson",
        "verif/signoff/exclusions.yaml",
    ],
)
def test_a_judging_file_that_changed_since(
    passed: Passed, refused: Refused, doctored: Path, changed: Change, name: str
) -> None:
    shutil.copy(passed.folder / "signoff.json", doctored / "signoff.json")
    changed(name, "\n", "\n# another day\n")
    assert f"{name} has changed since" in refused(doctored)


def test_another_model_is_refused_and_no_old_verdict_is_left(
    passed: Passed, project: Path, cli_env: dict[str, str], out: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(project / "models" / "tiny", tmp_path / "other")
    done = etchproof(project, cli_env, "signoff", other, "--stage", "V1", "--out", out)
    assert done.returncode == 2 and "holds a sign-off of" in done.stderr, done.stderr
    folder = shutil.copytree(passed.folder, tmp_path / "early")
    words = ("signoff", project / "models" / "tiny", "--stage", "V1", "--out", folder)
    with subprocess.Popen(
        command(*words), cwd=project, env=cli_env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("quantize"):
                break
        process.send_signal(signal.SIGINT)
        process.wait(60)
    left = {path.name for path in folder.iterdir()}
    assert not left & {"signoff.json", "report.html", "junit.xml", "dvsim.json", "functional.json"}


@pytest.fixture
def changed(project: Path) -> Iterator[Change]:
    """Change a file of the project for one test."""
    kept: dict[Path, str] = {}

    def change(name: str, old: str, new: str) -> None:
        path = project / name
        kept.setdefault(path, path.read_text())
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    yield change
    for path, text in kept.items():
        path.write_text(text)


@pytest.mark.slow
def test_a_test_removed_from_the_list(signoff: Signoff, out: Path, changed: Change) -> None:
    changed("ci/signoff-v1.yaml", "RandomTokens, ", "")
    done = signoff()
    assert done.returncode == 1
    items = read(out).open_items
    assert len(items) == 1 and items[0].startswith("gate testpoints_passed") and "rms_norm" in items[0]
    assert "FAIL     tiny" in done.stdout


def test_adapters(signoff: Signoff, out: Path, project: Path, tmp_path: Path) -> None:
    """Those of the command line run beside the drawn ones; what they add proves no bit of the mask."""
    model = load_checkpoint(project / "models" / "tiny").config
    config = AdapterConfig(r=2, lora_alpha=4.0, target_modules=("q_proj", "down_proj"))
    boy = write_synthetic_adapter(tmp_path / "boy", model, config, 1)
    done = signoff("--adapter", boy)
    assert done.returncode == 0, done.stdout + done.stderr
    evidence = read(out).evidence
    assert [adapter.name for adapter in evidence.adapters] == ["boy"] and evidence.not_applicable == ()
    tests = {item.name: item.test for item in evidence.items}
    assert tests["GreedyGeneration-tiny-w6a16-boy-s1"] == "GreedyGeneration"
    assert tests["AdapterTwice-tiny-w6a16-corners-boy-s1"] == "AdapterTwice"
    groups = {group.name: group for group in evidence.covergroups}
    assert groups["lora_ranks"].hit > 0 and "base" not in groups["lora_adapters"].holes
    assert evidence.rom is not None and evidence.rom.open == 0
    done = signoff("--adapter", tmp_path / "nowhere")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_a_chip_without_slots(signoff: Signoff, project: Path, tmp_path: Path) -> None:
    """What is planned for adapters does not apply to it, and is listed so; an adapter for it is refused."""
    recipe = (project / "models" / "recipes" / "w6a16.yaml").read_text()
    (tmp_path / "bare.yaml").write_text(f"{recipe}\nlora: {{slots: 0}}\n")
    words = ("--recipe", tmp_path / "bare.yaml", "--out", tmp_path / "out")
    done = signoff(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    evidence = read(tmp_path / "out").evidence
    assert {"adapter_products", "adapter_slots", "lora_ranks"} <= set(evidence.not_applicable)
    assert not [item for item in evidence.items if item.test.startswith("Adapter")]
    assert not [point for point in evidence.testpoints if point.name.startswith("adapter_")]
    done = signoff(*words, "--adapter", tmp_path / "nowhere")
    assert done.returncode == 2 and "no slot for adapters" in done.stderr


@pytest.mark.slow
def test_an_expired_waiver(signoff: Signoff, out: Path, changed: Change, passed: Passed) -> None:
    fabric = passed.result.evidence.fabric_sha256
    waiver = f"""waivers:
  - what: covergroup.control
    why: the few runs of this test reset the chip in few steps
    who: verification lead
    until: 2026-11-30
    fabric: {fabric}
"""
    changed("verif/signoff/waivers.yaml", "waivers: []", waiver)
    changed("verif/signoff/gates.yaml", "control: 25", "control: 100")
    assert signoff("--today", "2026-11-30").returncode == 0
    assert [found.state for found in read(out).waivers] == ["used"]
    assert signoff("--today", "2026-12-01").returncode == 1
    assert [found.state for found in read(out).waivers] == ["expired"]
    assert len(read(out).open_items) == 2


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "verif/signoff/testplan.hjson",
            'tests: ["GreedyGeneration"]',
            "tests: []",
            "'token_generation' has no tests",
        ),
        ("verif/signoff/gates.yaml", "kv_cache: 40, ", "", "covergroup 'kv_cache' has no gate"),
        (
            "verif/coverage/covergroups.py",
            'Covergroup("softmax", softmax_bins(plan)),',
            "",
            "covergroup 'softmax' is not in the coverage",
        ),
        ("verif/signoff/waivers.yaml", "waivers: []", "waivers: {}", "waivers"),
        ("ci/signoff-v1.yaml", "VocabularySweep", "Sweep", "'Sweep' is no test of the testbench"),
    ],
)
def test_bad_input(signoff: Signoff, changed: Change, name: str, old: str, new: str, said: str) -> None:
    """A plan with a hole in it is refused before anything runs."""
    changed(name, old, new)
    done = signoff()
    assert done.returncode == 2, done.stdout
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def failed_gates(out: Path) -> set[str]:
    return {gate.name for gate in read(out).gates if not gate.passed}


def test_a_rom_file_corrupted_on_disk(signoff: Signoff, out: Path, changed: Change) -> None:
    """One bit of one file, inverted after the regression: no run of it sees it, the files' own check does.

    The run that the checker is tried with comes after, and is no PASS.
    """
    changed(
        "verif/rom_port/files.py",
        "    reader = _Reader(",
        """    path = images.path(next(image for image in images.images if image.name == "q_proj.codes"))
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    reader = _Reader(""",
    )
    done = signoff()
    assert done.returncode == 1, done.stdout + done.stderr
    # What is padding cannot be counted in a file that is not what it was.
    assert failed_gates(out) == {
        "rom_files",
        "rom_observability",
        "provenance",
        "checker",
        "testpoints_passed",
    }
    chain = read(out).evidence.provenance
    assert chain is not None and "files" in {link.name for link in chain.links if not link.holds}
    assert "content does not have the hash of its name" in done.stdout


@pytest.mark.slow
def test_a_skipped_testpoint(signoff: Signoff, out: Path, changed: Change) -> None:
    """A test that returns before it did anything: its run proves nothing, and its testpoints are open."""
    doc = 'a new sequence over the old rows."""\n'
    changed("verif/tests.py", doc, doc + "\n    async def stimulus(self) -> None:\n        return\n")
    assert signoff().returncode == 1
    assert {"tests_passed", "testpoints_passed"} <= failed_gates(out)
    result = read(out)
    (skipped,) = (item for item in result.evidence.items if item.test == "ContextLimit")
    assert skipped.verdict == "FAIL" and skipped.elements == 0
    assert "rope" in {point.name for point in result.evidence.testpoints if not point.shown}


@pytest.mark.slow
def test_another_cycle(signoff: Signoff, out: Path, changed: Change) -> None:
    """A model that is a cycle off: every run fails, and so does the gate that counts."""
    changed("verif/reference.py", "cycles = token_cycles(", "cycles = 1 + token_cycles(")
    assert signoff().returncode == 1
    assert {"tests_passed", "cycle_model"} <= failed_gates(out)
    assert {reason.name for item in read(out).evidence.items for reason in item.reasons} == {"cycles"}


@pytest.mark.slow
def test_another_signature(signoff: Signoff, out: Path, changed: Change) -> None:
    """Words that agree and signatures that do not: a chip or a testbench with another polynomial."""
    changed("verif/rom_port/units.py", "POLYNOMIAL: Final = 0x04C11DB7", "POLYNOMIAL: Final = 0x04C11DB5")
    done = signoff()
    assert done.returncode == 1
    gates = {gate.name: gate for gate in read(out).gates}
    assert not gates["rom_signature"].passed and "signature" in gates["rom_signature"].message
    assert gates["rom_files"].passed and not gates["testpoints_passed"].passed
    chain = read(out).evidence.provenance
    assert chain is not None
    assert {link.name for link in chain.links if not link.holds} == {"read back", "signatures"}


@pytest.mark.slow
def test_a_broken_tap(signoff: Signoff, out: Path, changed: Change) -> None:
    """A chip whose tap is wrong: runs fail, nothing of them is covered, no bit is proven by them."""
    changed("templates/linear.j2", ".count_i({{ count }}),", ".count_i({{ count }} - 32'd1),")
    done = signoff()
    assert done.returncode == 1
    result = read(out)
    assert all(item.verdict == "FAIL" and item.rerun for item in result.evidence.items)
    failed = {gate.name for gate in result.gates if not gate.passed}
    assert {"tests_passed", "elements_compared", "testpoints_passed", "rom_observability"} <= failed
    assert result.evidence.rom is not None and result.evidence.rom.proven == 0
