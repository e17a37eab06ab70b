"""A test of the testbench that has to fail: no part of the project's own, which a testplan would have to claim."""

from __future__ import annotations

import numpy as np
import pyuvm

from verif.scenarios.acts import LoadFrame, Stream
from verif.scenarios.player import Player
from verif.scenarios.stimulus import sealed
from verif.tests import ChipTest


@pyuvm.test()
class UnknownAdapter(ChipTest):
    """A good load of what is none of the run's adapters, which has to fail: nothing could be compared with it."""

    async def stimulus(self) -> None:
        player = Player(self.env, self.expect)
        words = self.frames[0].copy()
        words[5] ^= np.uint32(1)
        await player.play(LoadFrame(sealed(words)))
        await player.play(Stream((1, 5), slot=0))
