"""The tests of adapters that cocotb runs: loads, swaps, faults. The scoreboard checks every answer and every tap.

The run's configuration names adapters that the golden model knows (``adapters``); each can be put into any slot.
"""

from __future__ import annotations

import pyuvm

from verif.tests import ActsTest


@pyuvm.test()
class AdapterSlots(ActsTest):
    """Every adapter, every slot, and the base between them; then every slot with another adapter in it.

    Sequences follow each other without a pause, over the rows of keys and values that the last one left.
    """


@pyuvm.test()
class AdapterTwice(ActsTest):
    """The same tokens under the base and under each adapter, all in slot 0: their taps can be laid side by side."""


@pyuvm.test()
class AdapterTraffic(ActsTest):
    """Tokens and loads beside each other at random, stalls everywhere: whatever meets is answered as it must be."""


@pyuvm.test()
class LoadWhileGenerating(ActsTest):
    """Loads into each other slot while one generates, or the base, which must not notice; its own slot is busy."""


@pyuvm.test()
class LoadErrors(ActsTest):
    """Every answer of the load port, with a sequence open and with none; what the slot holds then; a good load."""


@pyuvm.test()
class ResetDuringLoad(ActsTest):
    """Resets at random moments of a load, some while a token is on its way: every slot is empty, then a good load."""


@pyuvm.test()
class AdapterStatus(ActsTest):
    """What the host port answers about slots, and that a refusal leaves the open sequence and its slot as they were."""


@pyuvm.test()
class AdapterRanks(ActsTest):
    """Every adapter in every slot, two tokens under each."""
