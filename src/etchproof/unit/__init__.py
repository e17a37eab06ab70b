"""One module alone against arrays that a test works out, from plain pytest, tapped as a whole chip is (docs/unit.md).

The fixture ``unit`` comes with the package::

    def test_relu(unit):
        x = np.random.default_rng(1).integers(-100, 100, (500, 8), np.int8)
        unit.run(
            files=["relu.v"], top="relu", clock="clk", reset="rst",
            inputs=Stream({"x": x}, valid="in_valid", ready="in_ready"),
            taps=[PinTap("y", "i8", data="y", when="out_valid", size=8)],
            expected={"y": np.maximum(x, 0)},
        )
"""

from typing import TYPE_CHECKING

from etchproof.lazy import lazy_names

if TYPE_CHECKING:
    from etchproof.unit.record import UnitResult
    from etchproof.unit.run import Unit, UnitFailedError
    from etchproof.unit.spec import PinTap, PortTap, Stream

# pytest loads the plugin of this package in every session, before any conftest.py: nothing else may come with it.
__getattr__ = lazy_names(
    __name__,
    {
        "UnitResult": "record",
        **dict.fromkeys(("Unit", "UnitFailedError"), "run"),
        **dict.fromkeys(("PinTap", "PortTap", "Stream"), "spec"),
    },
)

__all__ = ["PinTap", "PortTap", "Stream", "Unit", "UnitFailedError", "UnitResult"]
