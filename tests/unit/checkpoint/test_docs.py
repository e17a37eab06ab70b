"""docs/checkpoints.md names every key that is known, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

from etchproof.checkpoint import config
from etchproof.checkpoint.unsupported import JUDGED, NO_EFFECT


def test_every_key_has_its_place(repo_root: Path) -> None:
    text = (repo_root / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    read, _, free = text.partition("Keys without effect on inference")
    assert free
    for key in {*config._HfConfig.model_fields, *JUDGED}:
        assert f"`{key}`" in read, key
    for key, reason in NO_EFFECT.items():
        assert f"`{key}`" in free, key
        assert reason in free
