"""The reference chip's functional coverage: covergroups, and how a run fills them (docs/coverage.md).

Taps are those of the golden model, which a run that passed has compared with the chip's, element by element. What
stands before a rounding is no tap: it is computed again from the unit's input tap and the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from etchproof.checkpoint.linears import module_name
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage.functional import Counts, Covergroup, RunSample, counted
from etchproof.fixed_point import bit_length
from etchproof.quantize.quantized_model import QuantizedModel
from models.chip import ChipPlan
from models.numerics import ops, tables
from models.numerics.params import layer_params
from models.rom.mask import RomGains, RomMatrix, RomRows, weights
from verif.coverage import host
from verif.coverage.lora import LoraSampler, lora_groups
from verif.coverage.rom import checkpoint_roms
from verif.coverage.round_cases import CASES, round_cases

Array = npt.NDArray[Any]

ROUNDED: Final = (
    *(
        "embedding",
        "norm",
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "lm_head",
    ),
    *("q_rope", "k_rope", "swiglu"),
)
SOFTMAX: Final = ("dominated", "flat", "single", "underflow")
RESIDUAL: Final = (
    *("exponent_0", "exponent_0_last", "exponent_1", "exponent_more", "negative_largest"),
    *("saturated_low", "saturated_high"),
)
ARGMAX: Final = ("unique", "tie", "first_block", "last_block", "negative")
DOMINATED: Final = 0.99  # of the sum, by one position
FLAT: Final = 0.8  # smallest weight, as part of the largest
RSQRT_FIRST: Final = 64  # mantissas are 2**30 at least


def groups(plan: ChipPlan) -> tuple[Covergroup, ...]:
    """The covergroups of a chip."""
    return (
        *host.groups(plan),
        Covergroup("rounding", _roundings()),
        Covergroup(
            "tables",
            (
                *(f"exp2[{index}]" for index in range(128)),
                *(f"sigmoid[{index}]" for index in range(512)),
                *(f"recip[{index}]" for index in range(128)),
                *(f"rsqrt[{index}]" for index in range(192)),
                *(f"rope[{index}]" for index in range(plan.context)),
            ),
        ),
        Covergroup("residual", RESIDUAL),
        Covergroup("softmax", SOFTMAX),
        Covergroup("argmax", ARGMAX),
        Covergroup("embedding_rows", tuple(map(str, range(plan.vocab_size))), of_mask=True),
        *lora_groups(plan),
    )


def _roundings() -> tuple[str, ...]:
    """An embedding cannot saturate: a code times a scale is below 2**7 * 2**16, and the residual holds 31 bits."""
    names = (f"{kind}.{case}" for kind in ROUNDED for case in CASES)
    return tuple(name for name in names if not name.startswith("embedding.saturated"))


class Sampler:
    """Fills the covergroups of one checkpoint's chip.

    Args:
        model: the integers.
        plan: the chip.
    """

    def __init__(self, model: QuantizedModel, plan: ChipPlan) -> None:
        self._model, self._plan = model, plan
        self._lora = LoraSampler(plan)
        self._groups = {group.name: group.bins for group in groups(plan)}
        self._roms = checkpoint_roms(model, plan)
        self._weights = {unit.site: weights(unit) for unit in self._roms if isinstance(unit, RomMatrix)}
        self._largest = dict.fromkeys(self._weights, 0)
        self._params = [layer_params(model, index) for index in range(plan.n_layers)]
        cos, sin = tables.rope_tables(model.config, plan.context)
        self._cos, self._sin = cos.astype(np.int64), sin.astype(np.int64)

    def __call__(self, run: RunSample) -> Counts:
        """What a run hit."""
        found: dict[str, Counter[str]] = {name: Counter() for name in self._groups}
        host.sample(run, self._plan, found)
        rows = Counter(token.token_in for token in run.tokens if token.status == 0)
        found["embedding_rows"].update({str(row): count for row, count in rows.items()})
        for taps in run.taps:
            whole = {key: value for key, value in taps.items() if isinstance(value, np.ndarray)}
            length = len(whole[-1, "token"])
            found["tables"].update({f"rope[{position}]": 1 for position in range(length)})
            self._roundings(whole, [token for token in run.tokens], found)
            self._attention(taps, length, found)
            _argmax(whole[-1, "logits"], self._plan, found["argmax"])
        adapters = self._lora(run)
        chip = {name: bins for name, bins in self._groups.items() if name not in adapters}
        return {**{name: counted(bins, +found[name]) for name, bins in chip.items()}, **adapters}

    def accumulators(self) -> Mapping[str, tuple[int, int]]:
        """As ``etchproof.coverage.functional.Sampler``; an adapter's product is not part of the sum."""
        plan = self._plan
        bounds = {"lm_head": plan.lm_head.max_sum} | {
            module_name(layer, name): linear.max_sum
            for layer in range(plan.n_layers)
            for name, linear in plan.linears(layer).items()
        }
        return {site: (largest, bounds[site]) for site, largest in self._largest.items()}

    # Roundings and tables.

    def _roundings(
        self, taps: Mapping[TapKey, Array], tokens: Sequence[Any], found: dict[str, Counter[str]]
    ) -> None:
        rounding, table = found["rounding"], found["tables"]
        for unit in self._roms:
            match unit:
                case RomMatrix():
                    kind = unit.site.rpartition(".")[2]
                    x = taps[unit.source].astype(np.float64)
                    acc = (x @ self._weights[unit.site].T.astype(np.float64)).astype(np.int64)
                    if unit.bias is not None:
                        acc = acc + (unit.bias.astype(np.int64) << unit.bias_shift)
                    self._largest[unit.site] = max(self._largest[unit.site], int(np.abs(acc).max()))
                    round_cases(rounding, kind, acc, unit.shift, unit.out_bits)
                case RomGains():
                    u = unit.normalize(taps[unit.source])
                    round_cases(rounding, "norm", u * unit.values.astype(np.int64), unit.shift, unit.out_bits)
                    _count(table, "rsqrt", self._rsqrt_index(taps[unit.source]), RSQRT_FIRST)
                    _residual(taps[unit.source].astype(np.int64), found["residual"])
                case RomRows():
                    rows = np.unique([token.token_in for token in tokens if token.status == 0])
                    spread = np.repeat(unit.scales[rows].astype(np.int64), unit.group_size, axis=1)
                    value = unit.codes[rows].astype(np.int64) * spread[:, : unit.codes.shape[1]]
                    round_cases(rounding, "embedding", value, unit.shift, unit.out_bits)
        plan = self._plan
        for layer, words in enumerate(self._params):
            for name, shift, bits, heads in (
                ("q", tables.ROPE_FRAC, plan.act_bits, plan.n_heads),
                ("k", words["k_rope.shift"], plan.kv_bits, plan.n_kv_heads),
            ):
                vectors = taps[layer, f"{name}_proj"].astype(np.int64).reshape(-1, heads, plan.head_dim)
                low, high = np.split(vectors, 2, axis=2)
                cos, sin = (part[: len(vectors), None] for part in (self._cos, self._sin))
                turned = np.concatenate((low * cos - high * sin, high * cos + low * sin), axis=2)
                round_cases(rounding, f"{name}_rope", turned, shift, bits)
            gate, up = (taps[layer, name].astype(np.int64) for name in ("gate_proj", "up_proj"))
            gate_shift = words["swiglu.gate_shift"]
            sigma = ops.sigmoid(torch.from_numpy(gate), gate_shift).numpy()
            round_cases(rounding, "swiglu", gate * sigma * up, words["swiglu.shift"], plan.act_bits)
            _count(table, "sigmoid", np.minimum(np.abs(gate) << gate_shift, (1 << 20) - 1) >> 11)

    def _rsqrt_index(self, residual: Array) -> Array:
        """Which entry of RSQRT a norm reads, section 3 and 3.1."""
        values = torch.from_numpy(residual.astype(np.int64))
        s = (bit_length(values.abs().amax(dim=-1, keepdim=True)) - 24).clamp(min=0)
        half = torch.where(s > 0, (1 << s) >> 1, torch.zeros_like(s))
        q = (values + half) >> s
        v = ((q * q).sum(dim=-1) + (torch.full_like(s, self._plan.norm_epsilon) >> (2 * s))[..., 0]).clamp(
            min=1
        )
        n = bit_length(v)
        n = n + (n & 1)
        mantissa = torch.where(n <= 32, v << (32 - n).clamp(min=0), v >> (n - 32).clamp(min=0))
        index: Array = (mantissa >> 24).numpy()
        return index

    def _attention(
        self, taps: Mapping[TapKey, TokenArrays], length: int, found: dict[str, Counter[str]]
    ) -> None:
        plan, table, softmax, kv = self._plan, found["tables"], found["softmax"], found["kv_cache"]
        heads = plan.n_heads
        for layer, words in enumerate(self._params):
            shift = words["softmax.shift"]
            distances, totals = [], []  # of all positions, each (rows, heads) and (heads,)
            for position in range(length):
                scores = np.asarray(taps[layer, "scores"][position]).reshape(-1, heads)
                w = np.asarray(taps[layer, "softmax"][position]).reshape(-1, heads).astype(np.int64)
                distances.append((scores.max(axis=0) - scores) * plan.softmax_scale)
                total = w.sum(axis=0)
                totals.append(total)
                if position == 0:
                    softmax["single"] += heads
                    continue
                softmax["dominated"] += int((w.max(axis=0) >= DOMINATED * total).sum())
                softmax["flat"] += int((w.min(axis=0) >= FLAT * w.max(axis=0)).sum())
                softmax["underflow"] += int((w == 0).any(axis=0).sum())
                earlier = (w[:-1] > 0).any(axis=0).reshape(plan.n_kv_heads, -1).any(axis=1)
                for index in np.flatnonzero(earlier):
                    kv[f"head_group_{index}"] += 1
            z = (np.concatenate(distances) + ((1 << shift) >> 1)) >> shift
            _count(table, "exp2", ((z & 0xFFFF) >> 9)[z >> 16 < 31])
            sums = np.concatenate(totals)
            b = bit_length(torch.from_numpy(sums)).numpy()
            mantissa = np.where(b <= 32, sums << np.maximum(32 - b, 0), sums >> np.maximum(b - 32, 0))
            _count(table, "recip", (mantissa >> 24) - 128)


def _count(into: Counter[str], table: str, indices: Array, first: int = 0) -> None:
    values, counts = np.unique(np.asarray(indices).reshape(-1), return_counts=True)
    into.update(
        {f"{table}[{int(value) - first}]": int(count) for value, count in zip(values, counts, strict=True)}
    )


def _residual(residual: Array, into: Counter[str]) -> None:
    """What a norm makes of its input, section 3: the block exponent is above 0 from 25 bits on."""
    positive = bit_length(torch.from_numpy(np.maximum(residual, 0).max(axis=-1))).numpy()
    length = bit_length(torch.from_numpy(np.abs(residual).max(axis=-1))).numpy()
    into["exponent_0"] += int((length < 24).sum())
    into["exponent_0_last"] += int((length == 24).sum())
    into["exponent_1"] += int((length == 25).sum())
    into["exponent_more"] += int((length > 25).sum())
    into["negative_largest"] += int(((length > 24) & (positive < length)).sum())
    into["saturated_low"] += int((residual == -(1 << 31)).sum())
    into["saturated_high"] += int((residual == (1 << 31) - 1).sum())


def _argmax(logits: Array, plan: ChipPlan, into: Counter[str]) -> None:
    largest = logits.max(axis=1)
    ties = (logits == largest[:, None]).sum(axis=1)
    block = logits.argmax(axis=1) // plan.tile_rows
    into["unique"] += int((ties == 1).sum())
    into["tie"] += int((ties > 1).sum())
    into["first_block"] += int((block == 0).sum())
    into["last_block"] += int((block == (plan.vocab_size - 1) // plan.tile_rows).sum())
    into["negative"] += int((largest < 0).sum())


def sampler(model: QuantizedModel, plan: ChipPlan) -> Sampler:
    """What ``etchproof.toml`` names."""
    return Sampler(model, plan)
