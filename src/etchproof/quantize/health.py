"""Whether a quantized model is fit to be etched: how much of each tap saturates, and what in it is dead.

A chip can equal its golden model and be useless: where every value is at the end of its range, or a gain became 0, both
say the same nothing. That is a matter of the recipe and the weights, and it is reported here, apart from any verdict on
the chip; sign-off has gates for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from etchproof.quantize.quantized_model import QuantizedModel

if TYPE_CHECKING:  # slow to import, with PyTorch
    from torch import Tensor

    from etchproof.quantize.quality import GoldenModel

_RECORD: Final = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_ATTENTION: Final = frozenset({"scores", "softmax"})
_INDEX: Final = "token"  # a tap that is no quantity

Count = Annotated[int, Field(ge=0)]


def is_quantity(tap: str) -> bool:
    """Whether health is taken of a tap: an index is no quantity."""
    return tap != _INDEX


class TapHealth(BaseModel):
    """One tap over a text."""

    model_config = _RECORD

    layer: int = Field(description="-1 outside the decoder layers")
    tap: str
    elements: Count
    saturated: Count = Field(description="elements at an end of the tap's width; 0 where it has none")
    dead: bool = Field(description="whether every element of every token is the same")

    @property
    def name(self) -> str:
        return f"layer {self.layer} {self.tap}" if self.layer >= 0 else self.tap

    @property
    def share(self) -> float:
        """Per cent of elements that saturate."""
        return 100.0 * self.saturated / self.elements if self.elements else 0.0


class GainHealth(BaseModel):
    """The gains of one norm."""

    model_config = _RECORD

    name: str = Field(description="of the tensor")
    gains: Count
    dead: Count = Field(description="gains that are not 0 in the checkpoint and are 0 on the chip")


class ModelHealth(BaseModel):
    """The health of a quantized model on one text."""

    model_config = _RECORD

    tokens: Count
    taps: tuple[TapHealth, ...] = Field(description="in dataflow order")
    gains: tuple[GainHealth, ...]

    @property
    def worst(self) -> TapHealth | None:
        """The tap of which most saturates; None of no tap."""
        return max(self.taps, key=lambda tap: tap.share, default=None)

    @property
    def dead(self) -> tuple[str, ...]:
        """Every dead tap, and every norm with dead gains, in words."""
        return tuple(self._dead())

    @property
    def dead_count(self) -> int:
        """Dead taps and dead gains."""
        return sum(tap.dead for tap in self.taps) + sum(norm.dead for norm in self.gains)

    def _dead(self) -> Iterator[str]:
        yield from (f"{tap.name} never changes" for tap in self.taps if tap.dead)
        yield from (
            f"{norm.dead} of {norm.gains} gains of {norm.name} became 0" for norm in self.gains if norm.dead
        )

    def __str__(self) -> str:
        worst = self.worst
        if worst is None:
            return "no tap was seen"
        line = "nothing saturates"
        if worst.saturated:
            line = f"at most {worst.share:.3g} % of a tap saturates ({worst.name})"
        return f"{line}; {'; '.join(self.dead[:3]) or 'nothing is dead'}, on {self.tokens:,} tokens"


def measure_health(
    golden: GoldenModel, tokens: Tensor, weights: Callable[[str], Tensor] | None = None
) -> ModelHealth:
    """Run the golden model over a text and look at its taps and gains.

    Args:
        tokens: (n, T) int64, each sequence from position 0.
        weights: a tensor of the checkpoint by its name, for its gains; None where there is none to compare with.
    """
    import torch

    from etchproof.quantize.quality import tap_bits

    model, counts = golden.model, dict[tuple[int, str], _Tap]()

    def observe(layer: int, tap: str, value: Tensor) -> None:
        if not is_quantity(tap):
            return
        if tap in _ATTENTION:  # (T, n_heads, T): a token sees itself and those before
            visible = torch.ones(value.shape[0], value.shape[2], dtype=torch.bool).tril()[:, None]
            value = value[visible.expand(value.shape)]
        counts.setdefault((layer, tap), _Tap(tap_bits(model, tap))).add(value)

    for sequence in tokens:
        golden.forward(sequence, observe=observe)
    return ModelHealth(
        tokens=tokens.numel(),
        taps=tuple(tap.health(*key) for key, tap in counts.items()),
        gains=tuple(_gains(model, weights)) if weights is not None else (),
    )


class _Tap:
    def __init__(self, bits: int | None) -> None:
        self._ends = None if bits is None else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        self._elements = self._saturated = 0
        self._least: int | None = None
        self._most: int | None = None

    def add(self, value: Tensor) -> None:
        """More integers of the tap."""
        self._elements += value.numel()
        if not value.numel():
            return
        least, most = int(value.min()), int(value.max())
        self._least = least if self._least is None else min(self._least, least)
        self._most = most if self._most is None else max(self._most, most)
        if self._ends is not None:
            low, high = self._ends
            self._saturated += int(((value <= low) | (value >= high)).sum())

    def health(self, layer: int, tap: str) -> TapHealth:
        """The record."""
        dead = self._least is not None and self._least == self._most
        return TapHealth(layer=layer, tap=tap, elements=self._elements, saturated=self._saturated, dead=dead)


def _gains(model: QuantizedModel, weights: Callable[[str], Tensor]) -> Iterator[GainHealth]:
    import torch

    named = [
        (f"model.layers.{index}.{name}.weight", gains)
        for index, layer in enumerate(model.layers)
        for name, gains in (
            ("input_layernorm", layer.attn_norm),
            ("post_attention_layernorm", layer.mlp_norm),
        )
    ]
    for name, gains in (*named, ("model.norm.weight", model.final_norm)):
        zero = torch.from_numpy(gains.values) == 0
        dead = int((zero & (weights(name) != 0)).sum())
        yield GainHealth(name=name, gains=zero.numel(), dead=dead)
