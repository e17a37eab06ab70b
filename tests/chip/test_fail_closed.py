"""Every failure of "fail closed" planted once and seen caught, by its name.

One build of a tiny chip serves most of them: its taps, host port and embedding misbehave when a plusarg says so.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
from torch import Tensor

from etchproof.checkpoint import write_synthetic
from etchproof.quantize.quantized_model import QuantizedAdapter
from etchproof.render import templates
from etchproof.run.testrun import Chip
from models.golden import Golden
from tests.chip.harness import assert_clean, make_chip, run
from tests.chip.test_shapes import W6, config
from tests.conftest import ROOT
from verif.load_port.drawn_adapters import everywhere, random_adapter

pytestmark = pytest.mark.sim

TAP_CALL = re.compile(
    r"(ep_tap_pkg::write_\d+)\(int'\(layer_i\), tap_id, int'\(pos_i\), int'\(count_i\), data_i\);"
)
FAULTY_TAP_CALL = r"""begin
        if (!dropped) \1(layer, id, pos, count, data_i);
        if (at_fault && $test$plusargs("fault_twice") != 0) \1(layer, id, pos, count, data_i);
        if (at_fault && $test$plusargs("fault_stray_lora") != 0) \1(layer, stray, pos, count, data_i);
      end"""
TAP_FAULTS = """
  bit at_fault, dropped;
  int layer, id, pos, count, written, stray;

  initial begin
    at_fault = Name == "q_proj";
    stray = ep_tap_pkg::find("q_proj.lora_a");
    if (at_fault && $test$plusargs("fault_name") != 0) stray = ep_tap_pkg::find("q_prj");
  end

  always_ff @(posedge clk_i) if (valid_i) written <= written + 1;

  always_comb begin
    layer = (at_fault && $test$plusargs("fault_layer") != 0) ? 77 : int'(layer_i);
    id = (at_fault && $test$plusargs("fault_id") != 0) ? 999 : tap_id;
    pos = int'(pos_i) + int'(at_fault && $test$plusargs("fault_pos") != 0);
    count = int'(count_i) - int'(at_fault && $test$plusargs("fault_count") != 0) -
        int'(Name == "q_proj.lora_a" && $test$plusargs("fault_rank") != 0);
    dropped = $test$plusargs("drop_all") != 0 ||
        (at_fault && $test$plusargs("fault_drop_one") != 0 && written == 3) ||
        (Name == "q_proj.lora_b" && $test$plusargs("fault_drop_lora") != 0);
  end

  if (Width == 8) begin : gen_w8"""


def mutate(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} no longer holds {old!r} once"
    path.write_text(text.replace(old, new))


def faulty_taps(folder: Path) -> Path:
    """A copy of the engine's taps whose faults sleep until a plusarg wakes one."""
    taps = folder / "taps"
    shutil.copytree(templates.LIBRARY, taps)
    tap = taps / "ep_tap.sv"
    text = tap.read_text()
    text, calls = TAP_CALL.subn(FAULTY_TAP_CALL, text)
    assert calls == 4, "a call for each width"
    tap.write_text(text)
    mutate(tap, "  if (Width == 8) begin : gen_w8", TAP_FAULTS)
    return taps


def faulty_hw(folder: Path) -> Path:
    """A copy of hw/ whose faults sleep until a plusarg wakes one."""
    hw = folder / "hw"
    shutil.copytree(ROOT / "hw", hw)
    mutate(
        hw / "ep_host_port.sv",
        "assign rsp_valid_o = state_q == Respond;",
        """bit mute, wrong_status, wrong_token;
  initial begin
    mute = $test$plusargs("mute") != 0;
    if ($test$plusargs("fatal") != 0) #100 $fatal(1, "planted");
    if ($test$plusargs("error") != 0) #100 $error("planted");
    if ($test$plusargs("finish") != 0) #1000 $finish;
  end
  assign rsp_valid_o = state_q == Respond && !mute;""",
    )
    mutate(
        hw / "ep_host_port.sv",
        "rsp_token_o <= result_token_i;",
        'rsp_token_o <= result_token_i ^ 32\'($test$plusargs("other_token") != 0);',
    )
    mutate(
        hw / "ep_host_port.sv",
        "rsp_pos_o <= pos;",
        'rsp_pos_o <= pos + 32\'($test$plusargs("other_pos") != 0);',
    )
    mutate(
        hw / "ep_host_port.sv",
        "if (first) slot_d = tok_slot_i;",
        'if (first && !($test$plusargs("sticky_slot") != 0 && tok_slot_i == NoSlot)) slot_d = tok_slot_i;',
    )
    load = hw / "ep_lora_load.sv"
    mutate(
        load,
        "assign ldr_valid_o = state_q == Respond;",
        'assign ldr_valid_o = state_q == Respond && $test$plusargs("load_mute") == 0;',
    )
    mutate(
        load,
        "assign ld_ready_o = state_q != Respond && !hold_i;",
        """logic pause;
  always_ff @(posedge clk_i or negedge rst_ni) pause <= rst_ni && !pause && $test$plusargs("load_slow") != 0;
  assign ld_ready_o = state_q != Respond && !hold_i && !pause;""",
    )
    mutate(
        load,
        "if (state_q != Swallow) ldr_status_o <= status;",
        """if (state_q != Swallow)
          ldr_status_o <= ($test$plusargs("load_code") != 0) ? load_status_e'(4'(status) ^ 4'd7) : status;""",
    )
    mutate(
        load,
        "else if (held_i[ld_data_i[3:0]]) status = LOAD_SLOT_BUSY;",
        'else if (held_i[ld_data_i[3:0]] && $test$plusargs("never_busy") == 0) status = LOAD_SLOT_BUSY;',
    )
    mutate(
        load,
        "else if (ld_data_i != ~crc_q) status = LOAD_CHECKSUM;",
        'else if (ld_data_i != ~crc_q && $test$plusargs("no_checksum") == 0) status = LOAD_CHECKSUM;',
    )
    embedding = hw / "ep_embedding.sv"
    mutate(
        embedding, "  assign valid_o = busy_o;", "  logic [31:0] never_written;\n  assign valid_o = busy_o;"
    )
    mutate(
        embedding,
        "data_o[i] = 32'(saturate(round_shift(code * scale, shift_i), 32));",
        """data_o[i] = 32'(saturate(round_shift(code * scale, shift_i), 32));
      if ($test$plusargs("uninitialized") != 0) data_o[i] = data_o[i] ^ never_written;""",
    )
    station, port = hw / "ep_rom_station.sv", hw / "ep_rom_port.sv"
    mutate(
        station,
        "assign signature = misr(signature_q, slice_i);",
        'assign signature = misr(signature_q, slice_i) ^ 32\'($test$plusargs("rom_misr") != 0);',
    )
    mutate(
        station,
        "chain_q.word <= signs_q ? signature : slice_i;",
        'chain_q.word <= signs_q ? signature : slice_i ^ (32\'($test$plusargs("rom_bit") != 0) << 9);',
    )
    mutate(
        station,
        "last_slice_q <= 16'(rom_slices - 32'd1);",
        "last_slice_q <= 16'(rom_slices - 32'd1 - 32'($test$plusargs(\"rom_short\") != 0 && rom_slices > 1));",
    )
    mutate(port, "idle_i ? Wait : Refuse", 'idle_i || $test$plusargs("rom_never_busy") != 0 ? Wait : Refuse')
    mutate(port, "if (idle_i) begin", 'if (idle_i || $test$plusargs("rom_never_busy") != 0) begin')
    mutate(
        port,
        "rtr_valid_o <= !idle_i;",
        'rtr_valid_o <= !idle_i && $test$plusargs("rom_never_busy") == 0;',
    )
    mutate(
        port,
        "rtr_valid_o <= chain_i.kind != CHAIN_NONE;",
        'rtr_valid_o <= chain_i.kind != CHAIN_NONE && $test$plusargs("rom_mute") == 0;',
    )
    mutate(port, "state_q <= Last;", 'if ($test$plusargs("rom_mute") == 0) state_q <= Last;')
    mutate(
        port,
        "state_q inside {Wait, Last};",
        'state_q == Wait || (state_q == Last && $test$plusargs("rom_let_go") == 0);',
    )
    mutate(
        port,
        "rtr_status_o <= ROM_STATUS_BAD_UNIT;",
        'rtr_status_o <= $test$plusargs("rom_code") != 0 ? ROM_STATUS_OK : ROM_STATUS_BAD_UNIT;',
    )
    mutate(
        port,
        "chain_o.kind <= CHAIN_NONE;",
        'if ($test$plusargs("rom_twice") == 0) chain_o.kind <= CHAIN_NONE;',
    )
    return hw


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Chip:
    folder = tmp_path_factory.mktemp("faulty")
    write_synthetic(folder / "checkpoint", config(hidden_size=16, intermediate_size=20), seed=3)
    (folder / "recipe.yaml").write_text(W6)
    with patch.object(templates, "LIBRARY", faulty_taps(folder)):
        return make_chip(
            folder / "checkpoint", folder / "recipe.yaml", folder / "chip", "strict", hw=faulty_hw(folder)
        )


STREAM = {"sequences": [{"prompt": [1, 5, 9, 13, 17], "new_tokens": 3}]}


def test_sleeping_faults_change_nothing(faulty: Chip) -> None:
    assert_clean(run(faulty, "GreedyGeneration", config=STREAM))


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("drop_all", "nothing_compared"),
        ("fault_drop_one", "missing_tap"),
        ("fault_id", "unknown_tap"),
        ("fault_name", "unknown_tap"),
        ("fault_layer", "unknown_tap"),
        ("fault_count", "tap_size"),
        ("fault_pos", "stray_tap"),
        ("fault_twice", "duplicate_tap"),
        ("mute", "timeout"),
        ("fatal", "planted"),
        ("error", "planted"),
        ("finish", "ended prematurely"),
        ("other_token", "response_token"),
        ("other_pos", "status"),
        ("uninitialized", "mismatch"),
    ],
)
def test_planted_fault(faulty: Chip, fault: str, name: str) -> None:
    done = run(
        faulty,
        "GreedyGeneration",
        config=STREAM | {"timeout_cycles": 20_000},
        plusargs=[f"+{fault}"],
        timeout_s=60,
    )
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status in ("failed", "crashed")
    said = [f"{failure.name} {failure.message}" for failure in outcome.failures]
    said += [failure.name for failure in comparison.failures] if comparison else []
    assert any(name in line for line in said), said
    if fault == "uninitialized":
        assert comparison is not None and comparison.mismatches > 0
        assert comparison.first_divergence is not None and comparison.first_divergence.tap == "embedding"


@pytest.fixture(scope="module")
def lora(faulty: Chip) -> list[QuantizedAdapter]:
    return [random_adapter(faulty.model, faulty.plan, "drawn", everywhere(faulty.plan, 3), 1)]


ADAPTED = {
    "sequences": [
        {"prompt": [1, 5, 9], "new_tokens": 2, "adapter": 0},
        {"prompt": [1, 5, 9], "new_tokens": 2, "adapter": None},
    ],
    "timeout_cycles": 20_000,
}


def test_sleeping_faults_change_nothing_with_an_adapter(faulty: Chip, lora: list[QuantizedAdapter]) -> None:
    clean = run(faulty, "GreedyGeneration", adapters=lora, config=ADAPTED)
    assert len(assert_clean(clean).sequences) == 2
    assert_clean(run(faulty, "LoadErrors", adapters=lora))


@pytest.mark.parametrize(
    ("fault", "name", "sequence"),
    [
        ("fault_drop_lora", "missing_tap", 0),  # an adapter's tap that does not come
        ("fault_stray_lora", "unknown_tap", 1),  # and one that comes where no adapter is
        ("fault_rank", "tap_size", 0),
        ("sticky_slot", "unknown_tap", 1),  # the base's sequence keeps the adapter
        ("load_mute", "timeout", None),
        ("load_slow", "load_cycles", None),
        ("load_code", "load_status", None),
    ],
)
def test_planted_fault_of_an_adapter(
    faulty: Chip, lora: list[QuantizedAdapter], fault: str, name: str, sequence: int | None
) -> None:
    done = run(
        faulty, "GreedyGeneration", adapters=lora, config=ADAPTED, plusargs=[f"+{fault}"], timeout_s=60
    )
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status in ("failed", "crashed")
    said = [f"{failure.name} {failure.message}" for failure in outcome.failures]
    said += [f"{failure.name} {failure.message}" for failure in comparison.failures] if comparison else []
    found = [line for line in said if name in line]
    assert found, said
    if sequence is not None:
        assert all(f"of sequence {sequence} " in line for line in found[1:]), found


@pytest.mark.parametrize("fault", ["never_busy", "no_checksum"])
def test_a_load_port_that_takes_what_it_must_not(
    faulty: Chip, lora: list[QuantizedAdapter], fault: str
) -> None:
    done = run(
        faulty,
        "LoadErrors",
        adapters=lora,
        plusargs=[f"+{fault}"],
        timeout_s=60,
    )
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status == "failed"
    assert comparison is not None
    assert "load_status" in {failure.name for failure in comparison.failures}


@pytest.mark.parametrize(
    ("fault", "test", "name"),
    [
        ("rom_bit", "RomReadback", "rom_word"),
        ("rom_misr", "RomReadback", "rom_signature"),
        ("rom_short", "RomReadback", "rom_word"),
        ("rom_twice", "RomReadback", "rom_"),
        ("rom_mute", "RomReadback", "timeout"),
        ("rom_let_go", "RomReadback", "ld_ready_i is high before the last answer"),
        ("rom_never_busy", "RomTestPort", "rom_status"),
        ("rom_code", "RomTestPort", "rom_status"),
    ],
)
def test_planted_fault_of_the_rom_test(faulty: Chip, fault: str, test: str, name: str) -> None:
    done = run(faulty, test, config={"timeout_cycles": 20_000}, plusargs=[f"+{fault}"], timeout_s=60)
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status in ("failed", "crashed")
    said = [f"{failure.name} {failure.message}" for failure in outcome.failures]
    said += [failure.name for failure in comparison.failures] if comparison else []
    assert any(name in line for line in said), said


def test_sleeping_faults_change_nothing_of_the_rom_test(faulty: Chip) -> None:
    for test in ("RomReadback", "RomTestPort"):
        assert_clean(run(faulty, test))


def test_nothing_sent(faulty: Chip) -> None:
    done = run(faulty, "GreedyGeneration", config={"sequences": []})
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status == "failed"
    assert comparison is not None and [f.name for f in comparison.failures] == ["nothing_compared"]


def test_missing_image(faulty: Chip) -> None:
    image = faulty.images.find(0, "k_proj.scales")
    path = faulty.images.path(image)
    path.rename(path.with_suffix(".away"))
    try:
        done = run(faulty, "GreedyGeneration", config=STREAM)
        outcome, comparison = done.outcome, done.comparison
    finally:
        path.with_suffix(".away").rename(path)
    assert outcome.status in ("failed", "crashed")
    assert any("k_proj.scales" in failure.message for failure in outcome.failures), outcome.failures
    assert comparison is None or comparison.elements == 0


def test_image_of_another_size(faulty: Chip) -> None:
    path = faulty.images.path(faulty.images.find(0, "k_proj.scales"))
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    try:
        done = run(faulty, "GreedyGeneration", config=STREAM)
        outcome = done.outcome
    finally:
        path.write_bytes(content)
    assert any("k_proj.scales" in failure.message for failure in outcome.failures), outcome.failures


def test_a_fabric_that_changed_after_it_was_built(faulty: Chip) -> None:
    path = faulty.fabric.folder / "ep_chip.sv"
    content = path.read_bytes()
    path.write_bytes(content + b"// another chip\n")
    try:
        done = run(faulty, "GreedyGeneration", config=STREAM)
    finally:
        path.write_bytes(content)
    assert done.outcome.status == "passed"
    assert [reason.name for reason in done.reasons] == ["fabric_changed"]


def test_a_comparison_of_a_run_before_does_not_count(faulty: Chip) -> None:
    assert_clean(run(faulty, "GreedyGeneration", config=STREAM, seed=7))
    again = run(faulty, "GreedyGeneration", config=STREAM, seed=7, timeout_s=0.01)
    assert again.comparison is None
    assert {"comparison_missing", "timeout"} <= {reason.name for reason in again.reasons}


def test_image_count(faulty: Chip) -> None:
    done = run(faulty, "GreedyGeneration", config=STREAM | {"images": 999})
    outcome = done.outcome
    assert any("image_count" in failure.message for failure in outcome.failures), outcome.failures


class Other(Golden):
    """Differs in one value."""

    def _embed(self, tokens: Tensor) -> Tensor:
        return super()._embed(tokens) + 1


def test_swapped_checker(faulty: Chip) -> None:
    """The reported values are the golden's as expected and the chip's as got, not the other way round."""
    done = run(faulty, "GreedyGeneration", config=STREAM, golden=Other)
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status == "failed"
    assert comparison is not None and comparison.first_divergence is not None
    first = comparison.first_divergence
    assert (first.layer, first.tap, first.token, first.expected - first.got) == (-1, "embedding", 0, 1)
