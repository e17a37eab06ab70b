"""The figures: each function measures one section of docs/performance.md."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.chip import PROJECT, Chip, make_chip, make_chip_of
from bench.linear import linear_pairs
from bench.measure import ROOT, Pair, Ratio, Section, Value, alternate, machine
from etchproof.checkpoint import ModelConfig, load_checkpoint
from etchproof.checkpoint.shape import cut_shape, load_shape
from etchproof.errors import InputError
from etchproof.qualify.run import apart
from etchproof.run import flow, testrun
from etchproof.schemata.sources import draw, make_schemata, read_sources
from etchproof.sim.build import build
from etchproof.sim.progress import PROGRESS_FILE
from etchproof.tools import find_verilator, tool_versions
from models.cycles import layer_cycles, tail_cycles, token_cycles

TINY: Final = ROOT / "models" / "tiny"
STORIES: Final = Path(
    os.environ.get("ETCHPROOF_STORIES260K", ROOT.parent / "shared" / "models" / "stories260k")
)
RECIPE: Final = "w6a16"
PROMPT: Final = "Once upon a time"
LAYERS: Final = (2, 8, 32)
FAULTS: Final = 600


def stories() -> Path:
    """The trained stories260K checkpoint, which is not part of the repository.

    Raises:
        InputError: it is not there.
    """
    if not (STORIES / "config.json").is_file():
        raise InputError("no checkpoint here", source=STORIES, hint="name it in ETCHPROOF_STORIES260K")
    return STORIES


def section(ratios: Sequence[Ratio], values: Sequence[Value] = ()) -> Section:
    return Section(machine=machine(), tools=tool_versions(), ratios=list(ratios), values=list(values))


def cosim(folder: Path, pairs: int) -> Section:
    """All checks on, against the bare harness; from the command to the first token."""
    chip = make_chip(stories(), RECIPE, folder)
    prompt = load_checkpoint(stories()).tokenizer().encode(PROMPT)
    loop, process = [], []
    for index in range(pairs + 1):
        checked = chip.cosim(prompt, 257 - len(prompt))
        bare = chip.bare_run(checked.tokens)
        assert (len(checked.tokens), bare.answers) == (256, checked.answers)
        if index:  # the first warms up
            loop.append(Pair(checked.loop_s, bare.loop_s))
            process.append(Pair(checked.wall_s, bare.wall_s))
    words = [sys.executable, "-m", "etchproof", "cosim", stories(), "--recipe", RECIPE, "--prompt", PROMPT]
    first = [_first_token_s([*map(str, words), "--tokens", "64"], folder) for _ in range(pairs + 1)][1:]
    return section(
        [
            Ratio(
                name="co-simulation, 256 tokens",
                this="taps, scoreboard and golden model on",
                that="bare C++ main, taps off",
                unit="s",
                pairs=loop,
                limit=1.25,
            ),
            Ratio(
                name="the same with the start of the process",
                this="simulator's process",
                that="bare process",
                unit="s",
                pairs=process,
            ),
        ],
        [Value(name="from the command to the first token, build cached", unit="s", values=first, limit=2.0)],
    )


def _first_token_s(command: Sequence[str], folder: Path) -> float:
    """Seconds until the chip's first token has arrived in the process that started the simulator."""
    out = folder / "first"
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    with subprocess.Popen([*command, "--out", str(out)], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        progress = out / PROGRESS_FILE
        while not (progress.exists() and progress.stat().st_size):
            assert process.poll() is None, "the run ended without a token"
            time.sleep(0.002)
        took_s = time.perf_counter() - start
        assert process.wait() == 0
    return took_s


def throughput(folder: Path, pairs: int) -> Section:
    """Tokens a second, cycles, and the golden model decoding one token at a time."""
    ratios, values = [], []
    for name, model_dir, tokens in (("stories260k", stories(), 256), ("tiny", TINY, 128)):
        chip = make_chip(model_dir, RECIPE, folder / name)
        prompt = load_checkpoint(model_dir).tokenizer().encode(PROMPT)
        run = chip.cosim(prompt, tokens + 1 - len(prompt))
        golden = flow.make_golden(chip.fast.design, chip.fast.model)

        def decode(golden: object = golden, tokens: Sequence[int] = run.tokens) -> float:
            session = golden.session()  # type: ignore[attr-defined]
            start = time.perf_counter()
            for index, token in enumerate(tokens):
                session.predict([token], index == 0)
            return time.perf_counter() - start

        def simulate(chip: Chip = chip, prompt: Sequence[int] = prompt, tokens: int = tokens) -> float:
            return chip.cosim(prompt, tokens + 1 - len(prompt)).loop_s

        ratios.append(
            Ratio(
                name=f"{name}, {tokens} tokens",
                this="co-simulation",
                that="golden model, one token at a time",
                unit="s",
                pairs=alternate(simulate, decode, pairs),
            )
        )
        plan, last = chip.fast.design.plan, tokens - 1
        assert run.cycles == [token_cycles(plan, position) for position in range(tokens)]
        values += [
            Value(
                name=f"{name}: cycles of the token at position 0",
                unit="cycles",
                values=[run.cycles[0]],
                limit=2500 if name == "stories260k" else None,
            ),
            Value(name=f"{name}: cycles per token", unit="cycles", values=[sum(run.cycles) / tokens]),
            Value(
                name=f"{name}: tokens per second",
                unit="1/s",
                values=[tokens / pair.this for pair in ratios[-1].pairs],
            ),
        ]
        for phase, cycles in phases(chip, last // 2).items():
            share = 100 * cycles / token_cycles(plan, last // 2)
            values.append(Value(name=f"{name}: share of {phase}", unit="%", values=[share]))
    return section(ratios, values)


def phases(chip: Chip, position: int) -> dict[str, int]:
    """Cycles of a token by what they are spent on."""
    plan = chip.fast.design.plan
    found = {"projections": 0, "attention": 0, "norms and residual": 0, "SwiGLU": 0, "head": 0}
    of = {
        "projections": ("qkv", "o_proj", "gate_up", "down_proj"),
        "attention": ("rope", "attention"),
        "norms and residual": ("receive", "attn_norm", "attn_residual", "mlp_norm", "mlp_residual"),
        "SwiGLU": ("swiglu",),
    }
    for layer in range(plan.n_layers):
        steps = layer_cycles(plan, layer, position)
        assert set(steps) == {step for names in of.values() for step in names}
        for phase, names in of.items():
            found[phase] += sum(steps[name] for name in names)
    found["head"] = sum(tail_cycles(plan).values())
    return found


def linear(folder: Path, pairs: int) -> Section:
    """The ROM linear alone."""
    ratios = [
        Ratio(
            name=f"ROM linear, {bits}-bit codes in groups of {group}",
            this="Verilated ep_linear",
            that="plain C++ loop",
            unit="ns per multiply-accumulate",
            pairs=linear_pairs(bits, group, max(pairs, 25), folder / f"{bits}-{group}"),
            limit=4.0,
        )
        for bits, group in ((6, 16), (4, 16), (8, 64))
    ]
    return section(ratios)


def layers(folder: Path, pairs: int) -> Section:
    """Chips of one shape with 2, 8 and 32 layers."""
    chips = {}
    for count in LAYERS:
        config = _shape(count)
        recipe = flow.read_recipe(PROJECT, "w4a16").for_random_weights()
        model_dir, _ = flow.draw(config, 1, flow.cache_folder())
        design = flow.plan_design(PROJECT, model_dir, recipe, 64)
        chips[count] = make_chip_of(design, folder / str(count))

    cache = folder / "cache"

    def fresh(count: int) -> Callable[[], float]:
        def run() -> float:
            shutil.rmtree(cache / "builds", ignore_errors=True)  # not what no design changes
            work = folder / "again"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            fabric = flow.render_fabric(chips[count].fast.design, work)
            return build(fabric, "fast", verilator=find_verilator(), cache_dir=cache).build_s

        return run

    def simulated(count: int) -> Callable[[], float]:
        tokens = [7 * index % 500 for index in range(32)]
        return lambda: 1e6 * sum(chips[count].bare_run(tokens).token_s) / (len(tokens) * count)

    ratios = []
    for many in LAYERS[1:]:
        last = many == LAYERS[-1]
        ratios += [
            Ratio(
                name=f"Verilate and compile, {many} layers against {LAYERS[0]}",
                this=f"{many} layers",
                that=f"{LAYERS[0]} layers",
                unit="s",
                pairs=alternate(fresh(many), fresh(LAYERS[0]), pairs),
                limit=2.0 if last else None,
            ),
            Ratio(
                name=f"simulation time per token and layer, {many} layers against {LAYERS[0]}",
                this=f"{many} layers",
                that=f"{LAYERS[0]} layers",
                unit="us",
                pairs=alternate(simulated(many), simulated(LAYERS[0]), 2 * pairs),
                limit=1.3 if last else None,
            ),
        ]
    return section(ratios)


def _shape(n_layers: int) -> ModelConfig:
    """stories260K's sizes with as many layers as asked for."""
    small = load_shape("llama-3.2-1b", PROJECT.shapes_dir)
    config = small.model_copy(
        update={"hidden_size": 64, "intermediate_size": 172, "n_heads": 8, "n_kv_heads": 4, "head_dim": 8}
    )
    cut = cut_shape(config.model_copy(update={"n_layers": n_layers}), layers=n_layers, vocab=512)
    return cut.model_copy(update={"name": f"bench-layers{n_layers}"})


def context(folder: Path, pairs: int) -> Section:
    """Time per token as the context grows."""
    chip = make_chip(stories(), RECIPE, folder)
    tokens = [7 * index % 500 for index in range(512)]
    runs = [chip.bare_run(tokens) for _ in range(pairs + 1)][1:]

    def microseconds(token_s: list[float], position: int) -> float:
        near = sorted(
            token_s[max(0, position - 8) : position + 1]
        )  # the median of nine, the last at the position
        return 1e6 * near[len(near) // 2]

    ratios = [
        Ratio(
            name=f"time of a token at position {position} against position 16",
            this=f"position {position}",
            that="position 16",
            unit="us",
            pairs=[Pair(microseconds(run.token_s, position), microseconds(run.token_s, 16)) for run in runs],
        )
        for position in (128, 511)
    ]
    plan = chip.fast.design.plan
    values = [
        Value(name=f"cycles at position {position}", unit="cycles", values=[token_cycles(plan, position)])
        for position in (16, 128, 511)
    ]
    return section(ratios, values)


def schemata(folder: Path, pairs: int) -> Section:
    """A simulator with planted faults, none chosen, against the one without."""
    plain = make_chip(TINY, RECIPE, folder).fast
    sources = read_sources(plain.fabric, apart(PROJECT))
    made = make_schemata(plain.fabric, sources, draw(sources, 1), FAULTS, folder / "schemata")
    simulator = build(made.fabric, "fast", verilator=find_verilator(), cache_dir=flow.cache_folder())
    prompt = load_checkpoint(TINY).tokenizer().encode(PROMPT)
    config = {
        "wait_golden": True,
        "sequences": [{"prompt": list(prompt), "new_tokens": 129 - len(prompt), "stop_tokens": []}],
    }

    def simulate(chip: testrun.Chip) -> Callable[[], float]:
        def run() -> float:
            done = testrun.run_test(chip, PROJECT.verif.generation, folder / "run", seed=1, config=config)
            assert done.passed and done.comparison is not None, done.reasons
            return done.comparison.sim_s

        return run

    with_faults = dataclasses.replace(plain, fabric=made.fabric, build=simulator)
    ratio = Ratio(
        name=f"tiny, 128 tokens, {FAULTS} planted faults",
        this="none of them chosen",
        that="without them",
        unit="s",
        pairs=alternate(simulate(with_faults), simulate(plain), 3 * pairs),
        limit=1.03,
    )
    return section([ratio])


FIGURES: Final[dict[str, Callable[[Path, int], Section]]] = {
    "cosim": cosim,
    "throughput": throughput,
    "linear": linear,
    "layers": layers,
    "context": context,
    "schemata": schemata,
}
