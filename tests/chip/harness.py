"""One co-simulation of a checkpoint under a recipe, as small as the engine's parts allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etchproof.checkpoint import load_checkpoint
from etchproof.compare import COMPARISON_FILE, Comparison, tap_plan
from etchproof.images import ImageSet, write_images
from etchproof.quantize import quantize_model
from etchproof.quantized import QuantizedAdapter, QuantizedModel
from etchproof.recipe import load_recipe
from etchproof.render import render
from etchproof.sim.build import Build, Kind, build
from etchproof.sim.fabric import make_fabric
from etchproof.sim.golden import GoldenSource
from etchproof.sim.images import IndexedImage, write_images_index
from etchproof.sim.run import SimOutcome, simulate
from etchproof.tools import find_verilator
from models import chip, fabric, lora, rom
from models.golden import Golden

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Chip:
    """A checkpoint's chip, built and with its images on disk."""

    folder: Path
    model: QuantizedModel
    plan: chip.ChipPlan
    images: ImageSet
    build: Build


def make_chip(
    checkpoint: Path, recipe: Path | str, folder: Path, kind: Kind = "fast", *, hw: Path = ROOT / "hw"
) -> Chip:
    """Everything up to the simulation; ``hw`` may be a mutated copy."""
    source = load_checkpoint(checkpoint)
    model = quantize_model(source, load_recipe(str(recipe), ROOT / "models" / "recipes"))
    plan = chip.plan(model.config, model.recipe)
    sources = folder / "fabric"
    sources.mkdir(parents=True)
    names = render(fabric.renderings(plan), templates=ROOT / "templates", hw=hw, out=sources)
    built = build(make_fabric(sources, names, "ep_sim_top"), kind, verilator=find_verilator())
    images = write_images(folder / "rom", rom.images(model, plan))
    return Chip(folder, model, plan, images, built)


def run(
    chip_: Chip,
    test: str,
    *,
    seed: int = 1,
    module: str = "verif.tests",
    golden: type[Golden] = Golden,
    replaced: Sequence[IndexedImage] = (),
    adapters: Sequence[QuantizedAdapter] = (),
    config: Mapping[str, Any] | None = None,
    plusargs: Sequence[str] = (),
    python_path: Sequence[Path] = (),
    timeout_s: float = 300,
) -> tuple[SimOutcome, Comparison | None]:
    """Run one test of the testbench; the comparison is None when the testbench left none.

    Adapters get the slots 0, 1, ... and again 0 where the chip has no more.
    """
    label = "".join([f"{test}-{seed}", *plusargs])
    run_dir = chip_.folder / label
    index = chip_.folder / f"{label}.images"
    write_images_index(index, chip_.images.index(replaced))
    report = run_dir / COMPARISON_FILE
    report.unlink(missing_ok=True)  # of a run before
    outcome = simulate(
        chip_.build,
        run_dir=run_dir,
        test_modules=[module],
        test_case=test,
        images_index=index,
        config={
            "images": len(chip_.images.images),
            "rom": str(chip_.images.folder),
            "adapters": write_frames(chip_, run_dir.with_name(f"{label}.adapters"), adapters),
            **(config or {}),
        },
        seed=seed,
        timeout_s=timeout_s,
        golden=GoldenSource(chip_.plan, lambda: golden(chip_.model, adapters).session()),
        plusargs=plusargs,
        python_path=[*python_path, ROOT],
    )
    return outcome, Comparison.model_validate_json(report.read_text()) if report.exists() else None


def write_frames(chip_: Chip, folder: Path, adapters: Sequence[QuantizedAdapter]) -> list[dict[str, Any]]:
    """The run's adapters as the testbench is told of them."""
    folder.mkdir(exist_ok=True)
    told = []
    for index, adapter in enumerate(adapters):
        slot = index % chip_.plan.lora_slots
        file = folder / f"{index}.bin"
        file.write_bytes(lora.load_frame(chip_.plan, adapter, slot).astype("<u4").tobytes())
        told.append({"name": adapter.name, "slot": slot, "frame": str(file)})
    return told


def assert_clean(
    outcome: SimOutcome,
    comparison: Comparison | None,
    chip_: Chip,
    adapters: Sequence[QuantizedAdapter] = (),
) -> Comparison:
    """The run passed and compared every tap of every accepted token, those of its sequence's adapter included."""
    assert outcome.status == "passed", (outcome.failures, comparison and comparison.failures)
    assert comparison is not None
    assert comparison.mismatches == 0
    assert comparison.sequences
    total = 0
    for count in comparison.sequences:
        adapted = frozenset() if count.adapter is None else adapters[count.adapter].linears.keys()
        plan = tap_plan(chip_.plan.n_layers, adapted)
        accepted = sum(token.status == 0 and token.sequence == count.sequence for token in comparison.tokens)
        assert accepted > 0
        assert count.vectors == accepted * len(plan), "a tap was not compared for every token"
        total += count.vectors
    assert comparison.vectors == total
    accepted = sum(token.status == 0 for token in comparison.tokens)
    base = set(tap_plan(chip_.plan.n_layers))
    assert all(count.vectors == accepted for count in comparison.taps if (count.layer, count.tap) in base)
    assert len(comparison.taps) >= 17 * chip_.plan.n_layers + 4
    return comparison
