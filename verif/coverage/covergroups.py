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

from etchproof.checkpoint.linears import module_name
from etchproof.compare.comparator import TokenRecord
from etchproof.contract.taps import TapKey
from etchproof.coverage.functional import Counts, Covergroup, RunSample, counted
from etchproof.quantize.quantized_model import QuantizedModel
from models.chip import ChipPlan
from models.numerics import tables
from models.numerics.params import layer_params
from models.rom.mask import RomGains, RomMatrix, RomRows, weights
from verif.coverage import host
from verif.coverage.attention import AttentionSampler, softmax_bins
from verif.coverage.lora import LoraSampler, lora_groups
from verif.coverage.memories import memory_groups, sample_memories
from verif.coverage.norm import RESIDUAL, RESIDUAL_BITS, sample_norm
from verif.coverage.rom import checkpoint_roms
from verif.coverage.round_cases import CASES, ENDS, ROUNDINGS, ends, round_cases, roundings
from verif.coverage.vector import ARGMAX, SwigluSampler, sample_argmax, swiglu_bins

Array = npt.NDArray[Any]

SATURATED: Final = (
    *("norm", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"),
    *("q_rope", "k_rope", "attn_out", "swiglu"),
)
"""Roundings that a clamp follows."""
SIGNED: Final = ("embedding", "norm_block", "norm_unit", "attn_sum")
"""Roundings of a value of either sign that nothing clamps: an embedding's, a code times a scale, is below 2^23."""
UNSIGNED: Final = ("distance", "exp_chord", "weight", "sigmoid_chord")
"""Roundings of a value that is never negative."""
NO_TIES: Final = ("attn_out.tie_positive", "attn_out.tie_negative")
"""No run that we know reaches them: docs/coverage.md, "Clauses of the numerics"."""
RSQRT_FIRST: Final = 64  # mantissas are 2**30 at least


def groups(plan: ChipPlan) -> tuple[Covergroup, ...]:
    """The covergroups of a chip."""
    return (
        *host.groups(plan),
        *memory_groups(plan),
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
        Covergroup("ends", tuple(f"{kind}.{case}" for kind in (*SATURATED, "residual") for case in ENDS)),
        Covergroup("residual", RESIDUAL),
        Covergroup("softmax", softmax_bins(plan)),
        Covergroup("swiglu", swiglu_bins(plan)),
        Covergroup("argmax", ARGMAX),
        Covergroup("embedding_rows", tuple(map(str, range(plan.vocab_size))), of_mask=True),
        *lora_groups(plan),
    )


def _roundings() -> tuple[str, ...]:
    positive = [case for case in ROUNDINGS if case != "tie_negative"]
    cases = {SATURATED: CASES, SIGNED: ROUNDINGS, UNSIGNED: positive}
    bins = (f"{kind}.{case}" for kinds, known in cases.items() for kind in kinds for case in known)
    return tuple(name for name in bins if name not in NO_TIES)


class Sampler:
    """Fills the covergroups of one checkpoint's chip.

    Args:
        model: the integers.
        plan: the chip.
    """

    def __init__(self, model: QuantizedModel, plan: ChipPlan) -> None:
        self._model, self._plan = model, plan
        self._lora, self._attention, self._swiglu = (
            LoraSampler(plan),
            AttentionSampler(plan),
            SwigluSampler(plan),
        )
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
            self._roms_read(whole, run.tokens, found)
            self._layers(whole, found)
            for layer, words in enumerate(self._params):
                exp2, recip = self._attention(taps, layer, words, found)
                _count(found["tables"], "exp2", exp2)
                _count(found["tables"], "recip", recip)
            sample_argmax(whole[-1, "logits"], self._plan, found["argmax"])
        counts = {**sample_memories(run, self._plan), **self._lora(run)}
        others = {name: bins for name, bins in self._groups.items() if name not in counts}
        for name in NO_TIES:
            del found["rounding"][name]
        return {**{name: counted(bins, +found[name]) for name, bins in others.items()}, **counts}

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

    def _roms_read(
        self, taps: Mapping[TapKey, Array], tokens: Sequence[TokenRecord], found: dict[str, Counter[str]]
    ) -> None:
        rounding, table = found["rounding"], found["tables"]
        for unit in self._roms:
            match unit:
                case RomMatrix():
                    x = taps[unit.source].astype(np.float64)
                    acc = (x @ self._weights[unit.site].T.astype(np.float64)).astype(np.int64)
                    if unit.bias is not None:
                        acc = acc + (unit.bias.astype(np.int64) << unit.bias_shift)
                    self._largest[unit.site] = max(self._largest[unit.site], int(np.abs(acc).max()))
                    self._saturated(unit.site.rpartition(".")[2], acc, unit.shift, unit.out_bits, found)
                case RomGains():
                    entries = sample_norm(
                        taps[unit.source],
                        unit.values,
                        self._plan.norm_epsilon,
                        unit.shift,
                        unit.out_bits,
                        self._plan.tile_rows,
                        found,
                    )
                    _count(table, "rsqrt", entries, RSQRT_FIRST)
                case RomRows():
                    rows = np.unique([token.token_in for token in tokens if token.status == 0])
                    spread = np.repeat(unit.scales[rows].astype(np.int64), unit.group_size, axis=1)
                    value = unit.codes[rows].astype(np.int64) * spread[:, : unit.codes.shape[1]]
                    roundings(rounding, "embedding", value, unit.shift)

    def _layers(self, taps: Mapping[TapKey, Array], found: dict[str, Counter[str]]) -> None:
        plan = self._plan
        residual = taps[-1, "embedding"]
        for layer, words in enumerate(self._params):
            for name, shift, bits, heads in (
                ("q", tables.ROPE_FRAC, plan.act_bits, plan.n_heads),
                ("k", words["k_rope.shift"], plan.kv_bits, plan.n_kv_heads),
            ):
                vectors = taps[layer, f"{name}_proj"].astype(np.int64).reshape(-1, heads, plan.head_dim)
                low, high = np.split(vectors, 2, axis=2)
                cos, sin = (part[: len(vectors), None] for part in (self._cos, self._sin))
                turned = np.concatenate((low * cos - high * sin, high * cos + low * sin), axis=2)
                self._saturated(f"{name}_rope", turned, shift, bits, found)
            gate, up = (taps[layer, name].astype(np.int64) for name in ("gate_proj", "up_proj"))
            entries = self._swiglu(gate, up, words["swiglu.gate_shift"], words["swiglu.shift"], found)
            _count(found["tables"], "sigmoid", entries)
            for name, source in (("attn_residual", "o_proj"), ("mlp_residual", "down_proj")):
                added = taps[layer, source].astype(np.int64) << words[f"{source}.residual_shift"]
                ends(found["ends"], "residual", residual.astype(np.int64) + added, RESIDUAL_BITS)
                residual = taps[layer, name]

    def _saturated(
        self, kind: str, acc: Array, shift: int, bits: int, found: dict[str, Counter[str]]
    ) -> None:
        ends(found["ends"], kind, round_cases(found["rounding"], kind, acc, shift, bits), bits)


def _count(into: Counter[str], table: str, indices: Array, first: int = 0) -> None:
    values, counts = np.unique(np.asarray(indices).reshape(-1), return_counts=True)
    into.update(
        {f"{table}[{int(value) - first}]": int(count) for value, count in zip(values, counts, strict=True)}
    )


def sampler(model: QuantizedModel, plan: ChipPlan) -> Sampler:
    """What ``etchproof.toml`` names."""
    return Sampler(model, plan)
