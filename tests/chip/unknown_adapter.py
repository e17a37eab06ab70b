"""A test of the testbench that has to fail: no part of the project's own, which a testplan would have to claim."""

from __future__ import annotations

import numpy as np
import pyuvm

from verif.adapter_tests import AdapterTest, sealed
from verif.reference import LoadStatus


@pyuvm.test()
class UnknownAdapter(AdapterTest):
    """A good load of what is none of the run's adapters, which has to fail: nothing could be compared with it."""

    async def stimulus(self) -> None:
        words = self.frame(0, 0)
        words[5] ^= np.uint32(1)
        await self.send(sealed(words), LoadStatus.OK)
        await self.stream(0, 2)
