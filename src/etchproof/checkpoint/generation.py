"""Which keys a ``generation_config.json`` may have: an allow-list, as ``config.json`` has one.

The chip computes logits and takes the most likely token. What ``transformers.generate`` does to logits before it
chooses is the host's, beside the chip, and no part of what is proven. So a key is read, or is without effect on a
greedy text, with the reason, or makes the host's text another one than the chip's own: then a line says so. Any other
key is refused by name unless it is null. docs/checkpoints.md is the same list for people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from etchproof.errors import InputError, shown, shown_name
from etchproof.files.json_file import read_json_object
from etchproof.files.regular import exists
from etchproof.files.validation import input_error

GENERATION_FILE: Final = "generation_config.json"

TokenId = Annotated[int, Field(ge=0, lt=2**24)]

_SAMPLING: Final = "sampling is the host's: the chip takes the most likely token"
_LENGTH: Final = "how long a text gets is `--tokens`"
_BEAMS: Final = "counts with several beams alone"
_SPECULATION: Final = "guesses tokens ahead, which count only where the model chooses the same"
_OUTPUT: Final = "says what is returned, not what is computed"
_SPEED: Final = "is another order of the same sums, or says where they are made"
_SAME_ORDER: Final = "leaves the most likely token the most likely"
_LABEL: Final = "is a label"

NO_EFFECT: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff"),
            *("eta_cutoff", "num_return_sequences"),
        ),
        _SAMPLING,
    ),
    **dict.fromkeys(("max_length", "max_new_tokens", "max_time"), _LENGTH),
    **dict.fromkeys(
        ("length_penalty", "early_stopping", "num_beam_groups", "diversity_penalty", "low_memory"), _BEAMS
    ),
    **dict.fromkeys(
        (
            *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "use_mtp"),
            *("assistant_confidence_threshold", "assistant_early_exit", "assistant_lookbehind"),
            *("target_lookbehind", "prompt_lookup_num_tokens", "max_matching_ngram_size", "speculation_type"),
        ),
        _SPECULATION,
    ),
    **dict.fromkeys(
        (
            "output_attentions",
            "output_hidden_states",
            "output_logits",
            "output_scores",
            "return_dict_in_generate",
        ),
        _OUTPUT,
    ),
    **dict.fromkeys(
        (
            *("use_cache", "max_cache_len", "compile_config", "disable_compile", "prefill_chunk_size"),
            "continuous_batching_config",
        ),
        _SPEED,
    ),
    **dict.fromkeys(("renormalize_logits",), _SAME_ORDER),
    **dict.fromkeys(("remove_invalid_values",), "the chip's logits are integers: none is NaN or infinite"),
    **dict.fromkeys(("pad_token_id",), "fills batches, and the chip has one sequence at a time"),
    **dict.fromkeys(("decoder_start_token_id",), "is an encoder's: a decoder alone starts from its prompt"),
    **dict.fromkeys(("transformers_version", "_from_model_config", "_commit_hash"), _LABEL),
}
"""Keys without effect on a greedy text, each with the reason."""

_CACHES: Final = ("dynamic", "dynamic_full", "static", "offloaded", "offloaded_static")

HOSTS: Final[dict[str, tuple[object, ...]]] = {
    "repetition_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "force_words_ids": ([],),
    "constraints": ([],),
    "sequence_bias": ({}, []),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1,),
    "watermarking_config": (),
    "num_beams": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "token_healing": (False,),
    "stop_strings": ([],),
    "assistant_ensemble_weight": (),
    "cache_implementation": _CACHES,
    "cache_config": ({},),
}
"""Keys that make another greedy text, with the values beside null that do not: a line says of any other value."""


def _as_tuple(value: object) -> object:
    """``eos_token_id`` may be one id, a list of them, or null."""
    if value is None:
        return None
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class Generation(BaseModel):
    """The keys of ``generation_config.json`` that we read, typed; None: it does not say."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    bos_token_id: TokenId | None = None
    eos_token_id: Annotated[tuple[TokenId, ...] | None, BeforeValidator(_as_tuple)] = None


def read_generation(folder: Path) -> Generation:
    """What a checkpoint's ``generation_config.json`` says of BOS and EOS; nothing where there is none.

    Raises:
        InputError: it is bad, or has a key that is not known.
    """
    source = folder / GENERATION_FILE
    if not exists(source):
        return Generation()
    raw = read_json_object(source)
    known = {*Generation.model_fields, *NO_EFFECT, *HOSTS}
    for key, value in raw.items():
        if value is not None and key not in known:
            raise InputError(
                f"is {shown(value)}, a key that Etchproof does not know: it may change which tokens are chosen",
                source=source,
                key=shown_name(key),
                hint="remove it if it is without effect on a greedy text",
            )
    try:
        return Generation.model_validate(raw)
    except ValidationError as error:
        raise input_error(error, source) from None


def generation_notes(folder: Path, bos_token_id: int | None) -> tuple[str, ...]:
    """Where the host would make another text than the chip, a line each.

    Args:
        bos_token_id: of ``config.json``.

    Raises:
        InputError: as ``read_generation``.
    """
    found = read_generation(folder)
    said = []
    if found.bos_token_id is not None and found.bos_token_id != bos_token_id:
        said.append(
            f"{GENERATION_FILE} has bos_token_id {found.bos_token_id}, config.json has bos_token_id {bos_token_id}, "
            "which an empty prompt is"
        )
    raw: dict[str, Any] = (
        read_json_object(folder / GENERATION_FILE) if exists(folder / GENERATION_FILE) else {}
    )
    given = [
        f"{key} {shown(raw[key])}"
        for key, neutral in HOSTS.items()
        if raw.get(key) is not None and raw[key] not in neutral
    ]
    if given:
        said.append(
            f"{GENERATION_FILE} has {', '.join(given)}: the host's, beside the chip, so transformers.generate may "
            "write another text than the chip's own"
        )
    return tuple(said)
