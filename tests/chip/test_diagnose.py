"""Faults in RTL and in ROM images, simulated, and the cause that a diagnosis of each run names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from etchproof.compare.differing import KEPT_FILE
from etchproof.diagnose.result import Diagnosis
from etchproof.diagnose.run import FEW, diagnose
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.qualify import images
from etchproof.qualify.images import ImageFault
from etchproof.qualify.run import apart
from etchproof.run import flow
from etchproof.run.testrun import Chip, Etched, Variation, etch, run_test
from etchproof.schemata.faults import PLUSARG
from etchproof.schemata.sources import Schemata, draw, make_schemata, read_sources
from etchproof.sim.build import build
from etchproof.tools import find_verilator
from tests.conftest import ROOT
from verif.qualify.rtl import faults as declared

pytestmark = pytest.mark.sim

SEQUENCES: Final = [[1, 17, 300, 5, 99, 41, 41, 222, 396, 8, 130, 77, 6, 301], [52, 3, 200, 11], [9, 250]]

RTL: Final = (
    ("ep_pkg", "tie down", "rounding: tie down", None),
    ("ep_argmax", "last of equal logits", None, None),
    ("ep_attention", "keys into the next row", "cache row (keys)", "scores"),
    ("ep_attention", "keys in place of values", "reads k_rope", "attn_out"),
    ("ep_attention", "sum of the token before", "sum kept", "attn_out"),
    ("ep_attention", "head map of keys interleaved", "head map of keys", "scores"),
    ("ep_attention", "maximum of the first head", "softmax's maximum", "softmax"),
    ("ep_host_port", "token id without its highest bit", "token id truncated", "embedding"),
    ("ep_linear", "scale with a sign", "scale with a sign", None),
    ("ep_linear", "shift one more", "shift one more", None),
    ("ep_linear", "word of the next tile", "neighbour word", None),
    ("ep_residual", "residual of the token before", "reads mlp_residual of the token before", None),
    ("ep_rmsnorm", "epsilon left out", "epsilon", None),
    ("ep_rope", "pairs interleaved", "pairs interleaved", None),
    ("ep_rope_table", "position one high", "position", None),
    ("ep_swiglu", "gate and up exchanged", "gate_proj and up_proj exchanged", "swiglu"),
)
"""Module, fault as it is declared, the kind that has to be named (None: a run that need not show it), the tap."""

IMAGES: Final = (
    (2, "v_proj.codes", "bit inverted", "bit"),
    (0, "q_proj.codes", "transposed", "image transposed"),
    (1, "gate_proj.codes", "slices of axis 2 exchanged", "inputs exchanged"),
    (0, "o_proj.codes", "another layer's", "image of another layer"),
    (1, "down_proj.codes", "another matrix's", "image of another matrix"),
    (2, "gate_proj.codes", "words exchanged", "elements exchanged"),
    (1, "k_proj.scales", "bits in reverse order", "bits in reverse order"),
    (-1, "rope.sin", "one word late", "image moved"),
    (0, "down_proj.scales", "bit line stuck at 1", "bit line stuck"),
    (0, "params", "blank", "image blank"),
)


@dataclass(frozen=True)
class Bench:
    """The shipped model's chip, as it is and with the faults of ``RTL``."""

    etched: Etched
    schemata: Schemata
    plain: Chip
    mutated: Chip


@pytest.fixture(scope="module")
def bench(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    out = tmp_path_factory.mktemp("diagnose")
    project = load_project(ROOT)
    design = flow.make_design(project, tiny_checkpoint, None)
    etched = etch(design, out / "chip", flow.cache_folder())
    sources = read_sources(etched.fabric, apart(project))
    wanted = {(module, what) for module, what, *_ in RTL}
    faults = [
        fault
        for fault in draw(sources, 1, tuple(declared(design.plan)))
        if (fault.module, fault.operator) in wanted
    ]
    schemata = make_schemata(etched.fabric, sources, faults, len(faults), out / "schemata")
    assert {(fault.module, fault.operator) for fault in schemata.faults.values()} == wanted
    verilator, cache = find_verilator(), flow.cache_folder()

    def chip(fabric: object) -> Chip:
        made = build(fabric, "fast", verilator=verilator, cache_dir=cache)  # type: ignore[arg-type]
        return Chip(design, etched.model, fabric, etched.images, made)  # type: ignore[arg-type]

    return Bench(etched, schemata, chip(etched.fabric), chip(schemata.fabric))


def diagnosed(chip: Chip, folder: Path, variation: Variation) -> Diagnosis | None:
    """The diagnosis of a run; None where it passes."""
    done = run_test(
        chip,
        chip.design.project.signoff.directed,
        folder,
        seed=1,
        config={"directed": SEQUENCES},
        timeout_s=120,
        variation=variation,
    )
    return None if done.passed else diagnose(chip.design, chip.model, (), folder, 60.0)


@pytest.mark.parametrize(("module", "what", "kind", "tap"), RTL, ids=[f"{one[0]}-{one[1]}" for one in RTL])
def test_a_fault_in_rtl(
    module: str, what: str, kind: str | None, tap: str | None, bench: Bench, tmp_path: Path
) -> None:
    number = next(
        number
        for number, fault in bench.schemata.faults.items()
        if (fault.module, fault.operator) == (module, what)
    )
    found = diagnosed(bench.mutated, tmp_path, Variation(plusargs=(f"+{PLUSARG}={number}",)))
    if kind is None and found is None:
        return
    assert found is not None and found.golden == () and set(found.notes) <= {FEW}
    assert found.finding in ("explained", "rivals")
    (cause,) = found.causes
    if kind is not None:
        assert cause.kind == kind
    if tap is not None:
        assert {origin.tap for origin in found.origins} == {tap}
    if module not in ("ep_pkg", "ep_host_port", "ep_rope_table", "ep_residual"):
        assert cause.where.files == (f"{module}.sv",)


def test_no_fault_no_diagnosis(bench: Bench, tmp_path: Path) -> None:
    assert diagnosed(bench.mutated, tmp_path, Variation(plusargs=(f"+{PLUSARG}=0",))) is None


@pytest.mark.parametrize(
    ("layer", "image", "operator", "kind"), IMAGES, ids=[f"{i[1]}-{i[2]}" for i in IMAGES]
)
def test_a_fault_in_an_image(
    layer: int, image: str, operator: str, kind: str, bench: Bench, tmp_path: Path
) -> None:
    fault = ImageFault(layer, image, operator, 1)
    replaced = tuple(images.write(bench.etched.images, fault, tmp_path))
    found = diagnosed(bench.plain, tmp_path / "run", Variation(replaced=replaced))
    assert found is not None and found.finding in ("explained", "rivals")
    (cause,) = found.causes
    assert cause.kind == kind
    assert (cause.where.layer, cause.where.image) == (layer, image)
    if operator == "bit inverted":
        assert cause.rivals == () and len(cause.where.inject) == 1


def test_a_run_that_need_not_keep_its_taps_keeps_none(bench: Bench, tmp_path: Path) -> None:
    layer, image, operator, _ = IMAGES[0]
    replaced = tuple(images.write(bench.etched.images, ImageFault(layer, image, operator, 1), tmp_path))
    with pytest.raises(InputError, match=re.escape(KEPT_FILE)):
        diagnosed(bench.plain, tmp_path / "run", Variation(replaced=replaced, keeps_taps=False))
