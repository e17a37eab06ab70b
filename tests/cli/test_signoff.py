"""``etchproof signoff`` from end to end on the shipped checkpoint, and what makes it say no."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import load_checkpoint
from etchproof.signoff.evidence import LINKS
from etchproof.signoff.result import SignoffResult
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
      rom_observability: 100
      injected_faults_drawn: 4
      injected_faults_caught: 100
      covergroup:
        {kv_cache: 40, control: 25, handshake: 25, reset: 0, rounding: 30, tables: 30, softmax: 50, argmax: 50,
         embedding_rows: 100, lora_ranks: 5, lora_sram: 20, lora_adapters: 90, lora_swaps: 10, lora_status: 10,
         lora_rounding: 60}
"""
LIST = """
entries:
  - {tests: [GreedyGeneration], models: ["@model"], adapters: [["@adapters"]], prompts: ["Once"], tokens: 12}
  - {tests: [RandomTokens, VocabularySweep, RomReadback], models: ["@model"]}
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
    (root / "verif" / "signoff.yaml").write_text(GATES)
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
    for name in ("signoff.json", "report.html", "functional.json", "junit.xml"):
        shutil.copy(out / name, kept / name)
    return Passed(done.stdout, read(kept), kept)


def read(out: Path) -> SignoffResult:
    return SignoffResult.model_validate_json((out / "signoff.json").read_bytes())


def test_pass(passed: Passed) -> None:
    assert "PASS     tiny under w6a16, stage V1" in passed.stdout
    result = passed.result
    assert result.verdict == "PASS" and result.open_items == ()
    evidence = result.evidence
    assert evidence.rom is not None and evidence.rom.open == 0 and evidence.rom.padding_bits > 0
    assert evidence.rom.proven + evidence.rom.redundant == evidence.rom.total > 800_000
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
    """A stored verdict is drawn again, and one that somebody touched up is refused."""
    stored = (passed.folder / "signoff.json").read_text()
    (tmp_path / "signoff.json").write_text(stored)
    done = etchproof(project, cli_env, "report", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "PASS     tiny under w6a16, stage V1" in done.stdout
    assert (tmp_path / "report.html").read_bytes() == (passed.folder / "report.html").read_bytes()
    (tmp_path / "signoff.json").write_text(stored.replace('"verdict": "PASS"', '"verdict": "FAIL"'))
    done = etchproof(project, cli_env, "report", tmp_path)
    assert done.returncode == 2
    assert "does not follow" in done.stderr and len(done.stderr.splitlines()) == 1


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
    done = signoff(*words, "--adapter", project)
    assert done.returncode == 2 and "no slot for adapters" in done.stderr


def test_an_expired_waiver(signoff: Signoff, out: Path, changed: Change, passed: Passed) -> None:
    fabric = passed.result.evidence.fabric_sha256
    waiver = f"""waivers:
  - what: covergroup.tables
    why: the largest gates of this checkpoint are small
    who: verification lead
    until: 2026-11-30
    fabric: {fabric}
"""
    changed("verif/waivers.yaml", "waivers: []", waiver)
    changed("verif/signoff.yaml", "tables: 30", "tables: 100")
    assert signoff("--today", "2026-11-30").returncode == 0
    assert [found.state for found in read(out).waivers] == ["used"]
    assert signoff("--today", "2026-12-01").returncode == 1
    assert [found.state for found in read(out).waivers] == ["expired"]
    assert len(read(out).open_items) == 2


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "verif/testplan.hjson",
            'tests: ["GreedyGeneration"]',
            "tests: []",
            "'token_generation' has no tests",
        ),
        ("verif/signoff.yaml", "kv_cache: 40, ", "", "covergroup 'kv_cache' has no gate"),
        (
            "verif/covergroups.py",
            'Covergroup("softmax", SOFTMAX),',
            "",
            "covergroup 'softmax' is not in the coverage",
        ),
        ("verif/waivers.yaml", "waivers: []", "waivers: {}", "waivers"),
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
    """One bit of one file, inverted after the last simulation: no run sees it, the files' own check does."""
    changed(
        "verif/rom_files.py",
        "    reader = _Reader(",
        """    path = images.path(next(image for image in images.images if image.name == "q_proj.codes"))
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    reader = _Reader(""",
    )
    done = signoff()
    assert done.returncode == 1, done.stdout + done.stderr
    assert failed_gates(out) == {"rom_files", "provenance", "testpoints_passed"}
    chain = read(out).evidence.provenance
    assert chain is not None and "files" in {link.name for link in chain.links if not link.holds}
    assert "content does not have the hash of its name" in done.stdout


def test_a_skipped_testpoint(signoff: Signoff, out: Path, changed: Change) -> None:
    """A test that returns before it did anything: its run proves nothing, and its testpoints are open."""
    skipping = 'rows."""\n\n    async def stimulus(self) -> None:\n'
    changed("verif/tests.py", skipping, skipping + "        return\n")
    assert signoff().returncode == 1
    assert {"tests_passed", "testpoints_passed"} <= failed_gates(out)
    result = read(out)
    (skipped,) = (item for item in result.evidence.items if item.test == "ContextLimit")
    assert skipped.verdict == "FAIL" and skipped.elements == 0
    assert "rope" in {point.name for point in result.evidence.testpoints if not point.shown}


def test_another_cycle(signoff: Signoff, out: Path, changed: Change) -> None:
    """A model that is a cycle off: every run fails, and so does the gate that counts."""
    changed("verif/reference.py", "cycles = token_cycles(", "cycles = 1 + token_cycles(")
    assert signoff().returncode == 1
    assert {"tests_passed", "cycle_model"} <= failed_gates(out)
    assert {reason.name for item in read(out).evidence.items for reason in item.reasons} == {"cycles"}


def test_another_signature(signoff: Signoff, out: Path, changed: Change) -> None:
    """Words that agree and signatures that do not: a chip or a testbench with another polynomial."""
    changed("verif/rom_test.py", "POLYNOMIAL: Final = 0x04C11DB7", "POLYNOMIAL: Final = 0x04C11DB5")
    done = signoff()
    assert done.returncode == 1
    gates = {gate.name: gate for gate in read(out).gates}
    assert not gates["rom_signature"].passed and "signature" in gates["rom_signature"].message
    assert gates["rom_files"].passed and not gates["testpoints_passed"].passed
    chain = read(out).evidence.provenance
    assert chain is not None
    assert {link.name for link in chain.links if not link.holds} == {"read back", "signatures"}


def test_a_broken_tap(signoff: Signoff, out: Path, changed: Change) -> None:
    """A chip whose tap is wrong: runs fail, nothing of them is covered, no bit is proven by them."""
    changed(
        "hw/sim/ep_tap.sv", "int'(pos_i), int'(count_i), data_i);", "int'(pos_i), int'(count_i) - 1, data_i);"
    )
    done = signoff()
    assert done.returncode == 1
    result = read(out)
    assert all(item.verdict == "FAIL" and item.rerun for item in result.evidence.items)
    failed = {gate.name for gate in result.gates if not gate.passed}
    assert {"tests_passed", "elements_compared", "testpoints_passed", "rom_observability"} <= failed
    assert result.evidence.rom is not None and result.evidence.rom.proven == 0
