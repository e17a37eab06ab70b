"""A Llama checkpoint's architecture: Hugging Face's ``config.json`` resolved to one form, or refused by name.

``ModelConfig`` is what the rest of Etchproof reads: every default filled in, every size positive and
consistent, and nothing in it that the chip does not compute. ``read_config`` makes one from today's form of
``config.json`` (``rope_parameters``) or the older one (``rope_theta`` and ``rope_scaling``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from etchproof.checkpoint.generation import GENERATION_FILE, TokenId, read_generation
from etchproof.checkpoint.unsupported import refuse_unsupported
from etchproof.errors import InputError, shown, shown_name
from etchproof.files.json_file import read_json_object
from etchproof.files.validation import FromFile, inconsistent, input_error

# Upper bounds are sanity limits, 100 times beyond any Llama: they keep a corrupt config from planning 10^9
# tensors.
Size = Annotated[int, Field(ge=1, le=2**24)]
Layers = Annotated[int, Field(ge=1, le=4096)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e12)]
Factor = Annotated[float, Field(ge=1, le=1e6)]

_FROZEN: Final = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
_RAW: Final = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

_SHAPE_KEYS: Final = {
    "max_position_embeddings": "context",
    "num_hidden_layers": "n_layers",
    "rope_theta": "rope.theta",
}
GGUF_KEYS: Final = {
    "vocab_size": "token_embd.weight",
    "hidden_size": "llama.embedding_length",
    "intermediate_size": "llama.feed_forward_length",
    "num_hidden_layers": "llama.block_count",
    "num_attention_heads": "llama.attention.head_count",
    "num_key_value_heads": "llama.attention.head_count_kv",
    "head_dim": "llama.attention.key_length",
    "max_position_embeddings": "llama.context_length",
    "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
    "rope_theta": "llama.rope.freq_base",
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
}
_OWN_KEYS: Final = {".yaml": _SHAPE_KEYS, ".yml": _SHAPE_KEYS, ".gguf": GGUF_KEYS}
"""By the suffix of the file."""


class Llama3Scaling(BaseModel):
    """Llama 3.1's RoPE: long wavelengths slowed by ``factor``, short ones kept, a smooth ramp between."""

    model_config = _FROZEN

    rope_type: Literal["llama3"] = "llama3"
    factor: Factor
    low_freq_factor: PositiveFloat
    high_freq_factor: PositiveFloat
    original_max_position_embeddings: Size

    @model_validator(mode="after")
    def _ramp_ascends(self) -> Self:
        if self.low_freq_factor >= self.high_freq_factor:
            raise inconsistent(
                "low_freq_factor",
                f"is {self.low_freq_factor}, expected less than high_freq_factor {self.high_freq_factor}",
            )
        return self


class LinearScaling(BaseModel):
    """Position interpolation: every RoPE frequency divided by ``factor``."""

    model_config = _FROZEN

    rope_type: Literal["linear"] = "linear"
    factor: Factor


class FactorScaling(BaseModel):
    """Each pair's RoPE frequency divided by a number of its own, as a GGUF file states it."""

    model_config = _FROZEN

    rope_type: Literal["factors"] = "factors"
    factors: tuple[PositiveFloat, ...]


class RopeConfig(BaseModel):
    """Rotary position embedding: the base, and how its frequencies are scaled (None: not at all)."""

    model_config = _FROZEN

    theta: PositiveFloat = 10000.0
    scaling: (
        Annotated[Llama3Scaling | LinearScaling | FactorScaling, Field(discriminator="rope_type")] | None
    ) = None


class ModelConfig(FromFile):
    """The architecture of one Llama, resolved: shapes, RoPE, norm epsilon, special tokens. No weight, no
    path.

    ``attention_bias`` is a bias on q, k, v and o alike; ``mlp_bias`` on gate, up and down. ``context`` counts
    positions. ``name`` is a label for reports (the checkpoint folder's name): nothing that is rendered may
    depend on it.
    """

    model_config = _FROZEN

    name: str
    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    n_layers: Layers
    n_heads: Size
    n_kv_heads: Size
    head_dim: Size
    context: Size
    rms_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    rope: RopeConfig = RopeConfig()
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    bos_token_id: TokenId | None = None
    eos_token_ids: tuple[TokenId, ...] = ()

    @property
    def q_size(self) -> int:
        """Elements of one token's query: n_heads * head_dim. Need not equal hidden_size."""
        return self.n_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Elements of one token's key (and of its value): n_kv_heads * head_dim."""
        return self.n_kv_heads * self.head_dim

    def key(self, name: str) -> str:
        """A key of ``config.json`` as the file spells it that this record was read from; a shape and a GGUF differ."""
        return _OWN_KEYS.get(Path(self.source).suffix.lower(), {}).get(name, name)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head_dim % 2:
            raise inconsistent(
                "head_dim", f"is {self.head_dim}, expected an even number (RoPE rotates pairs)"
            )
        scaling = self.rope.scaling
        if isinstance(scaling, FactorScaling) and len(scaling.factors) != self.head_dim // 2:
            raise inconsistent(
                "rope.scaling.factors", f"has {len(scaling.factors)} numbers, expected {self.head_dim // 2}"
            )
        if self.n_heads % self.n_kv_heads:
            raise inconsistent(
                "num_key_value_heads",
                f"is {self.n_kv_heads}, which does not divide num_attention_heads {self.n_heads}",
            )
        if self.bos_token_id is not None and self.bos_token_id >= self.vocab_size:
            raise inconsistent(
                "bos_token_id", f"is {self.bos_token_id}, expected less than vocab_size {self.vocab_size}"
            )
        for token in self.eos_token_ids:
            if token >= self.vocab_size:
                raise inconsistent(
                    "eos_token_id", f"is {token}, expected less than vocab_size {self.vocab_size}"
                )
        return self


def read_config(path: str | Path) -> ModelConfig:
    """Resolve a checkpoint's ``config.json`` (``path`` is that file or its folder).

    Absent keys take the defaults of transformers' ``LlamaConfig``; the sizes have no default.
    ``eos_token_id`` of a ``generation_config.json`` beside it overrides.

    Raises:
        InputError: naming the file, the key and the value, for anything missing, ill-typed, inconsistent, or
            not modelled.
    """
    path = Path(path)
    source = path / "config.json" if path.is_dir() else path
    raw = read_json_object(source)
    refuse_unsupported(raw, _HfConfig.model_fields, source)
    try:
        hf = _HfConfig.model_validate(raw)
    except ValidationError as error:
        raise input_error(error, source) from None
    return _resolve(hf, raw, source)


def _as_tuple(value: object) -> object:
    """``eos_token_id`` may be one id, a list of them, or null."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class _HfConfig(BaseModel):
    """The keys of ``config.json`` that we read, typed; the names and the defaults are transformers'."""

    model_config = _RAW

    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    max_position_embeddings: Size
    rms_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    bos_token_id: TokenId | None = 1
    eos_token_id: Annotated[tuple[TokenId, ...], BeforeValidator(_as_tuple)] = (2,)
    rope_theta: PositiveFloat | None = None
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    original_max_position_embeddings: Size | None = None


class _HfRope(BaseModel):
    """The keys of ``rope_parameters`` or ``rope_scaling`` that a modelled RoPE type can have."""

    model_config = _RAW

    rope_type: Literal["default", "linear", "llama3"]
    rope_theta: PositiveFloat | None = None
    factor: Factor | None = None
    low_freq_factor: PositiveFloat | None = None
    high_freq_factor: PositiveFloat | None = None
    original_max_position_embeddings: Size | None = None


_ROPE_KEYS: Final = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def _resolve(hf: _HfConfig, raw: dict[str, Any], source: Path) -> ModelConfig:
    """Fill in what ``config.json`` leaves to convention; ``ModelConfig`` checks that it fits together."""
    head_dim = hf.head_dim
    if head_dim is None:
        head_dim, rest = divmod(hf.hidden_size, hf.num_attention_heads)
        if rest:
            raise InputError(
                f"is {hf.hidden_size}, not a multiple of num_attention_heads {hf.num_attention_heads}",
                source=source,
                key="hidden_size",
                hint="state head_dim, or correct one of the two",
            )
    eos = read_generation(source.parent).eos_token_id
    eos_source = source if eos is None else source.with_name(GENERATION_FILE)
    try:
        return ModelConfig(
            name=source.absolute().parent.name,
            vocab_size=hf.vocab_size,
            hidden_size=hf.hidden_size,
            intermediate_size=hf.intermediate_size,
            n_layers=hf.num_hidden_layers,
            n_heads=hf.num_attention_heads,
            n_kv_heads=hf.num_attention_heads if hf.num_key_value_heads is None else hf.num_key_value_heads,
            head_dim=head_dim,
            context=hf.max_position_embeddings,
            rms_norm_eps=hf.rms_norm_eps,
            rope=_resolve_rope(hf, source),
            tie_word_embeddings=hf.tie_word_embeddings,
            attention_bias=hf.attention_bias,
            mlp_bias=hf.mlp_bias,
            bos_token_id=hf.bos_token_id,
            eos_token_ids=hf.eos_token_id if eos is None else eos,
        ).read_from(source)
    except ValidationError as error:
        found = input_error(error, source)
        raise input_error(error, eos_source) if found.key == "eos_token_id" else found from None


def _resolve_rope(hf: _HfConfig, source: Path) -> RopeConfig:
    """One RoPE from today's ``rope_parameters``, or the older ``rope_theta`` and ``rope_scaling``."""
    if hf.rope_parameters and hf.rope_scaling and hf.rope_parameters != hf.rope_scaling:
        raise InputError(
            f"is {shown(hf.rope_scaling)}, but rope_parameters says {shown(hf.rope_parameters)}",
            source=source,
            key="rope_scaling",
            hint="keep one of the two",
        )
    section = "rope_parameters" if hf.rope_parameters else "rope_scaling"
    given = {
        key: value
        for key, value in (hf.rope_parameters or hf.rope_scaling or {}).items()
        if value is not None
    }
    for key, value in given.items():
        if isinstance(value, dict):
            raise InputError(
                f"is {shown(value)}: RoPE by layer type is not modelled",
                source=source,
                key=f"{section}.{shown_name(key)}",
            )

    old_type = given.pop("type", None)  # the older spelling of rope_type
    rope_type = given.setdefault("rope_type", "default" if old_type is None else old_type)
    if old_type is not None and old_type != rope_type:
        raise InputError(
            f"is {shown(old_type)}, but rope_type is {shown(rope_type)}", source=source, key=f"{section}.type"
        )
    if rope_type not in tuple(_ROPE_KEYS):
        raise InputError(
            f"is {shown(rope_type)}, which the chip does not model",
            source=source,
            key=f"{section}.rope_type",
            hint=f"modelled are {', '.join(_ROPE_KEYS)}",
        )
    partial = given.pop("partial_rotary_factor", 1)
    if partial != 1:
        raise InputError(
            f"is {shown(partial)}, expected 1: rotating a part of the head is not modelled",
            source=source,
            key=f"{section}.partial_rotary_factor",
        )
    allowed = (*_ROPE_KEYS[rope_type], "rope_type", "rope_theta")
    for key, value in given.items():
        if key not in allowed:
            raise InputError(
                f"is {shown(value)}, which has no meaning with rope_type {rope_type!r}",
                source=source,
                key=f"{section}.{shown_name(key)}",
            )
    if rope_type == "llama3":  # the one beside the dictionary counts first, then the model's own context
        beside = hf.original_max_position_embeddings
        inside = given.setdefault("original_max_position_embeddings", beside or hf.max_position_embeddings)
        if beside is not None and beside != inside:
            raise InputError(
                f"is {beside}, but {section} says {shown(inside)}, and programs differ on which one counts",
                source=source,
                key="original_max_position_embeddings",
                hint="keep one of the two",
            )
    for key in _ROPE_KEYS[rope_type]:
        if key not in given:
            raise InputError(
                f"is missing, rope_type {rope_type!r} needs it", source=source, key=f"{section}.{key}"
            )

    try:
        rope = _HfRope.model_validate(given)
        if None not in (rope.rope_theta, hf.rope_theta) and rope.rope_theta != hf.rope_theta:
            raise InputError(
                f"is {hf.rope_theta}, but {section}.rope_theta is {rope.rope_theta}",
                source=source,
                key="rope_theta",
            )
        theta = rope.rope_theta or hf.rope_theta or 10000.0
        if rope_type == "default":
            return RopeConfig(theta=theta)
        scaling = {
            key: value
            for key, value in rope.model_dump().items()
            if value is not None and key != "rope_theta"
        }
        return RopeConfig.model_validate({"theta": theta, "scaling": scaling})
    except ValidationError as error:
        raise input_error(error, source, section=section) from None
