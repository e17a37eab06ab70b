"""Wrong integers: what a slip of import or quantizer would leave in one tensor, drawn over layers, tensors and rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from etchproof.checkpoint.linears import LINEARS
from etchproof.qualify.wrong import FlowFault, Side
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedLayer, QuantizedMatrix, QuantizedModel

Change = Callable[[QuantizedModel], QuantizedModel | None]
OfMatrix = Callable[[QuantizedMatrix], QuantizedMatrix | None]

_SIDES: Final[tuple[Side, ...]] = ("both", "golden", "both", "chip")
"""Which side is wrong, in turn: most often both, which no run can show."""


def faults(model: QuantizedModel, seed: int) -> Iterator[FlowFault]:
    """One of each kind for each place where it applies."""
    rng = random.Random(seed)
    for turn, (operator, place, becomes, change) in enumerate(_changes(model, rng)):
        yield FlowFault(operator, place, becomes, _SIDES[turn % len(_SIDES)], model=change)


def _changes(model: QuantizedModel, rng: random.Random) -> Iterator[tuple[str, str, str, Change]]:
    config, count = model.config, len(model.layers)
    heads = {"q_proj": config.n_heads, "k_proj": config.n_kv_heads}
    for index in range(count):
        where = f"layer {index}"
        for name, own in heads.items():
            for said, wrong in (("half of a head", own * 2), ("two heads", own // 2), ("each head", own)):
                if wrong and not (config.head_dim * own // wrong) % 2:
                    change = _linear(index, name, partial(_permuted, heads=wrong))
                    yield "rows permuted", f"{where} {name}", f"pairs of {said} as interleaved", change
        for name in ("k_proj", "v_proj"):
            change = _linear(index, name, partial(_heads_exchanged, heads=config.n_kv_heads))
            yield "heads exchanged", f"{where} {name}", "the first two heads", change
        for name in LINEARS:
            place = f"{where} {name}"
            other = (index + 1) % count
            yield "another layer's", place, f"that of layer {other}", _from_layer(index, name, other)
            yield (
                "scale of the next group",
                place,
                "every scale one group late",
                _linear(index, name, _rolled),
            )
            row = rng.randrange(model.layers[index].linears[name].rows)
            change = _linear(index, name, partial(_row_scale, row=row))
            yield "one scale", f"{place} row {row}", "its first group has that of the second", change
            yield "exponent", place, "one more", _linear(index, name, partial(_exponent, by=1))
            yield "zero point", place, "every code one more", _linear(index, name, _zero_point)
            yield "clip range", place, "one less than the largest code", _linear(index, name, _clipped)
            yield "a column late", place, "codes of the column before", _linear(index, name, _late)
            yield (
                "transposed",
                place,
                "rows and columns of codes exchanged",
                _linear(index, name, _transposed),
            )
            yield "sign", place, "every code negated", _linear(index, name, _negated)
            row = rng.randrange(model.layers[index].linears[name].rows)
            change = _linear(index, name, partial(_one_code, row=row))
            yield "one code", f"{place} row {row}", "a code in the middle one less", change
        for norm, of in (("attn_norm", "mlp_norm"), ("mlp_norm", "attn_norm")):
            yield "gains of another norm", f"{where} {norm}", f"those of {of}", _norm(index, norm, of)
            yield "gains left out", f"{where} {norm}", "all 1", _plain_norm(index, norm)
        for first, second in (("gate_proj", "up_proj"), ("q_proj", "o_proj"), ("k_proj", "v_proj")):
            change = _pair(index, first, second)
            yield "matrices exchanged", f"{where} {first}", f"exchanged with {second}", change
        for tap in model.layers[index].frac:
            by = rng.choice((-1, 1))
            yield "fractional bits", f"{where} {tap}", f"{by:+d}", _frac(index, tap, by)
        if index + 1 < count:
            yield "layers exchanged", where, f"exchanged with layer {index + 1}", _layers(index)
    yield "tied", "lm_head", "the embedding's", lambda m: replace(m, lm_head=_as_head(m))
    yield "token ids shifted", "embed_tokens", "by one", lambda m: replace(m, embedding=_ids(m.embedding))
    yield "token ids shifted", "lm_head", "by one", lambda m: replace(m, lm_head=_ids(m.lm_head))
    yield "scale of the next group", "embed_tokens", "every scale one group late", _embedding(_rolled)
    yield "scale of the next group", "lm_head", "every scale one group late", _head(_rolled)
    yield "exponent", "embed_tokens", "one more", _embedding(partial(_exponent, by=1))
    yield "exponent", "lm_head", "one more", _head(partial(_exponent, by=1))
    yield "zero point", "embed_tokens", "every code one more", _embedding(_zero_point)
    yield (
        "one code",
        "embed_tokens row 5",
        "a code in the middle one less",
        _embedding(partial(_one_code, row=5)),
    )
    yield "one code", "lm_head row 5", "a code in the middle one less", _head(partial(_one_code, row=5))
    yield "gains left out", "norm", "all 1", lambda m: replace(m, final_norm=_ones(m.final_norm))
    yield "gains of another norm", "norm", "those of layer 0", _final_norm
    for tap in model.frac:
        by = rng.choice((-1, 1))
        yield "fractional bits", tap, f"{by:+d}", _tail_frac(tap, by)
    for operator, becomes, update in (
        ("epsilon", "10 times", {"rms_norm_eps": config.rms_norm_eps * 10}),
        ("epsilon", "a tenth", {"rms_norm_eps": config.rms_norm_eps / 10}),
        ("theta", "Llama 3's", {"rope": config.rope.model_copy(update={"theta": 500000.0})}),
        (
            "theta",
            "a little more",
            {"rope": config.rope.model_copy(update={"theta": config.rope.theta * 1.01})},
        ),
    ):
        yield operator, "config", becomes, _config(update)


def _layer(model: QuantizedModel, index: int, **changes: Any) -> QuantizedModel:
    layers = list(model.layers)
    layers[index] = replace(layers[index], **changes)
    return replace(model, layers=tuple(layers))


def _with(model: QuantizedModel, index: int, linears: Mapping[str, QuantizedMatrix]) -> QuantizedModel:
    return _layer(model, index, linears={**model.layers[index].linears, **linears})


def _linear(index: int, name: str, change: OfMatrix) -> Change:
    def changed(model: QuantizedModel) -> QuantizedModel | None:
        matrix = change(model.layers[index].linears[name])
        return None if matrix is None else _with(model, index, {name: matrix})

    return changed


def _embedding(change: OfMatrix) -> Change:
    def changed(model: QuantizedModel) -> QuantizedModel | None:
        matrix = change(model.embedding)
        return None if matrix is None else replace(model, embedding=matrix)

    return changed


def _head(change: OfMatrix) -> Change:
    def changed(model: QuantizedModel) -> QuantizedModel | None:
        matrix = change(model.lm_head)
        return None if matrix is None else replace(model, lm_head=matrix)

    return changed


def _rows(matrix: QuantizedMatrix, order: Any) -> QuantizedMatrix:
    bias = None if matrix.bias is None else matrix.bias[order]
    return replace(
        matrix,
        codes=np.ascontiguousarray(matrix.codes[order]),
        scales=np.ascontiguousarray(matrix.scales[order]),
        bias=bias,
    )


def _permuted(matrix: QuantizedMatrix, heads: int) -> QuantizedMatrix:
    """As converters do whose source has RoPE's pairs side by side, which Hugging Face's files have not."""
    order = np.arange(matrix.rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
    return _rows(matrix, order)


def _heads_exchanged(matrix: QuantizedMatrix, heads: int) -> QuantizedMatrix | None:
    if heads < 2:
        return None
    order = np.arange(matrix.rows).reshape(heads, -1)
    order[[0, 1]] = order[[1, 0]]
    return _rows(matrix, order.reshape(-1))


def _rolled(matrix: QuantizedMatrix) -> QuantizedMatrix:
    return replace(matrix, scales=np.roll(matrix.scales, 1, axis=1))


def _row_scale(matrix: QuantizedMatrix, row: int) -> QuantizedMatrix | None:
    if matrix.scales.shape[1] < 2:
        return None
    scales = matrix.scales.copy()
    scales[row, 0] = scales[row, 1]
    return replace(matrix, scales=scales)


def _exponent(matrix: QuantizedMatrix, by: int) -> QuantizedMatrix:
    return replace(matrix, exponent=matrix.exponent + by)


def _top(matrix: QuantizedMatrix) -> int:
    return int(2 ** (matrix.bits - 1)) - 1


def _zero_point(matrix: QuantizedMatrix) -> QuantizedMatrix:
    codes = np.minimum(matrix.codes.astype(np.int16) + 1, _top(matrix)).astype(np.int8)
    return replace(matrix, codes=codes)


def _clipped(matrix: QuantizedMatrix) -> QuantizedMatrix:
    top = _top(matrix) - 1
    return replace(matrix, codes=matrix.codes.clip(-top, top))


def _late(matrix: QuantizedMatrix) -> QuantizedMatrix:
    return replace(matrix, codes=np.roll(matrix.codes, 1, axis=1))


def _transposed(matrix: QuantizedMatrix) -> QuantizedMatrix:
    """Of a matrix that is not square, as reading its bytes in the other order would leave it."""
    codes = np.ascontiguousarray(matrix.codes.reshape(-1).reshape(matrix.codes.shape, order="F"))
    return replace(matrix, codes=codes)


def _negated(matrix: QuantizedMatrix) -> QuantizedMatrix:
    return replace(matrix, codes=-matrix.codes)


def _one_code(matrix: QuantizedMatrix, row: int) -> QuantizedMatrix | None:
    codes = matrix.codes.copy()
    at = matrix.cols // 2
    if codes[row, at] <= -_top(matrix):
        return None
    codes[row, at] -= 1
    return replace(matrix, codes=codes)


def _from_layer(index: int, name: str, other: int) -> Change:
    def changed(model: QuantizedModel) -> QuantizedModel | None:
        mine, theirs = model.layers[index].linears[name], model.layers[other].linears[name]
        return _with(model, index, {name: theirs}) if _fits(mine, theirs) else None

    return changed


def _fits(mine: QuantizedMatrix, theirs: QuantizedMatrix) -> bool:
    form = (mine.codes.shape, mine.bits, mine.group_size, mine.bias is None)
    return form == (theirs.codes.shape, theirs.bits, theirs.group_size, theirs.bias is None)


def _pair(index: int, first: str, second: str) -> Change:
    def changed(model: QuantizedModel) -> QuantizedModel | None:
        linears = model.layers[index].linears
        one, other = linears[first], linears[second]
        return _with(model, index, {first: other, second: one}) if _fits(one, other) else None

    return changed


def _norm(index: int, norm: str, of: str) -> Change:
    return lambda model: _layer(model, index, **{norm: getattr(model.layers[index], of)})


def _ones(gains: QuantizedGains) -> QuantizedGains:
    """Gains of 1, in the format of the others."""
    one = round(len(gains.values) ** 0.5 * 2.0**gains.exponent)
    return replace(gains, values=np.full_like(gains.values, min(one, 2**15 - 1)))


def _plain_norm(index: int, norm: str) -> Change:
    return lambda model: _layer(model, index, **{norm: _ones(getattr(model.layers[index], norm))})


def _final_norm(model: QuantizedModel) -> QuantizedModel:
    return replace(model, final_norm=model.layers[0].attn_norm)


def _frac(index: int, tap: str, by: int) -> Change:
    def changed(model: QuantizedModel) -> QuantizedModel:
        frac = dict(model.layers[index].frac)
        frac[tap] += by
        return _layer(model, index, frac=frac)

    return changed


def _tail_frac(tap: str, by: int) -> Change:
    return lambda model: replace(model, frac={**model.frac, tap: model.frac[tap] + by})


def _layers(index: int) -> Change:
    def changed(model: QuantizedModel) -> QuantizedModel | None:
        layers: list[QuantizedLayer] = list(model.layers)
        one, other = layers[index], layers[index + 1]
        if not all(_fits(one.linears[name], other.linears[name]) for name in LINEARS):
            return None
        layers[index], layers[index + 1] = other, one
        return replace(model, layers=tuple(layers))

    return changed


def _as_head(model: QuantizedModel) -> QuantizedMatrix:
    return model.embedding if _fits(model.lm_head, model.embedding) else model.lm_head


def _ids(matrix: QuantizedMatrix) -> QuantizedMatrix:
    return _rows(matrix, np.roll(np.arange(matrix.rows), 1))


def _config(update: Mapping[str, Any]) -> Change:
    return lambda model: replace(model, config=model.config.model_copy(update=dict(update)))
