"""One layer of the chip alone, fed recorded vectors: ``[replay] alone`` of ``etchproof.toml``.

The chip is the reference chip of one layer: host port, layer and tail are what they are in the whole chip. In the
place of the embedding stands ``ep_recorded``, which gives the residual vectors that entered the layer, all 32 bits of
them. The tail keeps its norm and as many rows of the LM head as there are vectors: what it answers means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.contract.alone import ImageKey, LayerChip
from etchproof.contract.taps import TapKey
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import QuantizedAdapter, QuantizedMatrix, QuantizedModel
from etchproof.render.images import Image
from etchproof.render.templates import Rendering
from models import fabric
from models.chip import LOGIT_BITS, ChipPlan
from models.golden import Golden, Layer, Linear, Session
from models.numerics import params, tables
from models.rom import writer

LEAST_VECTORS: Final = 64
"""Chips for fewer vectors are one chip, so that they share a simulator; beyond it, powers of two."""

_EMBEDDING: Final = "embed_tokens."
_HEAD: Final = "lm_head."
_ROWS: Final = "recorded.rows"


def alone(
    model: QuantizedModel, plan: ChipPlan, layer: int, adapters: Sequence[QuantizedAdapter]
) -> LayerAlone:
    """A layer of the chip alone.

    Raises:
        InputError: the chip has no such layer.
    """
    if not 0 <= layer < plan.n_layers:
        raise InputError(f"layer {layer} of {plan.n_layers}", source=model.config.name)
    return LayerAlone(model, plan, layer, tuple(adapters))


@dataclass(frozen=True)
class LayerAlone:
    """A layer that can be made alone (``etchproof.contract.alone.Alone``).

    Attributes:
        model: whole, like ``plan``.
        layer: its number there.
        adapters: of the run.
    """

    model: QuantizedModel
    plan: ChipPlan
    layer: int
    adapters: tuple[QuantizedAdapter, ...]

    @property
    def source(self) -> TapKey:
        """The residual stream before the layer."""
        return (-1, "embedding") if self.layer == 0 else (self.layer - 1, "mlp_residual")

    def chip(self, vectors: npt.NDArray[np.int64]) -> LayerChip:
        """The chip of this layer.

        Args:
            vectors: (vectors, hidden) of 32 bits.
        """
        count = max(LEAST_VECTORS, 1 << (len(vectors) - 1).bit_length())
        rows = np.zeros((count, self.plan.hidden_size), np.int32)
        rows[: len(vectors)] = vectors
        plan = replace(
            self.plan,
            vocab_size=count,
            n_layers=1,
            layer_kinds=(self.plan.layer_kinds[self.plan.layers[self.layer]],),
            layers=(0,),
            lm_head=replace(self.plan.lm_head, rows=count),
        )
        head, embedding = self.model.lm_head, self.model.embedding
        model = replace(
            self.model,
            config=self.model.config.model_copy(update={"n_layers": 1, "vocab_size": count}),
            layers=(self.model.layers[self.layer],),
            lm_head=_resized(head, count),
            embedding=_resized(embedding, count),
        )
        adapters = tuple(_of_layer(adapter, self.layer) for adapter in self.adapters)
        golden = RecordedGolden(model, plan, rows, adapters)
        return LayerChip(
            plan=plan,
            model=model,
            renderings=tuple(_renderings(plan)),
            images=_images(model, plan, rows),
            session=golden.session,
            adapters=adapters,
            image=self._image,
        )

    def _image(self, key: ImageKey) -> ImageKey | None:
        layer, name = key
        if layer == self.layer:
            return 0, name
        return None if layer >= 0 or name.startswith((_EMBEDDING, _HEAD)) else key


class RecordedGolden(Golden):
    """The golden model of one layer, whose tokens are recorded vectors.

    Args:
        model: of the layer alone, like ``plan``.
        rows: (vectors, hidden) int32 in the format of the residual stream.
        adapters: of the layer alone.
    """

    def __init__(
        self,
        model: QuantizedModel,
        plan: ChipPlan,
        rows: npt.NDArray[np.int32],
        adapters: Sequence[QuantizedAdapter],
    ) -> None:
        # The plan is a part of the whole chip's: that of the model under its recipe would be another where the recipe
        # has formats of one layer's own.
        self.model, self.plan, self.adapters = model, plan, tuple(adapters)
        self._rows = torch.from_numpy(rows.astype(np.int64))
        self._params = params.top_params(model)
        self._layers = [Layer(model, plan, 0)]
        self._loras = [self._check_adapter(adapter) for adapter in self.adapters]
        self._gains = torch.from_numpy(model.final_norm.values.astype("int64"))
        self._head = Linear(model.lm_head, self._params["lm_head.shift"], LOGIT_BITS, plan.act_bits)
        cos, sin = tables.rope_tables(model.config, plan.context)
        self._cos, self._sin = torch.from_numpy(cos.astype("int64")), torch.from_numpy(sin.astype("int64"))

    def session(self) -> Session:
        """Sequences of vectors, by their numbers."""
        return Session(self)

    def _embed(self, tokens: Tensor) -> Tensor:
        return self._rows[tokens]


def _resized(matrix: QuantizedMatrix, rows: int) -> QuantizedMatrix:
    """As many rows of a matrix, the first ones again where it has fewer."""
    at = np.arange(rows) % matrix.rows
    return replace(matrix, codes=matrix.codes[at], scales=matrix.scales[at])


def _of_layer(adapter: QuantizedAdapter, layer: int) -> QuantizedAdapter:
    """What of an adapter is in a layer, as layer 0."""
    own = {(0, name): matrix for (at, name), matrix in adapter.linears.items() if at == layer}
    return replace(adapter, linears=own)


def _renderings(plan: ChipPlan) -> Iterator[Rendering]:
    for item in fabric.renderings(plan):
        is_chip = item.output == "ep_chip.sv"
        yield replace(item, template="alone/ep_chip.sv.j2") if is_chip else item
    blocks = plan.blocks(plan.hidden_size)
    yield Rendering("alone/ep_recorded.sv.j2", "ep_recorded.sv", {"plan": plan, "blocks": blocks})


def _images(model: QuantizedModel, plan: ChipPlan, rows: npt.NDArray[np.int32]) -> Iterator[Image]:
    for image in writer.images(model, plan):
        if not image.name.startswith(_EMBEDDING):
            yield image
    blocks, lanes = plan.blocks(plan.hidden_size), plan.tile_rows
    vectors = writer.padded(rows, (len(rows), blocks * lanes))
    yield Image(-1, _ROWS, 32, vectors.reshape(len(rows) * blocks, lanes))
