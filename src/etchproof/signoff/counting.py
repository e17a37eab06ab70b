"""Which runs of a regression are of the chip under sign-off (docs/signoff.md, "Which runs count")."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from etchproof.regress.execute import etched_of
from etchproof.regress.item import ItemResult
from etchproof.regress.run import RegressionOutcome
from etchproof.regress.spec import ItemSpec
from etchproof.run.testrun import Etched


def counted(model_dir: Path, chip: Etched, outcome: RegressionOutcome, runs: Path) -> Mapping[str, str]:
    """By item, why it does not count; empty where it does.

    A run counts when it simulated the fabric and read the ROM that are rendered and etched now, by this process, for
    what its item asks: the chip under sign-off itself; the same design with another context, whose fabric and RoPE
    tables differ; the same fabric with the weights for the corners of the item's seed. The kind of the simulator does
    not matter: every kind is built from the same fabric.

    Args:
        model_dir: the checkpoint under sign-off.
        chip: it, rendered and etched.
        runs: the regression's folder.

    Raises:
        InputError: a chip cannot be made.
    """
    return {
        spec.name: _why_not(spec, outcome.results[spec.name], model_dir, chip, runs)
        for spec in outcome.plan.items
    }


def _why_not(spec: ItemSpec, result: ItemResult | None, model_dir: Path, chip: Etched, runs: Path) -> str:
    if result is None:
        return "it left no result"
    design = chip.design
    if spec.model is None or Path(spec.model) != model_dir.absolute():
        return "it runs another model"
    if result.checkpoint_sha256 != design.source.sha256:
        return "the checkpoint was another one"
    own = etched_of(spec, design.project, runs)
    if own.design.source.label != design.source.label:
        return "it runs another recipe"
    if spec.context is None and spec.corners is None and own.images.sha256 != chip.images.sha256:
        return "its ROM contents are not those under sign-off"
    if own.design.context == design.context and own.fabric.sha256 != chip.fabric.sha256:
        return "its fabric is not the one under sign-off"
    if result.fabric_sha256 != own.fabric.sha256:
        return f"it simulated fabric {result.fabric_sha256[:12]}, not {own.fabric.sha256[:12]}"
    if result.rom_sha256 != own.images.sha256:
        return f"it read ROM {result.rom_sha256[:12]}, not {own.images.sha256[:12]}"
    return ""
