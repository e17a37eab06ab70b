"""cocotb's runner for Verilator with Etchproof's ways: a named Verilator, few public signals, all cores."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from cocotb_tools.runner import PathLike, VerilatorControlFile, Verilog
from cocotb_tools.runner import Verilator as CocotbRunner

from etchproof.project.sources import file_sha256
from etchproof.sim.environment import build_env
from etchproof.sim.rewrite.rewrites import Rewrites, rewrite
from etchproof.tools import Verilator

_ALL_PUBLIC: Final = "--public-flat-rw"
_COCOTB_MAIN: Final = "/verilator.cpp"  # ep_main.cpp is in its place
_BOUND: Final = """
import ctypes, os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
status = subprocess.call(sys.argv[2:]) if os.getppid() == int(sys.argv[1]) else 1
sys.exit(status if status >= 0 else 128 - status)
"""
"""Runs the command in its own process group, and ends the whole group, compilers too, when the process dies that
started it, however that was."""


def _marked(source: Path) -> Verilog | VerilatorControlFile:
    """A source as cocotb's runner takes it whatever its suffix is."""
    return VerilatorControlFile(source) if source.suffix == ".vlt" else Verilog(source)


class VerilatorRunner(CocotbRunner):
    """Builds one simulator.

    Args:
        verilator: the Verilator that runs.
        make_variables: ``NAME=value`` for make.
        jobs: compilers at once.
        kept: objects that do not depend on the design, by the folder that keeps them: taken from there when present,
            left there when not. Its name must stand for all that they do depend on.
        rewritten: whether the C++ that Verilator wrote is rewritten (``etchproof.sim.rewrite.rewrites``).

    Attributes:
        rewrites: what was rewritten; None while nothing was.
    """

    def __init__(
        self,
        verilator: Verilator,
        *,
        make_variables: Sequence[str],
        jobs: int,
        kept: Mapping[Path, Sequence[str]],
        rewritten: bool,
    ) -> None:
        super().__init__()
        self.rewrites: Rewrites | None = None
        self._verilator, self._make_variables, self._jobs = verilator, tuple(make_variables), jobs
        self._kept, self._rewritten = kept, rewritten
        self._status = 0
        self.log.setLevel(logging.WARNING)  # it announces each command; the build's log has them

    def run_build(
        self,
        *,
        sources: Path,
        names: Sequence[str],
        cpp: Sequence[Path],
        top: str,
        flags: Sequence[str],
        include: Sequence[str],
        timescale: tuple[str, str],
        folder: Path,
        log: Path,
    ) -> int:
        """Verilates and compiles; returns the exit status of the command that failed, or 0.

        Args:
            sources: folder of the SystemVerilog sources, also searched for includes.
            names: the sources to compile, in order.
            cpp: C++ to link, one with ``main``.
            top: the top module, and the executable's name in ``folder``.
            flags: for Verilator.
            include: folders below ``sources`` that are searched for includes first.
            timescale: unit and precision.
            folder: where to build.
            log: gets the commands and their output.
        """
        os.environ.pop("WAVES", None)  # cocotb's runner heeds it before any argument; it stands in no key
        self.build(
            sources=[_marked(sources / name) for name in names],
            build_args=[*(f"-I{name}" for name in include), "-I.", *flags, *map(str, cpp)],
            hdl_toplevel=top,
            build_dir=folder,
            cwd=sources,
            timescale=timescale,
            log_file=log,
        )
        if self._status == 0:
            self._keep_objects()
        return self._status

    def _use_objects(self) -> None:
        """Copies the kept objects; being newer than the makefile, make takes them as they are.

        Each has the hash of its content in its name: one that is damaged is not used.
        """
        for kept in (path for folder in self._kept for path in folder.glob("*.o")):
            digest, _, name = kept.name.partition("-")
            if file_sha256(kept) == digest:
                shutil.copyfile(kept, self.build_dir / name)

    def _keep_objects(self) -> None:
        pairs = [
            (folder, made)
            for folder, names in self._kept.items()
            for name in names
            for made in self.build_dir.glob(name)
        ]
        for folder, made in pairs:
            folder.mkdir(parents=True, exist_ok=True)
            kept = folder / f"{file_sha256(made)}-{made.name}"
            if not kept.exists() or file_sha256(kept) != file_sha256(made):
                partial = folder / f".{made.name}-{os.getpid()}-{threading.get_ident()}"
                shutil.copyfile(made, partial)
                os.replace(partial, kept)

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(self._verilator.path)

    def _set_env_build(self) -> None:
        # cocotb's own needs libpython, which a build does not.
        self.env = build_env(self._verilator)

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        # Every signal readable from Python costs a quarter of the speed; the fabric's .vlt file names the few needed.
        verilate = [word for word in verilate if word != _ALL_PUBLIC and not word.endswith(_COCOTB_MAIN)]
        # Relative to the working folder, so that messages of the simulator carry no path of this machine.
        sources = str(Path(str(self.cwd)).resolve()) + os.sep
        verilate = [word.removeprefix(sources) for word in verilate]
        make[make.index("-j") + 1] = str(self._jobs)
        return [verilate, [*make, *self._make_variables]]

    def _execute_cmds(self, cmds: Sequence[list[str]], cwd: PathLike, stdout: TextIO | None = None) -> None:
        """Runs each command in a process group of its own, which goes when this process is interrupted."""
        for command in cmds:
            if stdout is not None:
                print("$", *command, file=stdout, flush=True)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *command],
                cwd=cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=None if stdout is None else subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._status = process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            if self._status != 0:
                return
            if command is cmds[0]:
                if self._rewritten:
                    self.rewrites = rewrite(self.build_dir)
                if stdout is not None:
                    did = "nothing" if self.rewrites is None else self.rewrites.model_dump_json()
                    print(f"etchproof rewrote {did}", file=stdout, flush=True)
                self._use_objects()
