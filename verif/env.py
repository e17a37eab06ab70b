"""The environment: token, adapter and ROM agent, tap monitor, reference model, scoreboards."""

from __future__ import annotations

from pyuvm import uvm_env

from etchproof.uvm import TapMonitor, TapScoreboard
from verif.host_port.agent import TokenAgent
from verif.load_port.agent import AdapterAgent
from verif.reference import ReferenceModel
from verif.rom_port.agent import RomAgent
from verif.rom_port.scoreboard import RomScoreboard


class ChipEnv(uvm_env):  # type: ignore[misc]  # pyuvm is untyped
    """Everything around the chip; each part may be overridden through the factory."""

    def build_phase(self) -> None:
        self.agent = TokenAgent.create("agent", self)
        self.adapters = AdapterAgent.create("adapters", self)
        self.roms = RomAgent.create("roms", self)
        self.taps = TapMonitor.create("taps", self)
        self.reference = ReferenceModel.create("reference", self)
        self.scoreboard = TapScoreboard.create("scoreboard", self)
        self.rom_scoreboard = RomScoreboard.create("rom_scoreboard", self)

    def connect_phase(self) -> None:
        self.agent.monitor.ap.connect(self.taps.analysis_export)
        self.taps.ap.connect(self.scoreboard.analysis_export)
        self.adapters.monitor.ap.connect(self.scoreboard.analysis_export)
        self.scoreboard.reference = self.reference
        self.roms.driver.ap.connect(self.rom_scoreboard.analysis_export)
        self.rom_scoreboard.fail = self.scoreboard.fail
        self.rom_scoreboard.record = self.scoreboard.roms.append

    async def reset(self) -> None:
        """Reset the chip and everything that follows its state."""
        seen = await self.agent.driver.reset()
        self.taps.discard()
        self.scoreboard.reset(seen)
