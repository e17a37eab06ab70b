"""The simulation's top around a chip with a ``[host]``: clock, reset, the host of its streams."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from etchproof.project.sections import HostSection, StreamPins, word_bits

TOP: Final = "ep_stream_top"
_HOST: Final = "ep_stream_host.sv"
NATIVE_FILE: Final = "ep_stream.cpp"
FILES: Final = (f"{TOP}.vlt", _HOST, f"{TOP}.sv", NATIVE_FILE)
"""What the engine adds to a chip with a ``[host]``, in the order of compilation."""


def write_top(host: HostSection, chip: str, parameters: Mapping[str, str], out: Path) -> list[str]:
    """Write the top and what it needs into ``out``; returns the files' names, in the order of compilation.

    Args:
        chip: the chip's module.
        parameters: of it.
    """
    for name in (_HOST, NATIVE_FILE):
        (out / name).write_bytes(files(__package__).joinpath(name).read_bytes())
    (out / f"{TOP}.sv").write_text(_top(host, chip, parameters), encoding="ascii")
    (out / f"{TOP}.vlt").write_text(_VISIBLE, encoding="ascii")
    return list(FILES)


_VISIBLE: Final = f"""`verilator_config
public_flat_rw -module "{TOP}" -var "play"
public_flat_rd -module "{TOP}" -var "done"
"""


def _top(host: HostSection, chip: str, parameters: Mapping[str, str]) -> str:
    source, sink = host.input, host.output
    status = sink.status
    reset = host.reset.removeprefix("!")
    wired = {
        host.clock: "clk",
        reset: "!reset" if host.reset.startswith("!") else "reset",
        **_wires(source, "in"),
        **({} if host.first is None else {host.first: "in_first"}),
        **_wires(sink, "out"),
        **({} if status is None else {_bare(status): "out_status"}),
        **{name: str(value) for name, value in host.constants.items()},
        **dict.fromkeys(host.unused, ""),
    }
    ports = ",\n".join(f"    .{name}({signal})" for name, signal in wired.items())
    given = ",\n".join(f"    .{name}({value})" for name, value in parameters.items())
    chosen = f"{chip} #(\n{given}\n  )" if parameters else chip
    status_bits = word_bits(status) if status is not None else 1
    return f"""// The simulation's top: clock, the streams' host, the chip. Written by Etchproof from [host].

module {TOP};

  timeunit 1ns; timeprecision 1ps;

  logic play = 1'b0;  // Python toggles it where a burst begins
  logic done;  // toggles at its end
  logic clk = 1'b0;

  initial forever #1 clk = ~clk;

  logic reset, in_valid, in_first, in_last, out_valid, out_ready;
  logic in_ready{"" if source.ready is not None else " = 1'b1"};
  logic out_last{"" if sink.last is not None else " = 1'b1"};
  logic [{word_bits(source.data) - 1}:0] in_data;
  logic [{word_bits(sink.data) - 1}:0] out_data;
  logic [{status_bits - 1}:0] out_status{"" if status is not None else " = '0"};

  ep_stream_host #(
    .InBits({word_bits(source.data)}),
    .OutBits({word_bits(sink.data)}),
    .StatusBits({status_bits}),
    .ByReset(1'b{int(host.first is None)}),
    .OutHeld(1'b{int(sink.ready is not None)}),
    .OutEdge(1'b{int(sink.ready is None and sink.last is None)})
  ) u_host (
    .clk_i(clk),
    .play_i(play),
    .done_o(done),
    .reset_o(reset),
    .in_valid_o(in_valid),
    .in_ready_i(in_ready),
    .in_data_o(in_data),
    .in_first_o(in_first),
    .in_last_o(in_last),
    .out_valid_i(out_valid),
    .out_ready_o(out_ready),
    .out_data_i(out_data),
    .out_last_i(out_last),
    .out_status_i(out_status)
  );

  {chosen} u_chip (
{ports}
  );

endmodule
"""


def _wires(pins: StreamPins, side: str) -> dict[str, str]:
    wires = {pins.valid: f"{side}_valid", _bare(pins.data): f"{side}_data"}
    wires |= {} if pins.ready is None else {pins.ready: f"{side}_ready"}
    return wires | ({} if pins.last is None else {pins.last: f"{side}_last"})


def _bare(word: str) -> str:
    """A port's name without its range."""
    return word.partition("[")[0]
