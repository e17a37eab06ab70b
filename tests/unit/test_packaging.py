"""What set-up installs: the constraints pin every dependency, within the bounds that pyproject.toml states."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture
def pins(repo_root: Path) -> dict[str, str]:
    """Package to version, from ci/constraints.txt."""
    lines = (repo_root / "ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in found}


def test_every_dependency_is_pinned_within_its_bounds(repo_root: Path, pins: dict[str, str]) -> None:
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    docs = (repo_root / "ci" / "constraints-docs.txt").read_text(encoding="utf-8").splitlines()
    pins = pins | {
        canonicalize_name(name): version
        for line in docs
        if "==" in line
        for name, version in [line.split("==")]
    }
    for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


def test_dependencies_of_dependencies_are_pinned_too(pins: dict[str, str]) -> None:
    unpinned = set()
    for name in pins:
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            # CUDA packages come with some platforms' torch only, and are left to it.
            if needed and not re.match(r"nvidia-|cuda-|triton|setuptools$", requirement.name):
                unpinned |= {canonicalize_name(requirement.name)} - set(pins)
    assert not unpinned


def test_pins_are_exact_and_serve_every_machine(pins: dict[str, str]) -> None:
    assert pins["torch"] == "2.13.0"
    assert not [
        version for version in pins.values() if not re.fullmatch(r"[0-9]+(\.[0-9]+)*(\.post\d+)?", version)
    ]
