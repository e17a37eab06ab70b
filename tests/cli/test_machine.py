"""What the machine refuses, a full disk, a limit, a file system to read only: one line, exit status 2, no verdict."""

from __future__ import annotations

import errno
import os
import re
import resource
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from etchproof import cli
from etchproof.errors import machine_trouble
from tests.cli.conftest import LIMIT_S, Cosim, Done, command

REFUSED = (
    *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "ENOMEM"),
    *("ENAMETOOLONG", "ELOOP", "ENOTDIR", "EISDIR"),
)
BUGS = ("ENOENT", "EINVAL", "EBADF", "ECHILD", "EEXIST")


def said(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit status and stderr of a command in which that happens."""

    def action() -> int:
        raise error

    monkeypatch.setattr("etchproof.cli.app.parse", lambda arguments: (action, False))
    return cli.run([]), capsys.readouterr().err


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_system_refuses_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, name)
    status, line = said(OSError(number, os.strerror(number), "/some/file"), monkeypatch, capsys)
    assert status == cli.EXIT_INPUT
    assert line.startswith(f"etchproof: /some/file: cannot be used: {os.strerror(number)}")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError("100 requested and 7 written"),  # NumPy's
        RuntimeError("I/O error: No space left on device (os error 28)"),  # of a library in another language
    ],
)
def test_a_library_may_say_it_in_its_own_words(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line = said(error, monkeypatch, capsys)
    assert (status, line.count("\n")) == (cli.EXIT_INPUT, 1)
    assert "the system refuses: " in line


@pytest.mark.parametrize("name", BUGS)
def test_other_errors_stay_bugs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, name)
    assert machine_trouble(OSError(number, os.strerror(number))) is None
    status, text = said(OSError(number, os.strerror(number)), monkeypatch, capsys)
    assert status == cli.EXIT_INTERNAL
    assert "Traceback" in text


@pytest.mark.sim
@pytest.mark.parametrize("locale", ["C", "xx_YY.ISO-8859-1"])
def test_a_prompt_is_utf_8_in_every_locale(
    cosim: Cosim, cli_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setitem(cli_env, "LC_ALL", locale)
    monkeypatch.setitem(cli_env, "PYTHONUTF8", "0")  # or Python sees to it by itself
    done = cosim("--tokens=2", prompt="Zoë said “yes”")
    assert (done.status, done.stderr) == (0, "")
    assert done.result.prompt_text == "Zoë said “yes”"
    assert "Zoë said “yes”" in (done.out / "rerun.sh").read_text(encoding="utf-8")


# ---- the real thing


def ends_well(done: subprocess.CompletedProcess[str], out: Path) -> bool:
    """A command either reached its verdict or left none; True for the former."""
    passed = done.returncode == 0
    assert passed or done.returncode == cli.EXIT_INPUT, (done.returncode, done.stdout, done.stderr)
    assert (out / "run.json").is_file() == passed
    assert not list(out.glob(".run.json*"))
    assert "Traceback" not in done.stdout + done.stderr
    if not passed:
        assert done.stderr.startswith("etchproof: ")
        assert done.stderr.count("\n") == 1, done.stderr
    return passed


@pytest.fixture
def words(passed: tuple[Done, Path], tiny_checkpoint: Path) -> Callable[[Path], list[str]]:
    """The command line of a short run whose simulator and model are in the cache."""
    assert passed[0].status == 0
    return lambda out: command("cosim", tiny_checkpoint, "--prompt=Once", "--tokens=2", f"--out={out}")


def limited(words: list[str], size: int, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=env,
        timeout=LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


@pytest.mark.sim
def test_a_limit_of_the_size_of_files_is_named(
    words: Callable[[Path], list[str]], cli_env: dict[str, str], tmp_path: Path
) -> None:
    """From one that nothing fits in to one that everything does; the golden model is never blamed."""
    passed = []
    for power in range(10, 23, 2):
        out = tmp_path / str(power)
        done = limited(words(out), 1 << power, cli_env)
        passed.append(ends_well(done, out))
        if not passed[-1]:
            assert "File too large" in done.stderr
            assert "ulimit -f" in done.stderr
    assert passed == sorted(passed)
    assert {False, True} == set(passed)


def mounted(mounts: str, words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command in a mount namespace of its own."""
    script = f"{mounts} && exec {shlex.join(words)}"
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env=env,
        timeout=LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
    )


CAN_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=8k none /mnt"], capture_output=True, check=False
    ).returncode
    == 0
)
"""Whether this machine lets us mount: without, these tests are not there, and limits of size stand for full disks."""


def two_runs(folder: Path) -> Path:
    """A regression's list."""
    listed = folder / "two.yaml"
    entry = "{tests: [GreedyGeneration], models: ['@model'], prompts: [Once], tokens: 2, seeds: 2}"
    listed.write_text(f"entries:\n  - {entry}\n", encoding="utf-8")
    return listed


if CAN_MOUNT:

    @pytest.mark.sim
    @pytest.mark.parametrize("size", ["4k", "16k", "96k", "256k", "4m"])
    def test_a_full_disk_below_the_run(
        words: Callable[[Path], list[str]], cli_env: dict[str, str], tmp_path: Path, size: str
    ) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        # What is on it goes with the namespace: look before.
        look = f"test ! -e {disk}/out/run.json -a ! -e {disk}/out/.run.json"
        script = f"{shlex.join(words(disk / 'out'))}; status=$?; {look}; exit $((status + 10 * $?))"
        done = mounted(f"mount -t tmpfs -o size={size} none {disk}", ["sh", "-c", script], cli_env)
        if size == "4m":
            assert done.returncode == 10, done.stderr  # status 0, and run.json is there
        else:
            assert done.returncode == cli.EXIT_INPUT, (done.stdout, done.stderr)
            where = rf"etchproof: {re.escape(str(disk))}/out(/fabric)?"  # the formatter writes there, too
            assert re.fullmatch(rf"{where}: cannot be used: No space left on device\n", done.stderr)

    @pytest.mark.sim
    @pytest.mark.parametrize(
        ("many", "size"),
        [
            *(pytest.param("regress", size, marks=pytest.mark.slow) for size in ("8k", "64k", "8m")),
            ("regress", "700k"),
            pytest.param("signoff", "8k", marks=pytest.mark.slow),
            ("signoff", "700k"),
        ],
    )
    def test_many_runs_on_a_full_disk(
        words: Callable[[Path], list[str]],
        cli_env: dict[str, str],
        tmp_path: Path,
        tiny_checkpoint: Path,
        many: str,
        size: str,
    ) -> None:
        """A disk that is full is no verdict of FAIL, wherever in the regression it shows."""
        disk, listed = tmp_path / "disk", two_runs(tmp_path)
        disk.mkdir()
        what = {
            "regress": command("regress", listed, "--model", tiny_checkpoint, "--out", disk / "out"),
            "signoff": command("signoff", tiny_checkpoint, "--out", disk / "out"),
        }
        look = f"find {disk} -name '.*' ! -name .lock ! -name .tmp-*; ls {disk}/out/signoff.json >&2"
        script = f"{shlex.join(what[many])}; status=$?; {look} 2>/dev/null; exit $status"
        done = mounted(f"mount -t tmpfs -o size={size} none {disk}", ["sh", "-c", script], cli_env)
        assert "Traceback" not in done.stdout + done.stderr
        assert f"\n{disk}" not in done.stdout, "half written"
        if size == "8m":
            assert done.returncode == 0, (done.stdout, done.stderr)
        else:
            assert done.returncode == cli.EXIT_INPUT, (done.stdout, done.stderr)
            assert done.stderr.startswith(f"etchproof: {disk}/out"), done.stderr
            assert done.stderr.endswith("cannot be used: No space left on device\n")
            assert done.stderr.count("\n") == 1

    @pytest.mark.sim
    @pytest.mark.parametrize("variable", ["ETCHPROOF_CACHE", "TMPDIR"])
    def test_a_full_disk_elsewhere(
        words: Callable[[Path], list[str]], cli_env: dict[str, str], tmp_path: Path, variable: str
    ) -> None:
        disk, out = tmp_path / "disk", tmp_path / "out"
        disk.mkdir()
        env = {**cli_env, variable: str(disk)}
        done = mounted(f"mount -t tmpfs -o size=16k none {disk}", words(out), env)
        if not ends_well(done, out):
            assert str(disk) in done.stderr
            assert "No space left on device" in done.stderr

    @pytest.mark.sim
    def test_a_cache_that_is_read_only_serves_what_it_has(
        words: Callable[[Path], list[str]], cli_env: dict[str, str], tmp_path: Path, tiny_checkpoint: Path
    ) -> None:
        cache = cli_env["ETCHPROOF_CACHE"]
        read_only = f"mount --bind {cache} {cache} && mount -o remount,ro,bind {cache}"
        assert ends_well(mounted(read_only, words(tmp_path / "out"), cli_env), tmp_path / "out")
        many = command("regress", two_runs(tmp_path), "--model", tiny_checkpoint, "--out", tmp_path / "many")
        assert mounted(read_only, many, cli_env).returncode == 0
        other = command("cosim", *words(tmp_path / "other")[4:], "--context=19")
        done = mounted(read_only, other, cli_env)
        assert not ends_well(done, tmp_path / "other")
        assert "Read-only file system" in done.stderr
        assert cache in done.stderr
