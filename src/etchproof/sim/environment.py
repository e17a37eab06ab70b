"""What the programs that build and run a simulator find in their environment: what is named here, and nothing else.

A variable that changed a build or a run without standing in a record would make it one that nobody can repeat. So
both get their environment by rule, whatever the user's shell holds: how to find programs and libraries, where to put
temporary files, and what Etchproof sets itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from etchproof.tools import Verilator, simulation_env

_PASSED: Final = ("HOME", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
"""Handed on to builds and runs. ``PATH`` and ``LD_LIBRARY_PATH`` decide which programs and libraries run: those of a
build are hashed (``etchproof.sim.identity``), and ``LD_LIBRARY_PATH`` is in the cache's key."""

_PASSED_TO_RUNS: Final = (
    # Which Python, and where it keeps compiled modules.
    *("PYTHONHOME", "PYTHONPATH", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"),
    # How many threads NumPy's library may take: for speed alone.
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
)
_MALLOC: Final = "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=60000:glibc.malloc.tcache_max=1032"
"""Verilator allocates and frees millions of small nodes; with large pages and long lists of free ones it takes an
eighth less time. Means nothing to another C library."""


def build_env(verilator: Verilator) -> dict[str, str]:
    """The environment of Verilator, make and the compilers.

    Messages are in English. No compiler's own variable (``CPATH``, ``CXXFLAGS``, ``OBJCACHE``, ``CCACHE_DIR``) is in
    it. A compiler cache is used by being the ``g++`` that is found first (Debian: ``/usr/lib/ccache`` in ``PATH``); it
    runs as its own files in ``HOME`` say.
    """
    return {**_inherited(_PASSED), **simulation_env(verilator), "LC_ALL": "C", "GLIBC_TUNABLES": _MALLOC}


def simulator_env(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a simulator, with the settings of one run.

    Text is UTF-8 whatever the user's locale is, and sets of strings have one order.
    """
    return {
        **_inherited((*_PASSED, *_PASSED_TO_RUNS)),
        "LC_ALL": "C",
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": "0",
        **settings,
    }


def _inherited(names: Sequence[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
