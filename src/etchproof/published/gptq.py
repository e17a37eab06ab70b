"""GPTQ's safetensors: codes packed along the inputs, zeros packed along the outputs, in version 1 less one.

The rule is AutoGPTQ's and GPTQModel's: ``weight[o, k] = scales[g, o] * (code[o, k] - zero[g, o])`` with ``g =
g_idx[k]``. Version 1 of the format stores ``zero - 1``, version 2 stores ``zero`` (docs/published.md, "GPTQ").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from etchproof.published.matrix import PublishedMatrix
from etchproof.published.packing import WORD_BITS, Unsigned, period, signed, unpack
from etchproof.published.stored import Keys, Linear, checked_order

if TYPE_CHECKING:
    from torch import Tensor

_VERSIONS: Final = {"gptq": 1, "gptq_v2": 2}
_TENSORS: Final = ("qweight", "qzeros", "scales", "g_idx")
_HINT: Final = "set checkpoint_format to gptq (zeros stored less one) or gptq_v2 (as they are)"

IGNORED: Final = frozenset(
    {
        *("act_group_aware", "backend", "batch_size", "block_name_to_quantize", "cache_block_outputs"),
        *("damp_auto_increment", "damp_percent", "dataset", "disable_exllama", "exllama_config"),
        *("max_input_length", "meta", "model_file_base_name", "model_name_or_path", "model_seqlen"),
        *("module_name_preceding_first_block", "modules_in_block_to_quantize", "mse", "offload_to_disk"),
        *("offload_to_disk_path", "pad_token_id", "quantizer", "static_groups", "tokenizer"),
        *("true_sequential", "use_cuda_fp16", "use_exllama", "lm_head"),
        *("autoround_version", "enable_minmax_tuning", "enable_norm_bias_tuning", "enable_quanted_input"),
        *(
            "gradient_accumulate_steps",
            "iters",
            "low_gpu_mem_usage",
            "lr",
            "minmax_lr",
            "nsamples",
            "scale_dtype",
        ),
        *("seqlen", "amp"),
    }
)
"""Keys that say how the codes were found, by whom, or which kernel runs them."""


@dataclass(frozen=True)
class Gptq:
    """What ``quantization_config`` says of a GPTQ checkpoint.

    Attributes:
        bits: of a code.
        group_size: inputs of a group, in the order of quantizing; None is all of them.
        act_order: whether inputs were quantized in an order of their own (``desc_act``), so that ``g_idx`` counts.
        symmetric: whether every zero is the middle of the codes.
        version: of the format, as the config names it; None where it does not.
    """

    bits: int
    group_size: int | None
    act_order: bool
    symmetric: bool
    version: int | None

    @classmethod
    def read_config(cls, keys: Keys) -> Gptq:
        """The scheme that the keys describe.

        Raises:
            InputError: a key is missing, bad, unknown, or asks for what is not read here.
        """
        bits = keys.whole("bits", of=(2, 3, 4, 8))
        group_size = keys.whole("group_size", least=1)
        act_order, symmetric = keys.flag("desc_act"), keys.flag("sym")
        version = keys.take("checkpoint_format", "format")
        if version is not None and version not in tuple(_VERSIONS):
            keys.refuse(f"is {version!r}, expected {' or '.join(_VERSIONS)}", "checkpoint_format")
        keys.word("pack_dtype", of=("int32",), default="int32")
        keys.word("data_type", of=("int",), default="int")
        keys.nothing(
            dynamic="other bits for some modules are not read",
            is_marlin_format="the order of Marlin's kernel is not read",
            adapter="an adapter within the checkpoint is not read",
            rotation="rotated weights are not read",
        )
        keys.end(IGNORED)
        return cls(
            bits, None if group_size == -1 else group_size, act_order, symmetric, _VERSIONS.get(str(version))
        )

    def read(
        self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor], source: Path
    ) -> PublishedMatrix:
        """One linear.

        Args:
            module: its name.
            shape: (rows, cols), outputs and inputs, as the model's config has them.
            tensors: of the folder, by full name.
            source: the folder, for messages.

        Raises:
            InputError: a tensor is missing, of another shape or dtype, or does not fit what the config says; or the
                zeros can be read in more than one way.
        """
        rows, cols = shape
        linear = Linear(module, tensors, source)
        linear.only(_TENSORS, "GPTQ")
        of = f"as {rows} outputs and {cols} inputs of {self.bits} bits are packed"
        together = period(self.bits)[0]
        if rows % together or cols % together:
            problem = f"cannot hold {rows} outputs and {cols} inputs: {self.bits}-bit codes are packed by {together}"
            linear.refuse(problem, "qweight")
        size = self.group_size or cols
        groups = -(-cols // size)
        packed = linear.integers("qweight", (cols * self.bits // WORD_BITS, rows), of)
        zeros = linear.integers("qzeros", (groups, rows * self.bits // WORD_BITS), of)
        scales = linear.floats("scales", (groups, rows), f"{groups} groups of {size} inputs").T.copy()
        order = self._order(linear, cols, size)
        version, zero = self._zeros(linear, unpack(zeros, self.bits))
        return PublishedMatrix(
            form=f"GPTQ v{version}",
            bits=self.bits,
            group_size=size,
            codes=signed(unpack(np.ascontiguousarray(packed.T), self.bits), self.bits),
            scales=scales,
            minimums=None if self.symmetric else scales * ((1 << (self.bits - 1)) - zero.T),
            groups=order,
        )

    def _order(self, linear: Linear, cols: int, size: int) -> npt.NDArray[np.int64] | None:
        """The group of each input; None where they are consecutive."""
        consecutive = np.arange(cols) // size
        if not linear.has("g_idx"):
            if self.act_order:
                linear.refuse(f"is missing, expected shape [{cols}]: desc_act is true", "g_idx")
            return None
        found = linear.integers("g_idx", (cols,), "a group for each input", ("I32", "I64")).astype(np.int64)
        if np.array_equal(found, consecutive):
            return None
        if not self.act_order:
            first = int(np.flatnonzero(found != consecutive)[0])
            linear.refuse(
                f"puts input {first} into group {found[first]}, and desc_act is false: by order it is in group "
                f"{consecutive[first]}",
                "g_idx",
                "kernels differ on which one counts; set desc_act to true if g_idx does",
            )
        return checked_order(linear, found, consecutive, "g_idx")

    def _zeros(self, linear: Linear, stored: Unsigned) -> tuple[int, npt.NDArray[np.int64]]:
        """Which version the zeros are of, and the zeros themselves, (groups, rows).

        ``sym`` says that each zero is the middle, so what is stored tells the version, whatever its name. Otherwise
        nothing but the name tells, and a version 1 that stores its largest number is none: its zero did not fit.
        """
        middle, top = 1 << (self.bits - 1), (1 << self.bits) - 1
        if self.symmetric:
            version = 2 if stored.flat[0] == middle else 1
            expected = middle if version == 2 else middle - 1
            self._first(
                linear,
                stored != expected,
                stored,
                f"and sym is true, for which version 1 stores {middle - 1} everywhere and version 2 {middle}",
            )
            return version, np.full(stored.shape, middle, dtype=np.int64)
        if self.version is None:
            linear.refuse(
                "may be stored less one or not: sym is false and no checkpoint_format says", "qzeros", _HINT
            )
        if self.version == 1:
            self._first(
                linear,
                stored == top,
                stored,
                f"which no file of version 1 can mean: readers take it for a zero of 0 or of {top + 1}",
                "a file that is named gptq and holds gptq_v2 shows itself so; " + _HINT,
            )
        return int(self.version or 0), stored.astype(np.int64) + (self.version == 1)

    @staticmethod
    def _first(
        linear: Linear, wrong: npt.NDArray[np.bool_], stored: Unsigned, why: str, hint: str | None = None
    ) -> None:
        if wrong.any():
            group, row = np.argwhere(wrong)[0].tolist()
            linear.refuse(
                f"stores {stored[group, row]} for output {row}, group {group}, {why}", "qzeros", hint
            )
