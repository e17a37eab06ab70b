"""Loads the folder of a case, a function for each row of the table; modules are imported as they are needed."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from tests.fuzz import seeds


def checkpoint(folder: Path) -> object:
    from etchproof.checkpoint import load_checkpoint
    from etchproof.checkpoint.generation import generation_notes

    loaded = load_checkpoint(folder / "model")
    generation_notes(folder / "model", loaded.config.bos_token_id)
    return [loaded.tensor(name) for name in loaded.tensor_names]


def gguf(folder: Path) -> object:
    from etchproof.checkpoint import load_checkpoint
    from etchproof.checkpoint.gguf.weights import GgufWeights

    loaded = load_checkpoint(folder / "model.gguf")
    assert loaded.gguf is not None and isinstance(loaded.weights, GgufWeights)
    matrices = [loaded.weights.matrix(name) for name in loaded.tensor_names]
    return matrices, loaded.published, loaded.gguf.small_files(), loaded.gguf.tokenizer_parts()


def gguf_tokenizer(folder: Path) -> object:
    from etchproof.checkpoint import load_checkpoint
    from etchproof.checkpoint.chat import chat

    loaded = load_checkpoint(folder / "model.gguf", known=lambda _: True)
    tokenizer = loaded.tokenizer()
    try:
        ids = tokenizer.encode("Hello 12 <|im_end|>")
        return chat("hello", tokenizer).ids, tokenizer.decode(ids), tokenizer.notes(loaded.config)
    finally:
        tokenizer.close()


def config(folder: Path) -> object:
    from etchproof.checkpoint import read_config

    return read_config(folder / "config.json")


def tokenizer(folder: Path) -> object:
    from etchproof.checkpoint.tokenizer import Tokenizer

    loaded = Tokenizer(folder / "tokenizer.json", 1 << 24)
    try:
        ids = loaded.encode("Once upon a time")
        loaded.encode_chat("<s>Once upon")
        stream = loaded.stream(after=ids[:2])
        pieces = [stream.push(token) for token in ids[2:12]]
        return loaded.notes(seeds.MODEL), loaded.decode(ids), pieces, stream.finish()
    finally:
        loaded.close()


def chat(folder: Path) -> object:
    from etchproof.checkpoint.chat import find_template, render
    from etchproof.checkpoint.tokenizer import CONFIG_FILE
    from etchproof.files.json_file import read_json_object

    made = []
    for name in (".", "list", "file"):
        config = {} if name == "file" else read_json_object(folder / name / CONFIG_FILE)
        template = find_template(folder / name, config)
        made.append(render("Hello?", template, {"bos_token": "<s>"}, datetime(2026, 2, 3)))
    return made


def adapter(folder: Path) -> object:
    from etchproof.adapter import load_adapter

    return load_adapter(folder / "adapter", seeds.MODEL, max_rank=8)


def project(folder: Path) -> object:
    from etchproof.project.declaration import load_project

    return load_project(folder)


def recipe(folder: Path) -> object:
    from etchproof.quantize.recipe import load_recipe, resolve

    return resolve(load_recipe(folder / "w3w6a16.yaml", folder), seeds.MODEL)


def shape(folder: Path) -> object:
    from etchproof.checkpoint.shape import RandomModel

    return RandomModel(str(folder / "llama-3.2-1b.yaml"), 1, layers=1, vocab=64).config(folder)


def regression_list(folder: Path) -> object:
    from etchproof.regress.spec import expand, load_list

    listed = load_list(str(folder / "smoke.yaml"), folder)
    tests = [test for entry in listed.entries for test in entry.tests]
    return expand(listed, folder, tests, model=folder, recipe="w6a16")


def gates(folder: Path) -> object:
    from etchproof.signoff.gates_file import load_gates, read_gates

    found = read_gates(folder / "gates.yaml", "V1")
    groups = found.gates.get("covergroup", {})
    return load_gates(folder / "gates.yaml", "V1", tuple(groups) if isinstance(groups, dict) else ())


def waivers(folder: Path) -> object:
    from etchproof.signoff.waivers import load_waivers

    return load_waivers(folder / "waivers.yaml")


def survivors(folder: Path) -> object:
    from etchproof.signoff.survivors import load_survivors

    return load_survivors(folder / "survivors.yaml")


def qualification(folder: Path) -> object:
    """As ``read_qualification`` reads it, and what is made of it."""
    import datetime

    from etchproof.files.json_record import read_json_record
    from etchproof.signoff import derive
    from etchproof.signoff.qualification import Qualification

    found = read_json_record(folder / "qualification.json", Qualification)
    return derive.qualification(found, (), datetime.date(2026, 11, 28))


def exclusions(folder: Path) -> object:
    from etchproof.coverage.exclusions import load_exclusions

    return load_exclusions(folder / "exclusions.yaml")


def testplan(folder: Path) -> object:
    from etchproof.signoff.testplan import read_testplan

    return read_testplan(folder / "testplan.hjson")


def rom(folder: Path) -> object:
    from etchproof.render.images import load_image, read_images

    images = read_images(folder / "rom")
    return images.sha256, images.index(), [load_image(images, image) for image in images.images]


def coverage(folder: Path) -> object:
    from etchproof.coverage.verilator import lcov, read, summary

    modules = read(folder / "coverage.dat").modules
    return summary(modules), lcov(modules)


def dump(folder: Path) -> object:
    from etchproof.compare.dump import Selection
    from etchproof.compare.dumps import compare_dumps
    from etchproof.compare.kept import TapDump

    one, other = TapDump(folder / "taps"), TapDump(folder / "taps.npz")
    sides = [compare_dumps(one, other, Selection(), "chip"), compare_dumps(other, one, Selection(), "golden")]
    return [side.model_dump_json() for side in sides]


def stored_coverage(folder: Path) -> object:
    from etchproof.coverage.verilator import lcov, merge_all, read, summary

    stored = read(folder / "coverage.npz")
    modules = merge_all([stored, stored]).modules
    return summary(modules), lcov(modules)


def vectors(folder: Path) -> object:
    from etchproof.host.stimulus import StreamFacts, read_vectors

    facts = StreamFacts(None, 4, None, 0, 255, 8, 8, None, True, 1000)
    return read_vectors(folder / "vectors.npy", facts).tolist()


def functional(folder: Path) -> object:
    from etchproof.coverage.functional import FunctionalCoverage

    found = FunctionalCoverage.read(folder / "functional.json")
    return found.summary(), found.holes(), found.to_json()


def quantized(folder: Path) -> object:
    from etchproof.quantize.store import content_sha256, load_quantized

    return content_sha256(load_quantized(folder / "quantized"))


def quantized_adapter(folder: Path) -> object:
    from etchproof.quantize.adapter_store import load_quantized_adapter

    return load_quantized_adapter(folder / "adapter.safetensors", "name").ranks


def item(folder: Path) -> object:
    from etchproof.regress.item import read_item

    return read_item(folder, seeds.spec(), seeds.SHA)


def verified_item(folder: Path) -> object:
    from etchproof.signoff.verify import _item

    return _item(folder, seeds.spec())


def comparison(folder: Path) -> object:
    from etchproof.verdict.judge import read_comparison

    return read_comparison(folder)


def readback(folder: Path) -> object:
    from etchproof.run.testrun import read_readback

    return read_readback(folder)


def regression_plan(folder: Path) -> object:
    from etchproof.regress.plan import RegressionPlan

    return RegressionPlan.read(folder)


def signoff(folder: Path) -> object:
    from etchproof.signoff.report import html
    from etchproof.signoff.result import read_result

    return html(read_result(folder / "signoff.json"))


def build_record(folder: Path) -> object:
    from etchproof.render.fabric import make_fabric
    from etchproof.sim.build import Build, _load
    from etchproof.verdict.judge import check_fabric

    (folder / "ep.sv").write_text("", encoding="utf-8")
    log = folder / "build/build.log"
    made = Build(folder / "build/ep_top", "ep_top", "fast", "", True, 0.0, log)
    return _load(folder / "build", "key"), check_fabric(make_fabric(folder, ["ep.sv"], "ep_top"), made)


def run_config(folder: Path) -> object:
    from etchproof.sim.child import RUN_ENV, run_config

    os.environ[RUN_ENV] = str(folder)
    return run_config()


def progress(folder: Path) -> object:
    from etchproof.sim.progress import ProgressReader

    return ProgressReader(folder).read()


def results(folder: Path) -> object:
    from etchproof.errors import InputError
    from etchproof.sim.results import ResultsError, read_results

    try:
        return read_results(folder / "results.xml", "Alpha")
    except ResultsError as error:
        raise InputError(error.failure.message) from None


def lock(folder: Path) -> object:
    from etchproof.files.lock import _told

    return _told(folder / ".lock.json")


def owner(folder: Path) -> object:
    from etchproof.signoff.run import _owner

    return _owner(folder / "owner.json")


def drawn(folder: Path) -> object:
    from etchproof.checkpoint.synthetic import _is_whole

    return _is_whole(folder / "drawn", {"seed": 1})


def kept_taps(folder: Path) -> object:
    from etchproof.compare.differing import KEPT_FILE, read_kept

    return read_kept(folder / KEPT_FILE)


def replay(folder: Path) -> object:
    from etchproof.project.declaration import load_project
    from etchproof.replay.folder import read_replay
    from tests.conftest import ROOT

    return read_replay(folder, load_project(ROOT))


def subject(folder: Path) -> object:
    from etchproof.diagnose.again import read_subject
    from etchproof.project.declaration import load_project
    from tests.conftest import ROOT

    return read_subject(folder, load_project(ROOT))


def directed(folder: Path) -> object:
    from etchproof.cli.regress import _directed

    return _directed(folder / "directed.json")


def filelists(folder: Path) -> object:
    from etchproof.project.declaration import load_project
    from etchproof.project.filelist import with_lists

    return with_lists(load_project(folder))


def fabric(folder: Path) -> object:
    from etchproof.coverage.exclusions import source_lines
    from etchproof.render.fabric import make_fabric
    from etchproof.render.templates import Rendering, render

    (folder / "out").mkdir()
    texts = source_lines(folder / "hw")
    view = [Rendering("x.sv.j2", "x.sv", {"name": "x"})]
    names = render(view, templates=folder / "templates", hw=folder / "hw", out=folder / "out")
    return texts, make_fabric(folder / "out", names, "ep_a"), make_fabric(folder / "hw", ("ep_a.sv",), "ep_a")


def fabric_manifest(folder: Path) -> object:
    from etchproof.render.fabric import place_data, read_fabric

    found = read_fabric(folder / "fabric", folder / "fabric.json")
    (folder / "run").mkdir()
    place_data(found, folder / "run")
    return found.sha256, found.compiled, found.setup.flags


def lint_waivers(folder: Path) -> object:
    from etchproof.render.lint import read_waivers

    return read_waivers(folder / "verilator.vlt")
