"""docs/checkpoints.md names every key that is known, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

from etchproof.checkpoint import config, generation
from etchproof.checkpoint.unsupported import JUDGED, NO_EFFECT


def test_every_key_has_its_place(repo_root: Path) -> None:
    text = (repo_root / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    read, _, free = text.partition("Keys without effect on inference")
    free = free.partition("\n## ")[0]
    assert free
    for key in {*config._HfConfig.model_fields, *JUDGED}:
        assert f"`{key}`" in read, key
    for key, reason in NO_EFFECT.items():
        assert f"`{key}`" in free, key
        assert reason in free


def test_every_generation_key_has_its_place(repo_root: Path) -> None:
    text = (repo_root / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    section = text.partition("\n## generation_config.json\n")[2].partition("\n## ")[0]
    read, _, rest = section.partition("Keys without effect on a greedy text")
    free, _, hosts = rest.partition("Keys of the host of which a line says")
    for key in generation.Generation.model_fields:
        assert f"`{key}`" in read, key
    for key, reason in generation.NO_EFFECT.items():
        assert f"`{key}`" in free, key
        assert reason in free
    for key in generation.HOSTS:
        assert f"`{key}`" in hosts, key
