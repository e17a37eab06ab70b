"""The metadata of a GGUF file, resolved to the architecture that ``config.json`` comes to, or refused by name.

Keys of the architecture's own (``llama....``) are an allow-list, as those of ``config.json`` are: read, without effect
on inference, or refused, as an unknown one may change what the model computes. What the keys mean, and what an absent
one stands for, is llama.cpp's ``llama-model.cpp``.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from etchproof.checkpoint.config import (
    GGUF_KEYS,
    FactorScaling,
    LinearScaling,
    ModelConfig,
    RopeConfig,
)
from etchproof.errors import InputError, shown, shown_name
from etchproof.files.validation import input_error
from etchproof.published.gguf import GgufFile
from etchproof.published.gguf.metadata import Metadata

ARCHITECTURES: Final = ("llama",)
"""Values of ``general.architecture`` that are read; the keys of each begin with its name."""

ROPE_FACTORS: Final = "rope_freqs.weight"
TOKEN_EMBEDDING: Final = "token_embd.weight"
OUTPUT: Final = "output.weight"
TOKENS_KEY: Final = "tokenizer.ggml.tokens"

_QUANTIZATION_VERSION: Final = 2

_READ: Final = frozenset(
    {
        *("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"),
        *(
            "attention.head_count",
            "attention.head_count_kv",
            "attention.key_length",
            "attention.value_length",
        ),
        *("attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base"),
        *("rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"),
    }
)
NEUTRAL: Final[dict[str, tuple[object, str]]] = {
    "expert_count": (0, "mixture of experts is not modelled"),
    "expert_used_count": (0, "mixture of experts is not modelled"),
    "use_parallel_residual": (False, "a parallel residual is not modelled"),
    "attention.causal": (True, "attention to later tokens is not modelled"),
    "rope.scaling.attn_factor": (1.0, "a factor on attention is not modelled"),
}
"""Keys with the one value that leaves the arithmetic alone, and what any other would mean."""
NO_EFFECT: Final[dict[str, str]] = {
    "tensor_data_layout": "says in which order the converter found the rows, which are in ggml's order in either case",
    "rope.scaling.original_context_length": "counts with YaRN alone",
    "rope.scaling.finetuned": "says how the model was made",
}
"""Keys without effect on inference, each with the reason."""


def read_gguf_config(file: GgufFile) -> ModelConfig:
    """The architecture of a GGUF file. Its name is the file's, without the suffix.

    Raises:
        InputError: naming the file, the key and the value, for anything missing, ill-typed, inconsistent, or not
            modelled.
    """
    found = file.header.metadata
    architecture = _architecture(found)
    _check_keys(found, architecture)

    def key(name: str) -> str:
        return f"{architecture}.{name}"

    heads = found.whole(key("attention.head_count"))
    hidden = found.whole(key("embedding_length"))
    if heads < 1 or hidden < 1:
        wrong = "attention.head_count" if heads < 1 else "embedding_length"
        found.refuse(f"is {found.whole(key(wrong))}, expected at least 1", key(wrong))
    head_dim = _head_dim(found, architecture, hidden, heads)
    vocab_size = _vocabulary(file, architecture)
    tensors = file.header.tensors
    try:
        return ModelConfig(
            name=file.path.stem,
            vocab_size=vocab_size,
            hidden_size=hidden,
            intermediate_size=found.whole(key("feed_forward_length")),
            n_layers=found.whole(key("block_count")),
            n_heads=heads,
            n_kv_heads=found.whole(key("attention.head_count_kv"), default=heads),
            head_dim=head_dim,
            context=found.whole(key("context_length")),
            rms_norm_eps=found.real(key("attention.layer_norm_rms_epsilon")),
            rope=RopeConfig(
                theta=found.real(key("rope.freq_base"), default=10000.0), scaling=_scaling(file, architecture)
            ),
            tie_word_embeddings=OUTPUT not in tensors,
            attention_bias=_has_bias(file, "attn_"),
            mlp_bias=_has_bias(file, "ffn_"),
            bos_token_id=_token(found, "bos"),
            eos_token_ids=_ends(found),
        ).read_from(file.path)
    except ValidationError as error:
        raise _own(input_error(error, file.path)) from None


def _architecture(found: Metadata) -> str:
    architecture = found.text("general.architecture")
    if architecture not in ARCHITECTURES:
        found.refuse(
            f"is {shown(architecture)}, which is not modelled",
            "general.architecture",
            hint=f"modelled are {', '.join(ARCHITECTURES)}",
        )
    kind = found.text("general.type", default="model")
    if kind != "model":
        found.refuse(f"is {shown(kind)}, expected 'model'", "general.type")
    if found.whole("split.count", default=0) > 1:
        found.refuse(
            f"is {found.whole('split.count')}: the file is a part of a model",
            "split.count",
            hint="put the parts together with gguf-split --merge of llama.cpp",
        )
    version = found.whole("general.quantization_version", default=_QUANTIZATION_VERSION)
    if version != _QUANTIZATION_VERSION:
        found.refuse(f"is {version}, expected {_QUANTIZATION_VERSION}", "general.quantization_version")
    return architecture


def _check_keys(found: Metadata, architecture: str) -> None:
    for full in found:
        if not full.startswith(f"{architecture}."):
            continue
        name = full.removeprefix(f"{architecture}.")
        if name in NEUTRAL:
            neutral, meaning = NEUTRAL[name]
            if found.raw(full) != neutral:
                found.refuse(f"is {found.shown(full)}: {meaning}", full)
        elif name not in _READ and name not in NO_EFFECT:
            found.refuse(
                f"is {found.shown(full)}, a key that Etchproof does not know: it may change what the model computes",
                full,
                hint="remove it if it is without effect on inference",
            )


def _head_dim(found: Metadata, architecture: str, hidden: int, heads: int) -> int:
    count, length = f"{architecture}.attention.head_count", f"{architecture}.attention.key_length"
    if length not in found and hidden % heads:
        found.refuse(f"is {heads}, which does not divide {architecture}.embedding_length {hidden}", count)
    head_dim = found.whole(length, default=hidden // heads)
    for name, meaning in (
        ("attention.value_length", "values of another length than keys are not modelled"),
        ("rope.dimension_count", "rotating a part of the head is not modelled"),
    ):
        own = found.whole(f"{architecture}.{name}", default=head_dim)
        if own != head_dim:
            found.refuse(
                f"is {own}, expected {head_dim}, the length of a key: {meaning}", f"{architecture}.{name}"
            )
    return head_dim


def _vocabulary(file: GgufFile, architecture: str) -> int:
    """Rows of the embedding; what metadata says of the vocabulary has to agree."""
    found, tensor = file.header.metadata, file.header.tensors.get(TOKEN_EMBEDDING)
    if tensor is None:
        raise InputError("is missing: the file has no embedding", source=file.path, key=TOKEN_EMBEDDING)
    rows = tensor.shape[0]
    own = found.whole(f"{architecture}.vocab_size", default=rows)
    if own != rows:
        found.refuse(f"is {own}, and {TOKEN_EMBEDDING} has {rows} rows", f"{architecture}.vocab_size")
    if TOKENS_KEY in found:
        tokens = len(found.raw(TOKENS_KEY)) if isinstance(found.raw(TOKENS_KEY), list) else 0
        if tokens != rows:
            found.refuse(f"is {found.shown(TOKENS_KEY)}, and {TOKEN_EMBEDDING} has {rows} rows", TOKENS_KEY)
    return rows


def _scaling(file: GgufFile, architecture: str) -> LinearScaling | FactorScaling | None:
    """How RoPE's frequencies are scaled. An absent type is "linear", and a factor of 0 or 1 is none."""
    found, prefix = file.header.metadata, f"{architecture}.rope"
    kind_key, factor_key = f"{prefix}.scaling.type", f"{prefix}.scaling.factor"
    kind = found.text(kind_key, default="linear")
    if kind not in ("none", "linear"):
        found.refuse(f"is {shown(kind)}, which is not modelled", kind_key, hint="modelled are none, linear")
    if factor_key not in found and f"{prefix}.scale_linear" in found:
        factor_key = f"{prefix}.scale_linear"
    factor = found.real(factor_key, default=0.0)
    linear = kind == "linear" and factor not in (0.0, 1.0)
    if linear and not 1.0 <= factor <= 1e6:
        found.refuse(f"is {factor}, expected 1 .. 1,000,000", factor_key)
    factors = _rope_factors(file)
    if factors is not None and linear:
        found.refuse(
            f"is {factor}, and the file has {ROPE_FACTORS} as well: both at once are not modelled", factor_key
        )
    if factors is not None:
        return FactorScaling(factors=factors)
    return LinearScaling(factor=factor) if linear else None


def _rope_factors(file: GgufFile) -> tuple[float, ...] | None:
    """What each pair's frequency is divided by; None where the file has no such tensor, or all are 1."""
    tensor = file.header.tensors.get(ROPE_FACTORS)
    if tensor is None:
        return None

    def refuse(problem: str) -> InputError:
        return InputError(problem, source=file.path, key=ROPE_FACTORS)

    if len(tensor.shape) != 1 or tensor.type.bits is not None:
        raise refuse(
            f"is {tensor.type.name} of shape {list(tensor.shape)}, expected a vector of plain floats"
        )
    factors = tuple(file.values(ROPE_FACTORS).tolist())
    wrong = next((at for at, factor in enumerate(factors) if not 0 < factor <= 1e12), None)
    if wrong is not None:
        raise refuse(f"is {factors[wrong]} at {wrong}, expected more than 0 and at most 1e12")
    return None if all(factor == 1 for factor in factors) else factors


def _has_bias(file: GgufFile, part: str) -> bool:
    return any(
        name.startswith("blk.") and f".{part}" in name and name.endswith(".bias")
        for name in file.header.tensors
    )


def _token(found: Metadata, name: str) -> int | None:
    """A special token's id. llama.cpp has 1 and 2 for a SentencePiece vocabulary that names none."""
    key = f"tokenizer.ggml.{name}_token_id"
    if key in found:
        return found.whole(key)
    if found.raw("tokenizer.ggml.model") == "llama":
        return {"bos": 1, "eos": 2}.get(name)
    return None


def _ends(found: Metadata) -> tuple[int, ...]:
    """What ends a text: the end of the text, and the end of a turn where the file names it."""
    ids = (_token(found, "eos"), _token(found, "eot"))
    return tuple(dict.fromkeys(token for token in ids if token is not None))


def _own(error: InputError) -> InputError:
    """An error of the record, under the file's own key."""
    names = {
        **{
            "n_layers": "num_hidden_layers",
            "n_heads": "num_attention_heads",
            "n_kv_heads": "num_key_value_heads",
        },
        **{"context": "max_position_embeddings", "eos_token_ids": "eos_token_id", "theta": "rope_theta"},
        "rope.scaling.factors": ROPE_FACTORS,
    }
    key = error.key or ""
    key = names.get(key, key)
    problem = error.problem
    for theirs, own in GGUF_KEYS.items():
        if theirs != "vocab_size":
            problem = problem.replace(f" {theirs} ", f" {own} ")
    return InputError(problem, source=error.source, key=shown_name(GGUF_KEYS.get(key, key)), hint=error.hint)
