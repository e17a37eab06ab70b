"""The record of a run, ``run.json`` (docs/run-json.md): what ran, what was compared, and the verdict.

``schema_version`` is raised when a field changes its meaning or goes; fields may be added without.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from etchproof.compare.comparator import Divergence, TapCount
from etchproof.sim.rewrite.rewrites import Rewrites

RESULT_FILE: Final = "run.json"
SCHEMA_VERSION: Final = 1

Verdict = Literal["PASS", "FAIL"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]

VOLATILE: Final = (
    "sim.wall_s",
    "sim.tokens_per_s",
    "sim.startup_s",
    "sim.sim_s",
    "sim.wait_s",
    "sim.golden_s",
    "sim.compare_s",
    "sim.build_s",
    "sim.build_cached",
    "chat.now",
    "profile",
)
"""Fields that differ between two runs of one command: times, memory, whether the simulator was there already. A field
whose record is null stays null."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reason(_Record):
    """Why the verdict is not PASS."""

    name: str = Field(description="which check failed, one word")
    message: str = Field(description="what it found")


class ModelRecord(_Record):
    """The checkpoint."""

    name: str = Field(description="the folder's name; of a GGUF file, without its suffix")
    path: str = Field(description="the folder or the GGUF file, absolute")
    sha256: Sha256 = Field(description="hash of config.json and the weight files; of a GGUF, of that file")
    published: str | None = Field(
        default=None,
        description="codes that the model was published with, such as '210 Q4_1, 1 Q8_0': its weights were "
        "dequantized, and quantized again by the recipe; null: it was published as floats",
    )


class RecipeRecord(_Record):
    """The recipe."""

    name: str
    sha256: Sha256 = Field(description="hash of what it says, without its name and description")
    context: Count = Field(description="positions that the chip holds")
    method: Literal["rtn", "gptq"] = Field(
        description="how codes were found: to nearest, or compensating errors"
    )
    calibration: Literal["sampled", "random"] = Field(
        description="where the calibration text came from: the model itself, or random tokens"
    )


class VectorsRecord(_Record):
    """What a chip that takes vectors and no tokens was fed (--vectors)."""

    path: str = Field(description="the file, absolute")
    sha256: Sha256 = Field(description="hash of the file")
    vectors: Count = Field(description="that it holds")
    answers: tuple[int, ...] = Field(description="the first word of each answer, in order")


class HealthRecord(_Record):
    """How the quantized model fares on a short text, drawn as its calibration text is; apart from any chip."""

    tokens: Count = Field(description="of the text")
    saturated_percent: float = Field(
        ge=0, le=100, description="of the elements of the tap that saturates most"
    )
    saturated_tap: str | None = Field(description="which one; null where nothing saturates")
    dead: tuple[str, ...] = Field(description="taps that never change, norms with gains that became 0")


class AdapterLoadRecord(_Record):
    """One load of an adapter through the chip's load port."""

    status: Count = Field(description="the chip's answer; 0 is good")
    words: Count = Field(description="of 32 bits, header and checksum included")
    cycles: Count = Field(description="from the first word taken to the answer")
    cycles_model: Count = Field(description="what the cycle model says")


class AdapterRecord(_Record):
    """One adapter of the run (--adapter)."""

    name: str = Field(description="the folder's name")
    path: str = Field(description="the folder, absolute")
    sha256: Sha256 = Field(description="hash of adapter_config.json and adapter_model.safetensors")
    slot: Count = Field(description="where it was loaded; more adapters than slots take turns")
    ranks: dict[str, int] = Field(description="of each linear that it adapts, by Hugging Face's name")
    loads: tuple[AdapterLoadRecord, ...] = Field(description="in order")


class ChatRecord(_Record):
    """The message of a prompt that was made by the model's chat template (--chat)."""

    message: str = Field(description="what the user says")
    template: str = Field(description="name of the file that holds the template")
    template_sha256: Sha256 = Field(description="hash of the template's text")
    now: str | None = Field(
        description="the local time that the template asked for; null: it did not, and every day gives this prompt"
    )


class SequenceRecord(_Record):
    """One sequence of the run."""

    adapter: Count | None = Field(description="index in adapters; null for the base alone")
    prompt_tokens: tuple[int, ...]
    prompt_text: str | None = Field(description="the prompt decoded; null without a tokenizer")
    generated_tokens: tuple[int, ...] = Field(
        description="what the chip chose, in order; a stop token included"
    )
    generated_text: str | None = Field(
        description="the same decoded, as it continues the prompt; null without a tokenizer"
    )
    stopped_by: Literal["length", "stop_token"] | None = Field(
        description="why generation ended; null when it did not come to its end"
    )
    tokens_fed: Count = Field(
        description="positions computed: the prompt and all generated tokens but the last"
    )
    taps_compared: Count = Field(description="vectors compared: one for each tap of each token")
    elements_compared: Count
    mismatches: Count = Field(description="elements that differ")


class SimRecord(_Record):
    """How the simulation went."""

    kind: Literal["fast", "plain", "strict", "waves"] = Field(
        description="how the simulator was built (--build)"
    )
    rewrites: Rewrites | None = Field(
        description="what Etchproof changed in the C++ that Verilator wrote, by rule; null: nothing, it is untouched"
    )
    cycles: Count = Field(description="clock cycles from acceptance to response, all tokens together")
    cycles_per_token: float = Field(ge=0, description="cycles / tokens fed")
    wall_s: Seconds = Field(description="wall time of the simulator's process")
    tokens_per_s: float = Field(ge=0, description="tokens fed / wall_s")
    startup_s: Seconds = Field(description="part of wall_s before and after the test: process, imports")
    sim_s: Seconds = Field(description="part of wall_s in which the test drove the chip")
    wait_s: Seconds = Field(description="part of wall_s in which the simulator waited for the scoreboard")
    golden_s: Seconds = Field(description="spent in the golden model, beside the simulator")
    compare_s: Seconds = Field(description="spent comparing, beside the simulator")
    build_s: Seconds = Field(description="what building the simulator took, when it was built")
    build_cached: bool = Field(description="whether the simulator was built before this run")


class StageRecord(_Record):
    """What one stage of the run took."""

    name: str = Field(description="as on the screen; of the simulator's process: startup, simulate, wait")
    wall_s: Seconds


class ProfileRecord(_Record):
    """Where time and memory went."""

    total_s: Seconds = Field(description="from the start of the command to the verdict")
    stages: tuple[StageRecord, ...] = Field(
        description="in order, total_s together; wait is for golden model and comparison, other for no stage at all"
    )
    beside: tuple[StageRecord, ...] = Field(description="what ran beside the simulator: golden, compare")
    peak_rss_bytes: Count | None = Field(
        description="most memory that this process held; null where it is not told"
    )
    simulator_peak_rss_bytes: Count | None = Field(
        description="most memory that the simulator's process held; null where it is not told"
    )


class RunResult(_Record):
    """``run.json``. It exists only when a verdict was reached, and is written last."""

    schema_version: Literal[1] = SCHEMA_VERSION
    verdict: Verdict
    reasons: tuple[Reason, ...] = Field(description="empty exactly when the verdict is PASS")
    project: str = Field(description="name in etchproof.toml")
    model: ModelRecord
    recipe: RecipeRecord | None = Field(description="null: a model of the project's own kind, as it is")
    fabric_sha256: Sha256 = Field(description="hash of the rendered SystemVerilog that ran")
    rom_sha256: Sha256 = Field(
        description="hash of the ROM images, injected faults left out (docs/rom-format.md)"
    )
    health: HealthRecord | None = Field(
        description="null: not measured, as the golden model only predicts taps or nobody quantized the model"
    )
    injected: tuple[str, ...] = Field(description="faults that only the simulator saw (--inject)")
    tools: dict[str, str] = Field(description="version of each tool")
    seed: int
    adapters: tuple[AdapterRecord, ...] = Field(
        default=(), description="those that ran beside the base, in the order of the command"
    )
    sequences: tuple[SequenceRecord, ...] = Field(
        default=(), description="in order: the base, each adapter, then short ones that swap between them"
    )
    vectors: VectorsRecord | None = Field(default=None, description="null: the chip takes tokens")
    prompt_tokens: tuple[int, ...] = Field(description="of the first sequence")
    prompt_text: str | None = Field(description="the prompt decoded; null without a tokenizer")
    chat: ChatRecord | None = Field(
        default=None, description="the message that the prompt is made of; null without --chat"
    )
    generated_tokens: tuple[int, ...] = Field(
        description="what the chip chose in the first sequence, in order; a stop token included"
    )
    generated_text: str | None = Field(
        description="the same decoded, as it continues the prompt; null without a tokenizer"
    )
    stopped_by: Literal["length", "stop_token"] | None = Field(
        description="why generation of the first sequence ended; null when it did not come to its end"
    )
    tokens_fed: Count = Field(
        description="positions computed, of all sequences: the prompt and all generated tokens but the last"
    )
    taps_compared: Count = Field(description="vectors compared: one for each tap of each token")
    elements_compared: Count
    mismatches: Count = Field(description="elements that differ")
    first_divergence: Divergence | None = Field(
        description="earliest token, then dataflow order, then index; null when nothing differs"
    )
    taps: tuple[TapCount, ...] = Field(description="the counts of each tap, in dataflow order")
    sim: SimRecord
    profile: ProfileRecord | None = Field(
        default=None, description="where time and memory went; null without --profile"
    )
    rerun: str = Field(description="the command that repeats this run, one line for a POSIX shell")

    def to_json(self) -> str:
        """The file's content."""
        return _NUMBERS.sub(_in_one_line, self.model_dump_json(indent=1)) + "\n"


_NUMBERS: Final = re.compile(
    r"\[\n(?: *-?\d+,\n)* *-?\d+\n *\]"
)  # no string of JSON holds a line feed as it is


def _in_one_line(numbers: re.Match[str]) -> str:
    return re.sub(r"\n *", " ", numbers[0]).replace("[ ", "[").replace(" ]", "]")


def json_schema() -> str:
    """JSON Schema of ``run.json``, the content of docs/run.schema.json."""
    schema: dict[str, Any] = RunResult.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"
