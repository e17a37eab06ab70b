"""``etchproof regress``: items pass and fail, a failure reproduces, an interrupted regression resumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import load_checkpoint
from etchproof.coverage.verilator import lcov, read, summary
from etchproof.diagnose.triage_result import Triage
from tests.cli.conftest import LIMIT_S, command
from tests.hostile import fill

pytestmark = pytest.mark.sim

FAILING = '''

@pyuvm.test()
class Failing(ChipTest):
    """Fails after it compared something."""

    async def stimulus(self) -> None:
        from verif.host_port.sequences import StreamSequence

        await StreamSequence([1, 2]).run()
        self.expect(False, "planted")
'''
ADAPTED = """
entries:
  - {tests: [GreedyGeneration], models: [models/tiny], contexts: [18], adapters: [["@adapters"]], tokens: 6}
  - {tests: [AdapterTwice], models: [models/tiny], contexts: [18], adapters: [["@corners", "@adapters"]]}
"""
LIST = """
entries:
  - tests: [RandomTokens, HostErrors]
    models: [models/tiny]
    recipes: [w6a16]
    contexts: [18]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """A team's project: a copy of the reference with a test that fails."""
    root = tmp_path_factory.mktemp("project")
    for name in ("hw", "templates", "models", "verif", "etchproof.toml"):
        source = repo_root / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / name, ignore=ignored) if source.is_dir() else shutil.copy(
            source, root / name
        )
    with (root / "verif" / "tests.py").open("a") as file:
        file.write(FAILING)
    (root / "ci").mkdir()
    (root / "ci" / "good.yaml").write_text(LIST)
    (root / "ci" / "bad.yaml").write_text(LIST.replace("HostErrors", "Failing"))
    (root / "ci" / "empty.yaml").write_text("entries: []\n")
    return root


def regress(project: Path, env: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    return ran(command("regress", *words, "-j", "2"), project, env)


def ran(
    line: str | list[str], folder: Path, env: dict[str, str], *, shell: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line,
        shell=shell,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_all_pass_and_resume(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    done = regress(project, cli_env, "good", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 passed" in done.stdout and "PASS     good" in done.stdout
    cases = list(ET.parse(tmp_path / "junit.xml").iter("testcase"))
    assert {case.get("name") for case in cases} == {
        "RandomTokens-tiny-w6a16-c18-s1",
        "HostErrors-tiny-w6a16-c18-s1",
    }
    # As if it had been interrupted before one of them had ended.
    kept = tmp_path / "items" / "RandomTokens-tiny-w6a16-c18-s1" / "item.json"
    before = kept.stat().st_mtime_ns
    (tmp_path / "items" / "HostErrors-tiny-w6a16-c18-s1" / "item.json").unlink()
    done = regress(project, cli_env, "good", "--out", tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("passed before") == 1 and "resumed in" in done.stdout
    assert kept.stat().st_mtime_ns == before
    # A result that was altered or belongs to another item is none.
    kept.write_text(kept.read_text().replace('"key": "', '"key": "0'))
    done = regress(project, cli_env, "good", "--out", tmp_path)
    assert done.returncode == 0 and done.stdout.count("passed before") == 1


def test_a_folder_that_a_stranger_filled(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    """Nothing in it is imported, by pytest, its workers or the simulators; and the items run."""
    out, marks = tmp_path / "out", tmp_path / "marks"
    assert regress(project, cli_env, "empty", "--out", out).returncode == 1
    marks.mkdir()
    fill(out, marks)
    plan = json.loads((out / "regression.json").read_text())
    (out / "regression.json").write_text(json.dumps({**plan, "name": "good"}))
    done = regress(project, cli_env, "good", "--out", out)
    assert done.returncode == 0 and "2 of 2 passed" in done.stdout, done.stdout + done.stderr
    assert list(marks.iterdir()) == []


def test_a_failure_reproduces(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    done = regress(project, cli_env, "bad", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "1 of 2 passed" in done.stdout and "test_check: planted" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "reproduce: " in line)
    again = ran(line.partition("reproduce: ")[2], tmp_path, cli_env, shell=True)
    assert again.returncode == 1 and "test_check: planted" in again.stdout
    failures = list(ET.parse(tmp_path / "out" / "junit.xml").iter("failure"))
    assert len(failures) == 1 and "reproduce: " in (failures[0].text or "")
    # Nothing differs, so there is nothing to diagnose: a group of the reason's name.
    assert "not diagnosed: no_expectation: no tap differs" in done.stdout
    triage = Triage.model_validate_json((tmp_path / "out" / "triage.json").read_bytes())
    assert [one.title for one in triage.groups] == ["not diagnosed: no_expectation"]
    assert str(failures[0].get("message")).startswith("not diagnosed: no tap differs from the golden model; ")


def test_failures_are_grouped_by_their_cause(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    """A chip that is wrong fails every item, which is one cause; each item's folder can be diagnosed alone."""
    wrong = Path(shutil.copytree(project, tmp_path / "project"))
    rtl = wrong / "hw" / "ep_swiglu.sv"
    text = rtl.read_text()
    assert "(gate < 0) ? 64'sh10_0000 - t : t" in text
    rtl.write_text(text.replace("(gate < 0) ? 64'sh10_0000 - t : t", "t"))
    (wrong / "ci" / "wrong.yaml").write_text(
        LIST.replace("[RandomTokens, HostErrors]", "[RandomTokens]\n    seeds: 2")
    )
    out = tmp_path / "out"
    done = regress(wrong, cli_env, "wrong", "--out", out)
    assert done.returncode == 1, done.stderr
    triage = Triage.model_validate_json((out / "triage.json").read_bytes())
    (group,) = triage.groups
    names = sorted(path.name for path in (out / "items").iterdir())
    assert (group.kind, group.unit, group.place) == (
        "sigmoid not mirrored",
        "swiglu",
        "swiglu: the sigmoid of negatives is that of positives",
    )
    assert sorted(group.failures) == names and group.certain == len(names) == 2
    assert "CAUSES   2 of 2 failures diagnosed" in done.stdout and group.title in done.stdout
    for failure in ET.parse(out / "junit.xml").iter("failure"):
        assert str(failure.get("message")).startswith("sigmoid not mirrored of swiglu: ")
    shutil.rmtree(out / "chips")
    alone = Path(shutil.copytree(out / "items" / names[0], tmp_path / "alone"))
    (alone / "diagnosis.json").unlink()
    again = ran(command("diagnose", alone, "--project", wrong), tmp_path, cli_env)
    assert again.returncode == 0 and "cause    sigmoid not mirrored" in again.stdout, again.stderr
    # It may be left out; what an earlier run left is gone.
    done = regress(wrong, cli_env, "wrong", "--out", out, "--no-diagnose")
    assert done.returncode == 1 and "CAUSES" not in done.stdout
    assert not (out / "triage.json").exists()


def test_adapters(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    """Drawn ones beside those of the command line; what an item's adapters were is part of its result."""
    (project / "ci" / "adapters.yaml").write_text(ADAPTED)
    config = AdapterConfig(r=2, lora_alpha=4.0, target_modules=("q_proj", "down_proj"))
    model = load_checkpoint(project / "models" / "tiny").config
    boy = write_synthetic_adapter(tmp_path / "boy", model, config, 1)
    out = tmp_path / "out"
    done = regress(project, cli_env, "adapters", "--adapter", boy, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    names = {path.name: path for path in (out / "items").iterdir()}
    assert set(names) == {
        "GreedyGeneration-tiny-w6a16-boy-c18-s1",
        "AdapterTwice-tiny-w6a16-corners-boy-c18-s1",
    }
    record = json.loads((names["GreedyGeneration-tiny-w6a16-boy-c18-s1"] / "item.json").read_text())
    assert [adapter["name"] for adapter in record["adapters"]] == ["boy"]
    assert (record["kind"], record["rewrites"]["merged_functions"] > 0) == ("fast", True)
    assert [sequence["adapter"] for sequence in record["sequences"]] == [None, 0, None, 0]
    assert f"--adapter={boy}" in record["rerun"]
    record = json.loads((names["AdapterTwice-tiny-w6a16-corners-boy-c18-s1"] / "item.json").read_text())
    used = {sequence["adapter"] for sequence in record["sequences"]}
    assert used == {None, *range(len(record["adapters"]))} and len(used) > 8
    assert len({adapter["sha256"] for adapter in record["adapters"]}) == len(record["adapters"])
    # Another adapter in the same folder is another item; the same again is not run.
    done = regress(project, cli_env, "adapters", "--adapter", boy, "--out", out)
    assert done.stdout.count("passed before") == 2
    write_synthetic_adapter(boy, model, config, 2)
    done = regress(project, cli_env, "adapters", "--adapter", boy, "--out", out)
    assert done.returncode == 0 and "passed before" not in done.stdout


def test_nothing_to_run(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    done = regress(project, cli_env, "empty", "--out", tmp_path)
    assert done.returncode == 1
    assert "nothing ran" in done.stdout and "FAIL     empty" in done.stdout


def test_bad_input(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("entries: [{tests: [Gamma], models: [models/tiny]}]")
    (project / "ci" / "missing.yaml").write_text(LIST.replace("models/tiny", "models/none"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    for words in (
        [tmp_path / "bad.yaml"],
        ["nowhere"],
        ["good", "--only", "nothing"],
        ["good", "--out", tmp_path / "taken"],
        ["good", "--adapter", tmp_path / "nowhere"],
        ["good", "--adapter", tmp_path / "taken"],
        ["missing"],
    ):
        done = regress(project, cli_env, *words)
        assert done.returncode == 2, done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGKILL, -9)],
)
def test_interrupted(
    project: Path, cli_env: dict[str, str], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Ctrl-C leaves no process behind, and what passed is not repeated."""
    (project / "ci" / "long.yaml").write_text(LIST + "    seeds: 24\n")
    with subprocess.Popen(
        command("regress", "long", "-j", "2", "--out", tmp_path),
        cwd=project,
        env=cli_env,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "PASS" in line:
                break
        other = regress(project, cli_env, "good", "--out", tmp_path)  # beside it, in the same folder
        assert other.returncode == 2
        assert f"is in use by process {process.pid} since" in other.stderr
        process.send_signal(number)
        assert process.wait(30) == status
    time.sleep(1)
    assert not [pid for pid in _running() if str(tmp_path) in _environment(pid)]
    passed = len(list(tmp_path.glob("items/*/item.json")))
    assert 0 < passed < 48
    done = regress(project, cli_env, "long", "--out", tmp_path)
    assert done.returncode == 0 and done.stdout.count("passed before") == passed


def _running() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _environment(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/environ").read_text(errors="replace")
            + Path(f"/proc/{pid}/cmdline").read_text()
        )
    except OSError:
        return ""


def test_the_record_of_an_item(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    assert regress(project, cli_env, "good", "--out", tmp_path).returncode == 0
    record = json.loads((tmp_path / "items" / "HostErrors-tiny-w6a16-c18-s1" / "item.json").read_text())
    # three tokens outside of the vocabulary, and one with each bit beyond its nine
    assert record["statuses"] == {"0": 3, "1": 3 + 23, "3": 6, "4": 2, "5": 2, "6": 2}
    assert record["sequences"] == [{"adapter": None, "tokens": [1, 2, 3]}]
    assert record["elements"] > 0 and len(record["fabric_sha256"]) == 64


@pytest.mark.slow
def test_code_coverage(project: Path, cli_env: dict[str, str], tmp_path: Path) -> None:
    """A coverage build leaves what it counted; two runs on one build have the same points, and reach different ones."""
    shape = "{shape: small.yaml, weights: 1}"
    (project / "small.yaml").write_text(SMALL)
    (project / "ci" / "covered.yaml").write_text(
        f"entries: [{{tests: [HostErrors, BackToBack], shapes: [{shape}], recipes: [fine.yaml], builds: [coverage]}}]"
    )
    (project / "fine.yaml").write_text(FINE)
    done = regress(project, cli_env, "covered", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = [read(path) for path in sorted(tmp_path.glob("items/*/coverage.npz"))]
    assert len(parts) == 2 and parts[0].keys == parts[1].keys
    records = [json.loads(path.read_text()) for path in tmp_path.glob("items/*/item.json")]
    assert [(record["kind"], record["rewrites"]) for record in records] == [("coverage", None)] * 2
    assert not list(tmp_path.glob("items/*/coverage.dat"))
    merged = parts[0].merge(parts[1])
    one, both = summary(parts[0].modules), summary(merged.modules)
    assert all(0 < one[kind][0] <= both[kind][0] <= both[kind][1] for kind in both)
    # HostErrors alone reaches the refusals.
    refusals = [
        point for point in merged.modules.points if point.file == "ep_host_port.sv" and point.what == "elsif"
    ]
    counts = dict(zip(parts[0].modules.points, parts[0].modules.counts, strict=True))
    reached = dict(zip(merged.modules.points, merged.modules.counts, strict=True))
    assert refusals and any(reached[point] > counts[point] == 0 for point in refusals)
    text = lcov(merged.modules)
    assert "SF:ep_linear.sv" in text and text.count("SF:") == text.count("end_of_record")


FINE = """
tile: {rows: 4, inputs: 16}
matrices:
  - {match: "*", bits: 8, group_size: 16}
"""
SMALL = """
vocab_size: 19
hidden_size: 16
intermediate_size: 20
n_layers: 1
n_heads: 2
n_kv_heads: 1
head_dim: 8
context: 16
rms_norm_eps: 1.0e-5
rope: {theta: 10000.0}
tie_word_embeddings: true
bos_token_id: 1
eos_token_ids: [2]
"""
