"""Valid input for each loader, small and the same on every machine."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from etchproof.checkpoint.config import ModelConfig
from tests.conftest import ROOT

MODEL: Final = ModelConfig(
    name="model",
    vocab_size=300,
    hidden_size=16,
    intermediate_size=12,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=4,
    context=24,
    bos_token_id=1,
    eos_token_ids=(2,),
)
SHA: Final = "a" * 64


def checkpoint(folder: Path) -> None:
    """A checkpoint of one weight file."""
    from etchproof.checkpoint import write_synthetic

    write_synthetic(folder / "model", MODEL, seed=5, tokenizer=False)
    write(folder / "model/generation_config.json", {"eos_token_id": [2, 3]})


def shards(folder: Path) -> None:
    """A checkpoint of two weight files with an index, and RoPE as older versions wrote it."""
    from etchproof.checkpoint import write_synthetic

    write_synthetic(folder / "model", MODEL, seed=5, shards=2, rope_form="old", tokenizer=False)


def gguf(folder: Path) -> None:
    """A Llama in one file, with tensors of every kind that its widths allow."""
    from tests.gguf_model import Sizes, model

    kinds = {"attn_q": "Q4_0", "attn_k": "Q5_1", "attn_v": "Q8_0", "attn_output": "F16", "ffn_gate": "Q5_0"}
    parts = model(Sizes(layers=1), lambda name: kinds.get(name.split(".")[2], "Q4_1"))
    (folder / "model.gguf").write_bytes(parts.content())


def rope(folder: Path) -> None:
    """A ``config.json`` alone, with every key of Llama 3.1's RoPE."""
    checkpoint(folder)
    raw = json.loads((folder / "model/config.json").read_text(encoding="utf-8"))
    raw["rope_parameters"] = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    shutil.rmtree(folder / "model")
    write(folder / "config.json", raw)


def tokenizer(folder: Path) -> None:
    """The shipped model's tokenizer, of two kinds: as it is, and with all companions of older versions."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "models" / "tiny" / name, folder)
    write(
        folder / "special_tokens_map.json",
        {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}},
    )
    write(folder / "added_tokens.json", {"<s>": 1, "<extra>": 290})


def chat(folder: Path) -> None:
    """A chat template in each place where one can stand."""
    template = (
        "{{ bos_token }}{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}[{{ m.role }}]"
        "{{ m['content'] | trim }}{{ ns.n }}{{ m | tojson }}{% endfor %}{% if add_generation_prompt %}[{{ "
        "strftime_now('%d') }}]{% endif %}"
    )
    write(folder / "tokenizer_config.json", {"chat_template": template, "eos_token": "</s>"})
    (folder / "list").mkdir()
    write(
        folder / "list" / "tokenizer_config.json",
        {"chat_template": [{"name": "rag", "template": "a"}, {"name": "default", "template": template}]},
    )
    (folder / "file").mkdir()
    (folder / "file" / "chat_template.jinja").write_text(template, encoding="utf-8")


def adapter(folder: Path) -> None:
    """An adapter with a rank of its own for one linear."""
    from etchproof.adapter import AdapterConfig, write_synthetic_adapter

    config = AdapterConfig(
        r=2,
        lora_alpha=8,
        target_modules=("q_proj", "down_proj"),
        rank_pattern={"layers.1.self_attn.q_proj": 3},
        layers_to_transform=(0, 1),
        layers_pattern=("layers",),
    )
    write_synthetic_adapter(folder / "adapter", MODEL, config, seed=3)


def copied(*names: str) -> Any:
    """Files of the repository, under their own names."""

    def make(folder: Path) -> None:
        for name in names:
            shutil.copy(ROOT / name, folder)

    return make


def waivers(folder: Path) -> None:
    """Waivers with one entry; the project's own file has none."""
    entry = f"""
  - what: code_line
    why: a reason of enough letters
    who: lead
    until: 2026-11-21
    fabric: {SHA}
"""
    (folder / "waivers.yaml").write_text(f"waivers:{entry}", encoding="utf-8")


def qualification(folder: Path) -> None:
    from etchproof.signoff.qualification import Detection, FaultResult, Qualification, RunRecord

    seen = Detection(run="a", test="A", reason="mismatch", message="m", tap="q_proj", layer=0, token=1)
    fault: dict[str, Any] = {
        "where": "chip",
        "place": "chip.sv:3",
        "operator": "bound",
        "was": "a",
        "becomes": "b",
    }
    faults = (
        FaultResult(name="one", kind="rtl", state="detected", seen_by=(seen,), runs=2, **fault),
        FaultResult(name="other", kind="image", state="survived", seen_by=(), runs=9, **fault),
    )
    found = Qualification(
        **{"stage": "V1", "project": "p", "model": "tiny", "recipe": None, "adapters": (SHA,), "seed": 1},
        **dict.fromkeys(("model_sha256", "sources_sha256", "fabric_sha256", "rom_sha256"), SHA),
        **{"schemata_sha256": SHA, "refused": 3, "opinions": 2, "faults": faults, "wall_s": 1.5},
        runs=(RunRecord(name="a", test="A", elements=9, cycles=9, equal=True, wall_s=0.5),),
    )
    (folder / "qualification.json").write_text(found.model_dump_json(), encoding="utf-8")


def survivors(folder: Path) -> None:
    """Faults that may stand, of both kinds."""
    entries = """
  - fault: "chip: constant: 1 -> 2"
    equivalent: a reason of enough letters
  - fault: "chip: dropped: a <= b; -> ;"
    waived: a reason of enough letters
    until: 2026-11-21
"""
    (folder / "survivors.yaml").write_text(f"survivors:{entries}", encoding="utf-8")


def rom(folder: Path) -> None:
    """ROM images of every element type, with their manifest."""
    from etchproof.render.images import Image, write_images

    draw = np.random.default_rng(1)
    images = [
        Image(0, "q_proj.codes", 6, draw.integers(0, 64, (4, 6)).astype("u1")),
        Image(0, "q_proj.scales", 16, draw.integers(0, 999, (4,)).astype("u2")),
        Image(-1, "table", 16, draw.integers(-999, 999, (3, 2, 2)).astype("i2")),
        Image(1, "bias", 32, draw.integers(-999, 999, (5,)).astype("i4")),
    ]
    write_images(folder / "rom", images)


def fabric_manifest(folder: Path) -> None:
    """A fabric of a team's own files, with what it includes, defines and reads."""
    from etchproof.render.fabric import Setup, make_fabric, write_fabric

    own = folder / "fabric"
    (own / "rtl").mkdir(parents=True)
    for name in ("rtl/a.v", "rtl/b.inc", "rtl/c.hex"):
        (own / name).write_text(f"// {name}\n", encoding="utf-8")
    setup = Setup(
        include=("rtl",),
        included=frozenset({"rtl/b.inc"}),
        defines={"WIDTH": "16", "FAST": ""},
        parameters={"N": "8"},
        data={"luts/c.hex": "rtl/c.hex"},
        waive=("WIDTHEXPAND",),
    )
    fabric = make_fabric(own, ["rtl/a.v", "rtl/b.inc", "rtl/c.hex"], "a", setup)
    write_fabric(fabric, folder / "fabric.json")


def coverage(folder: Path) -> None:
    """Code coverage as Verilator writes it, and as it is kept."""
    from etchproof.coverage import verilator

    points = [
        {
            "f": "ep_a.sv",
            "l": str(line),
            "n": "3",
            "t": kind,
            "page": f"v_{kind}/ep_a__W4",
            "o": what,
            "S": "5-6,8",
        }
        for line, kind, what in ((5, "line", "block"), (7, "branch", "if"), (9, "toggle", "q_o[1]:0->1"))
    ]
    lines = [
        "C '" + "".join(f"\x01{name}\x02{value}" for name, value in point.items()) + f"' {number}\n"
        for number, point in enumerate(points)
    ]
    (folder / "coverage.dat").write_text("# SystemC::Coverage-3\n" + "".join(lines), encoding="utf-8")
    verilator.read(folder / "coverage.dat").save(folder / "coverage.npz")


def vectors(folder: Path) -> None:
    """Vectors of a chip that takes no tokens."""
    np.save(folder / "vectors.npy", np.arange(12, dtype=np.int16).reshape(3, 4))


def dump(folder: Path) -> None:
    """Kept taps of two short sequences, as a folder and as one file."""
    from etchproof.compare.dump import Dumped, DumpWriter, Selection
    from etchproof.compare.kept import pack
    from etchproof.contract.taps import Tap, TapPlan

    writer = DumpWriter(folder / "taps", TapPlan((Tap("x", 0, "i16"), Tap("y", -1, "f32"))), Selection())
    for sequence in range(2):
        chip = [
            {(0, "x"): np.arange(at + 2, dtype=np.int16), (-1, "y"): np.ones(2, "<i4")} for at in range(3)
        ]
        golden = {(0, "x"): [one[0, "x"] for one in chip], (-1, "y"): np.zeros((3, 2), np.float32)}
        writer.write(sequence, [Dumped(at, 7 * at) for at in range(3)], chip, golden)
    writer.close()
    pack(folder / "taps", folder / "taps.npz")


def failed_run(folder: Path) -> None:
    """What a run keeps that failed: taps of two tokens, one of which was not given, and what it was of."""
    from etchproof.compare.differing import KEPT_FILE, Keeper
    from etchproof.regress.subject import SUBJECT_FILE, Subject

    keeper = Keeper()
    keeper.begin(0)
    keeper.keep((0, "q_proj"), 0, np.arange(4, dtype=np.uint16))
    keeper.keep((0, "k_proj"), 1, None)
    keeper.save(folder / KEPT_FILE, [([1, 2], True, None)])
    subject = Subject(project="reference", spec=spec(), model_sha256=SHA)
    (folder / SUBJECT_FILE).write_text(subject.model_dump_json(), encoding="utf-8")


def replay(folder: Path) -> None:
    """A replay of a layer alone, with what enters it."""
    from etchproof.replay.folder import LAYER_FILE
    from etchproof.replay.record import REPLAY_FILE, FedSequence, ReplayRecord

    np.save(folder / LAYER_FILE, np.arange(12, dtype=np.int64).reshape(3, 4))
    record = ReplayRecord(
        run="run",
        project="reference",
        layer=1,
        tap="q_proj",
        first=True,
        fed=9,
        places=(0, 4),
        trials=7,
        minimal=True,
        alone=True,
        spec=spec(),
        injected=("rom:model.norm[1]^0",),
        model_sha256=SHA,
        sequences=(FedSequence(adapter=None, items=(0, 2)),),
    )
    (folder / REPLAY_FILE).write_text(record.model_dump_json(), encoding="utf-8")


def functional(folder: Path) -> None:
    """Functional coverage of two groups."""
    from etchproof.coverage.functional import Covergroup, FunctionalCoverage

    found = FunctionalCoverage([Covergroup("kv_cache", ("a", "b", "c")), Covergroup("control", ("x",))])
    found.sample("Alpha", {"kv_cache": np.array([1, 0, 5]), "control": np.array([2])})
    (folder / "functional.json").write_text(found.to_json(), encoding="utf-8")


def quantized(folder: Path) -> None:
    """A quantized model and a quantized adapter, as they are cached."""
    from etchproof.quantize.adapter_store import save_adapter
    from etchproof.quantize.store import save_quantized
    from tests.unit.models.conftest import drawn_adapter, drawn_model

    model = drawn_model()
    save_quantized(model, folder / "quantized")
    save_adapter(drawn_adapter(model, {(0, "q_proj"): 2}), folder / "adapter.safetensors")


def item(folder: Path) -> None:
    """A run of a regression with its comparison and its record of the ROMs."""
    from etchproof.compare.readback import Readback, UnitReadback
    from etchproof.regress.item import ItemResult, derived, files_sha256
    from tests.unit.verdict.test_judge import comparison

    found = comparison()
    unit = UnitReadback(
        unit=0,
        name="layer 0 q_proj.codes",
        layer=0,
        image="q_proj.codes",
        sha256=SHA,
        words=4,
        slices=4,
        read=4,
        wrong=0,
        bits=(),
        signature=7,
        expected_signature=7,
    )
    (folder / "comparison.json").write_text(found.model_dump_json(), encoding="utf-8")
    (folder / "readback.json").write_text(
        Readback(rom_sha256=SHA, units=(unit,)).model_dump_json(), encoding="utf-8"
    )
    fields: dict[str, Any] = {
        "name": "Alpha-tiny-w6a16-s1",
        "test": "Alpha",
        "key": SHA,
        "verdict": "PASS",
        "reasons": (),
        "seed": 1,
        "kind": "fast",
        "rewrites": None,
        "model_name": "tiny",
        "checkpoint_sha256": SHA,
        "recipe_name": "w6a16",
        "recipe_sha256": SHA,
        "context": 24,
        "fabric_sha256": SHA,
        "rom_sha256": SHA,
        "adapters": (),
        **derived(found),
        "wall_s": 1.0,
        "files": files_sha256(folder),
        "rerun": "etchproof test Alpha",
    }
    (folder / "item.json").write_text(ItemResult.model_validate(fields).model_dump_json(), encoding="utf-8")


def regression(folder: Path) -> None:
    """A regression's plan with two items."""
    from etchproof.regress.plan import RegressionPlan

    plan = RegressionPlan(name="smoke", project="/project", sources_sha256=SHA, items=(spec(), spec(seed=2)))
    plan.write(folder)


def spec(**changes: Any) -> Any:
    """The run of ``item``."""
    from etchproof.regress.spec import ItemSpec

    fields: dict[str, Any] = {
        "name": "Alpha-tiny-w6a16-s1",
        "test": "Alpha",
        "model": "/tiny",
        "shape": None,
        "recipe": "w6a16",
        "context": None,
        "kind": "fast",
        "adapters": (),
        "seed": 1,
        "prompt": "Once",
        "directed": ((1, 2), (3,)),
    }
    return ItemSpec.model_validate(fields | changes)


def signoff(folder: Path) -> None:
    """A sign-off, with a waiver that nothing needs."""
    from etchproof.signoff.waivers import Waiver
    from tests.unit.signoff.test_gates import good
    from tests.unit.signoff.test_report import result

    waiver = Waiver(
        what="code_line",
        why="a reason of enough letters",
        who="lead",
        until=datetime.date(2026, 11, 30),
        fabric="f" * 64,
    )
    text = result(good(), waiver).model_dump_json(indent=1)
    (folder / "signoff.json").write_text(text, encoding="utf-8")


def simulator(folder: Path) -> None:
    """The record of a built simulator, and what a run of one leaves."""
    executable = folder / "build" / "ep_top"
    executable.parent.mkdir()
    executable.write_bytes(b"#!/bin/true\n")
    executable.chmod(0o755)
    record = {
        "inputs": {"top": "ep_top", "kind": "fast", "fabric": SHA, "rewritten": False},
        "executable_sha256": "0" * 64,
        "rewrites": None,
        "build_s": 1.5,
    }
    write(folder / "build/build.json", record)
    write(folder / "run_config.json", {"project": "/project", "images": 3, "directed": [[1, 2]]})
    events = [{"event": "token", "position": 3}, {"event": "done"}, {}]
    (folder / "progress.jsonl").write_text(
        "".join(json.dumps(event) + "\n" for event in events), encoding="utf-8"
    )
    cases = (
        '<testcase name="Alpha" classname="verif.tests" time="1.0" />',
        '<testcase name="Beta"><failure message="no">x</failure></testcase>',
    )
    (folder / "results.xml").write_text(
        f'<testsuites><testsuite name="all">{"".join(cases)}</testsuite></testsuites>', encoding="utf-8"
    )


def folders(folder: Path) -> None:
    """What says who works in a folder, and what a drawn checkpoint holds."""
    write(folder / ".lock.json", {"pid": 5, "command": "etchproof cosim", "since": "2026-01-01 00:00:00"})
    write(folder / "owner.json", {"project": "/project", "model": "/model"})
    write(folder / "directed.json", [[1, 2, 3], [4]])
    (folder / "drawn").mkdir()
    (folder / "drawn/weights").write_bytes(b"1234")
    sha256 = hashlib.sha256(b"1234").hexdigest()
    write(folder / "drawn/synthetic.json", {"seed": 1, "sha256": {"weights": sha256}})


def filelists(folder: Path) -> None:
    """A project whose RTL stands in a command file with another inside, and in EDA metadata."""
    (folder / "rtl/include").mkdir(parents=True)
    for name in ("rtl/a.v", "rtl/b.v", "rtl/c.sv"):
        (folder / name).touch()
    (folder / "chip.f").write_text(
        "// the chip\n+incdir+rtl/include +define+WIDTH=8+FAST\nrtl/a.v\n-F rtl/more.f  # the rest\n",
        encoding="utf-8",
    )
    (folder / "rtl/more.f").write_text("b.v -I include \\\n -D DEPTH=4\n", encoding="utf-8")
    entries = (("rtl/c.sv", "systemVerilogSource"), ("notes.txt", "user"))
    files = "".join(f"- {{name: {name}, file_type: {kind}}}\n" for name, kind in entries)
    parameters = "parameters:\n  N: {datatype: int, default: 3, paramtype: vlogparam}\n"
    (folder / "core.eda.yml").write_text(
        f"name: core_0\ntoplevel: chip\nfiles:\n{files}{parameters}", encoding="utf-8"
    )
    (folder / "etchproof.toml").write_text(
        'name = "lists"\n[model]\nload = "model:load"\n[golden]\nsession = "golden:Session"\n[taps]\n'
        'plan = "taps:plan"\n[verif]\ntests = ["tests"]\n[rtl]\ntop = "chip"\nfilelist = ["chip.f", "core.eda.yml"]\n',
        encoding="utf-8",
    )


def sources(folder: Path) -> None:
    """A project's SystemVerilog, with a template and the linters' waivers."""
    (folder / "hw").mkdir()
    (folder / "templates").mkdir()
    (folder / "hw/ep_a.sv").write_text("module ep_a;\nendmodule\n", encoding="utf-8")
    (folder / "hw/ep_b.sv").write_text("// b\nmodule ep_b;\nendmodule\n", encoding="utf-8")
    (folder / "templates/x.sv.j2").write_text("module {{ name }};\nendmodule\n", encoding="utf-8")
    shutil.copy(ROOT / "hw/lint/verilator.vlt", folder)


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
