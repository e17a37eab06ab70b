"""``etchproof signoff`` from end to end on the shipped checkpoint, and what makes it say no."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etchproof.signoff.run import SignoffResult
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
      testpoints_passed: 100
      rom_files: 100
      rom_readback: 100
      rom_signature: 100
      rom_observability: 100
      injected_faults_drawn: 4
      injected_faults_caught: 100
      covergroup:
        {kv_cache: 40, control: 25, rounding: 30, tables: 30, softmax: 50, argmax: 50, embedding_rows: 100}
"""
LIST = """
entries:
  - {tests: [GreedyGeneration], models: ["@model"], prompts: ["Once"], tokens: 12}
  - {tests: [RandomTokens, VocabularySweep, RomReadback], models: ["@model"]}
  - {tests: [ContextLimit], models: ["@model"], contexts: [18]}
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


@pytest.fixture
def signoff(project: Path, out: Path, cli_env: dict[str, str]) -> Signoff:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("signoff", project / "models" / "tiny", "--stage", "V1", "--out", out, "-j", "2", *words),
            cwd=project,
            env=cli_env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    return run


def read(out: Path) -> SignoffResult:
    return SignoffResult.model_validate_json((out / "signoff.json").read_bytes())


def test_pass(signoff: Signoff, out: Path) -> None:
    done = signoff()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS     tiny under w6a16, stage V1" in done.stdout
    result = read(out)
    assert result.verdict == "PASS" and result.open_items == ()
    evidence = result.evidence
    assert evidence.rom is not None and evidence.rom.open == 0 and evidence.rom.padding_bits > 0
    assert evidence.rom.proven + evidence.rom.redundant == evidence.rom.total > 800_000
    assert evidence.injection is not None and evidence.injection.located == 4
    assert all(point.shown for point in evidence.testpoints)
    assert {point.stage for point in evidence.testpoints} == {"V1"}
    chain = evidence.provenance
    assert chain is not None and chain.checkpoint_sha256 == evidence.model.sha256
    assert chain.rom_sha256 == evidence.rom_sha256 and len(chain.tensors) > 40
    units = [unit for image in chain.images for unit in image.units]
    assert all(image.units for image in chain.images) and len({unit.unit for unit in units}) == len(units)
    assert all(unit.words_hold and unit.signature_holds for unit in units)
    for name in (
        "report.html",
        "junit.xml",
        "functional.json",
        "regression/junit.xml",
        "readback/readback.json",
    ):
        assert (out / name).stat().st_size > 100
    stored = json.loads((out / "functional.json").read_text())
    first = {group["name"]: group["first"] for group in stored["covergroups"]}
    assert set(first["embedding_rows"]) <= {item.name for item in evidence.items}


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


def test_an_expired_waiver(signoff: Signoff, out: Path, changed: Change) -> None:
    fabric = read(out).evidence.fabric_sha256
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
    assert all(unit.words_hold and not unit.signature_holds for image in chain.images for unit in image.units)


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
