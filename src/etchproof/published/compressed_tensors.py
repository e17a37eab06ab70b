"""compressed-tensors' safetensors: 4 and 8 bit codes packed along the inputs, 8 bit codes as they are, block formats.

The rule is the library's: ``weight[o, k] = scale[o, g] * (code[o, k] - zero[o, g])`` with signed codes and zeros
(docs/published.md, "compressed-tensors"). ``etchproof.published.packed_float`` has that of the block formats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from etchproof.errors import shown, shown_name
from etchproof.published.expressions import check_expression
from etchproof.published.matrix import PublishedMatrix
from etchproof.published.packed_float import LAYOUTS, check_weights, read_blocks
from etchproof.published.packing import period, signed, unpack
from etchproof.published.stored import CONFIG_KEY, Keys, Linear, checked_order

if TYPE_CHECKING:
    from torch import Tensor

_FORMATS: Final = ("pack-quantized", "int-quantized", *LAYOUTS)
_MIXED: Final = "mixed-precision"
_CLASS: Final = "Linear"
_EXPRESSION: Final = "re:"

IGNORED: Final = frozenset({"global_compression_ratio", "version"})
_WEIGHT_IGNORED: Final = frozenset({"observer", "observer_kwargs", "scale_dtype", "zp_dtype"})


@dataclass(frozen=True)
class Scheme:
    """How the weights of some modules are stored.

    Attributes:
        form: of the tensors, one of ``_FORMATS``.
        bits: of a code.
        symmetric: whether there are no zeros.
        strategy: what shares a scale: a group of inputs, an output, or all of the tensor. NVFP4's scales are of groups.
        group_size: inputs of a group; None for another strategy.
        act_order: whether ``weight_g_idx`` gives the group of each input.
        activations: what the config asks of the linear's inputs, in words; None where it asks nothing.
        input_scale: whether the file may hold a scale of the inputs, which changes no code.
    """

    form: str
    bits: int
    symmetric: bool
    strategy: Literal["group", "channel", "tensor"]
    group_size: int | None
    act_order: bool
    activations: str | None = None
    input_scale: bool = False


@dataclass(frozen=True)
class CompressedTensors:
    """What ``quantization_config`` says of a checkpoint of compressed-tensors.

    Attributes:
        schemes: each with the targets that it is for: "Linear", a module's name, or "re:" and an expression.
        left_out: likewise, of modules that are not quantized.
    """

    schemes: tuple[tuple[tuple[str, ...], Scheme], ...]
    left_out: tuple[str, ...]

    @classmethod
    def read_config(cls, keys: Keys, source: Path) -> CompressedTensors:
        """The schemes that the keys describe.

        Args:
            source: ``config.json``, for messages.

        Raises:
            InputError: a key is missing, bad, unknown, or asks for what is not read here.
        """
        form = keys.word("format", of=(*_FORMATS, _MIXED))
        keys.word("quantization_status", of=("compressed", "frozen"))
        groups = keys.take("config_groups")
        if not isinstance(groups, dict) or not groups:
            keys.refuse(f"is {shown(groups)}, expected an object of schemes", "config_groups")
        left_out = keys.names("ignore")
        _check_targets(keys, left_out, "ignore")
        sparsity = keys.take("sparsity_config")
        if sparsity and not (isinstance(sparsity, dict) and sparsity.get("format") == "dense"):
            keys.refuse(f"is {shown(sparsity)}: sparse weights are not read", "sparsity_config")
        keys.nothing(
            kv_cache_scheme="the cache's format is the recipe's",
            transform_config="transformed weights are not read",
        )
        keys.end(IGNORED)
        schemes = []
        for name, group in groups.items():
            where = f"{CONFIG_KEY}.config_groups.{shown_name(str(name))}"
            inner = Keys(group, source, where)
            targets = inner.names("targets")
            _check_targets(inner, targets, "targets")
            if not targets:
                inner.refuse("is missing or empty, expected names of modules", "targets")
            schemes.append((targets, _scheme(inner, source, where, form)))
        return cls(tuple(schemes), left_out)

    def scheme_of(self, module: str, source: Path) -> Scheme:
        """How a module's weights are stored.

        Raises:
            InputError: it is left out, no scheme is for it, or schemes that differ are.
        """
        linear = Linear(module, {}, source)
        for target in self.left_out:
            if _matches(target, module):
                linear.refuse(f"is left out by {target!r} in ignore", "weight")
        found = [
            scheme for targets, scheme in self.schemes if any(_matches(target, module) for target in targets)
        ]
        if not found:
            linear.refuse("is the target of no scheme in config_groups", "weight")
        if any(scheme != found[0] for scheme in found):
            linear.refuse(f"is the target of {len(found)} schemes in config_groups, which differ", "weight")
        return found[0]

    def read(
        self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor], source: Path
    ) -> PublishedMatrix:
        """One linear; arguments and errors as of ``Gptq.read``."""
        scheme = self.scheme_of(module, source)
        rows, cols = shape
        linear = Linear(module, tensors, source)
        if scheme.form in LAYOUTS:
            return read_blocks(linear, scheme.form, shape, input_scale=scheme.input_scale)
        size = scheme.group_size or cols
        groups = -(-cols // size)
        packed = scheme.form == "pack-quantized"
        names = ["weight_packed", "weight_shape"] if packed else ["weight"]
        names += ["weight_scale"] + ([] if scheme.symmetric else ["weight_zero_point"])
        linear.only((*names, *(["weight_g_idx"] if scheme.act_order else [])), f"this {scheme.form} scheme")
        codes = (
            _packed(linear, scheme.bits, shape)
            if packed
            else linear.integers("weight", shape, "outputs and inputs", ("I8",))
        )
        held = (1,) if scheme.strategy == "tensor" else (rows, groups)
        of = f"a scale for each {scheme.strategy}"
        scales = np.broadcast_to(linear.floats("weight_scale", held, of), (rows, groups)).copy()
        minimums = None
        if not scheme.symmetric:
            plain = not packed or scheme.strategy == "tensor" or linear.dtype("weight_zero_point") == "I8"
            zeros = _zeros(linear, scheme, held, packed=not plain)
            minimums = scales * -zeros.astype(np.int64)
        return PublishedMatrix(
            form=f"compressed-tensors {scheme.form}",
            bits=scheme.bits,
            group_size=size,
            codes=codes,
            scales=scales,
            minimums=minimums,
            groups=_order(linear, cols, size) if scheme.act_order else None,
        )


def _scheme(keys: Keys, source: Path, where: str, form: str | None) -> Scheme:
    own = keys.word("format", of=_FORMATS, default=form)
    if own is None or own == _MIXED:
        keys.refuse(f"is missing, expected {' or '.join(_FORMATS)}: the whole is {_MIXED}", "format")
    keys.nothing(output_activations="results that are quantized again are not read")
    inputs, raw = keys.take("input_activations"), keys.take("weights")
    keys.end(())
    weights = Keys(raw, source, f"{where}.weights")
    scheme = _blocks(weights, own) if own in LAYOUTS else _integers(weights, own)
    weights.nothing(dynamic="weights have no codes then", block_structure="blocks of outputs are not read")
    weights.end(_WEIGHT_IGNORED)
    if inputs is None:
        return scheme
    activations, made = _activations(inputs, source, f"{where}.input_activations")
    return replace(scheme, activations=activations, input_scale=not made)


def _blocks(weights: Keys, form: str) -> Scheme:
    bits, group_size = check_weights(weights, form)
    return Scheme(
        form=form, bits=bits, symmetric=True, strategy="group", group_size=group_size, act_order=False
    )


def _integers(weights: Keys, form: str) -> Scheme:
    weights.word("type", of=("int",))
    bits = weights.whole("num_bits", of=(4, 8) if form == "pack-quantized" else (8,))
    strategy = weights.word("strategy", of=("group", "channel", "tensor"))
    symmetric = weights.flag("symmetric")
    group_size = None
    if strategy == "group":
        group_size = weights.whole("group_size", least=1)
        if group_size == -1:
            weights.refuse("is -1, expected an integer of at least 1: strategy is group", "group_size")
    elif (said := weights.take("group_size")) not in (None, -1):
        weights.refuse(f"is {shown(said)}, and strategy is {strategy}", "group_size")
    order = weights.take("actorder")
    if order not in (None, False, "weight", "static", "group", "dynamic"):
        weights.refuse(f"is {shown(order)}, expected weight, static, group or dynamic", "actorder")
    act_order = order in ("group", "dynamic")
    if act_order and strategy != "group":
        weights.refuse(f"is {order}, and strategy is {strategy}", "actorder")
    return Scheme(
        form=form,
        bits=bits,
        symmetric=symmetric,
        strategy="group" if strategy == "group" else "channel" if strategy == "channel" else "tensor",
        group_size=group_size,
        act_order=act_order,
    )


def _activations(raw: Any, source: Path, where: str) -> tuple[str, bool]:
    """Inputs in words, and whether every scale of them is made as they come.

    The codes of the weights do not depend on them, the chip does.
    """
    keys = Keys(raw, source, where)
    bits, kind = keys.take("num_bits"), keys.take("type")
    strategy, dynamic = keys.take("strategy"), keys.take("dynamic")
    when = "dynamic under a static scale" if dynamic == "local" else "dynamic" if dynamic else "static"
    return f"{kind} of {bits} bits by {strategy}, {when}", bool(dynamic) and dynamic != "local"


def _packed(linear: Linear, bits: int, shape: tuple[int, int]) -> npt.NDArray[np.int8]:
    rows, cols = shape
    said = linear.integers("weight_shape", (2,), "outputs and inputs", ("I64", "I32"))
    if said.tolist() != [rows, cols]:
        linear.refuse(f"is {said.tolist()}, expected {[rows, cols]}", "weight_shape")
    together = period(bits)[0]
    words = linear.integers(
        "weight_packed", (rows, -(-cols // together)), f"as {cols} inputs of {bits} bits are packed"
    )
    held = unpack(words, bits)
    _check_rest(linear, held[:, cols:], "weight_packed")
    return signed(held[:, :cols], bits)


def _zeros(linear: Linear, scheme: Scheme, held: tuple[int, ...], *, packed: bool) -> npt.NDArray[np.int8]:
    """The zeros, signed, in the shape of the scales; newer releases pack them along the outputs, as int32."""
    if not packed:
        found: npt.NDArray[np.int8] = linear.integers(
            "weight_zero_point", held, "a zero for each scale", ("I8",)
        )
        return found
    rows, groups = held
    together = period(scheme.bits)[0]
    words = linear.integers(
        "weight_zero_point",
        (-(-rows // together), groups),
        f"as {rows} outputs of {scheme.bits} bits are packed",
    )
    unpacked = unpack(np.ascontiguousarray(words.T), scheme.bits)
    _check_rest(linear, unpacked[:, rows:], "weight_zero_point")
    return signed(unpacked[:, :rows], scheme.bits).T


def _check_rest(linear: Linear, rest: npt.NDArray[np.uint8], name: str) -> None:
    """What fills the last word up has to be zero: otherwise the tensor is of another shape."""
    if rest.any():
        row, at = np.argwhere(rest)[0].tolist()
        linear.refuse(f"holds {rest[row, at]} in word space beyond the last code, expected 0", name)


def _order(linear: Linear, cols: int, size: int) -> npt.NDArray[np.int64] | None:
    consecutive = np.arange(cols) // size
    found = linear.integers("weight_g_idx", (cols,), "a group for each input", ("I32", "I64")).astype(
        np.int64
    )
    if np.array_equal(found, consecutive):
        return None
    return checked_order(linear, found, consecutive, "weight_g_idx")


def _check_targets(keys: Keys, targets: Sequence[str], name: str) -> None:
    for target in targets:
        expression = target.removeprefix(_EXPRESSION)
        if target != expression:
            check_expression(keys, expression, name, target)


def _matches(target: str, module: str) -> bool:
    if target.startswith(_EXPRESSION):
        return re.match(target.removeprefix(_EXPRESSION), module) is not None
    return target in (_CLASS, module)
