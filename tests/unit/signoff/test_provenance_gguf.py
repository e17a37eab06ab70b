"""The first link of the chain, where the checkpoint is a GGUF file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from etchproof.checkpoint import load_checkpoint
from etchproof.signoff.provenance import _checkpoint
from tests.gguf_model import model


def test_the_link_names_what_was_published(tmp_path: Path) -> None:
    path = tmp_path / "drawn.gguf"
    path.write_bytes(model().content())
    checkpoint = load_checkpoint(path)
    chip = SimpleNamespace(design=SimpleNamespace(checkpoint=checkpoint))
    link = _checkpoint(chip)  # type: ignore[arg-type]
    assert link.holds and link.sha256 == checkpoint.sha256
    assert link.message == (
        "drawn: 1 file, the same now as when it was read; its published codes (14 Q4_1, 1 Q8_0) are dequantized and "
        "quantized again"
    )
    path.write_bytes(model(seed=2).content())
    link = _checkpoint(chip)  # type: ignore[arg-type]
    assert not link.holds and "now " in link.message
