"""What an ``adapter_config.json`` may say that etched weights cannot follow: refused by name, with the reason.

A LoRA variant that is newer than these tables shows as a key they do not hold. Unless its value is empty it is
refused, as nobody can say that it leaves the arithmetic alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError, shown, shown_name
from etchproof.files.validation import refuse_unless_neutral

_BASE_CLASS: Final = "LlamaForCausalLM"
_EMBEDDING: Final = "the embedding is etched, an adapter cannot change it"

# key -> (values that leave the arithmetic alone, beside null; what any other would mean)
_NEUTRAL: Final[dict[str, tuple[tuple[object, ...], str]]] = {
    "task_type": (("CAUSAL_LM",), "the chip generates text, the only task is 'CAUSAL_LM'"),
    "bias": (("none",), "the base model's biases are etched, an adapter cannot change them"),
    "lora_bias": ((False,), "a bias on the adapter's own product is not modelled"),
    "use_dora": ((False,), "DoRA rescales the base weights, which are etched"),
    "modules_to_save": (([],), "it replaces whole modules of the base model, which are etched"),
    "trainable_token_indices": (([], {}), _EMBEDDING),
    "layer_replication": (([],), "the layers are etched in their order, none can be repeated"),
    "fan_in_fan_out": ((False,), "a Llama's weights are (out_features, in_features)"),
    "loftq_config": (({},), "LoftQ changes the base weights, which are etched"),
    "target_parameters": (([],), "an adapter on a bare parameter is not modelled, only on linears"),
    "alora_invocation_tokens": (
        (),
        "an adapter that begins in the midst of a sequence (aLoRA) is not modelled",
    ),
    "arrow_config": ((), "routing among adapters (Arrow) is not modelled"),
    "kasa_config": ((), "KaSA truncates the base weights, which are etched"),
    "megatron_config": (({},), "Megatron's parallel linears are not modelled"),
    "monteclora_config": ((), "sampled adapters (MonteCLoRA) are not modelled"),
    "use_bdlora": ((), "block-diagonal adapters (BD-LoRA) are not modelled"),
    "use_qalora": ((False,), "pooling the adapter's inputs (QALoRA) is not modelled"),
    "velora_config": ((), "VeLoRA is not modelled"),
}

# Training, provenance, and settings of what is refused above or of an initialization that is over.
_HARMLESS: Final = (
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
)

KNOWN_KEYS: Final = frozenset({*_NEUTRAL, *_HARMLESS, "auto_mapping", "init_lora_weights", "peft_type"})
"""Every key that is judged here; ``AdapterConfig`` reads the others."""

_INITS: Final = ("gaussian", "eva", "orthogonal", "mica")  # of A and B alone; beside true and false
_INITS_OF_BASE: Final = ("pissa", "olora", "corda", "lora_ga", "loftq")  # "pissa_niter_4" too


def refuse_unsupported(raw: dict[str, Any], read_keys: Collection[str], source: Path) -> None:
    """Raise ``InputError`` at the first key that asks for what cannot run beside etched weights.

    Args:
        raw: the object in ``adapter_config.json``.
        read_keys: the keys that ``AdapterConfig`` reads and checks.
    """
    if raw.get("peft_type") != "LORA":
        found = f"is {shown(raw['peft_type'])}" if "peft_type" in raw else "is missing"
        raise InputError(
            f"{found}, expected 'LORA'", source=source, key="peft_type", hint="LoRA only is modelled"
        )
    _refuse_initialization(raw.get("init_lora_weights"), source)
    refuse_unless_neutral(raw, _NEUTRAL, source)

    mapping = raw.get("auto_mapping")  # PEFT writes it where there is no task_type
    if mapping is not None:
        base_class = mapping.get("base_model_class") if isinstance(mapping, dict) else None
        if base_class != _BASE_CLASS:
            raise InputError(
                f"is {shown(mapping)}, expected base_model_class '{_BASE_CLASS}': the adapter is another model's",
                source=source,
                key="auto_mapping",
            )
    for key, value in raw.items():
        empty = value is None or value is False or value in ("", [], {})
        if not empty and key not in KNOWN_KEYS and key not in read_keys:
            raise InputError(
                f"is {shown(value)}, a key that Etchproof does not know: it may change what the adapter computes",
                source=source,
                key=shown_name(key),
            )


def _refuse_initialization(value: object, source: Path) -> None:
    """PiSSA and its like move a part of the base weights into the adapter: it fits no other base weights."""
    if value is None or isinstance(value, bool):
        return
    name = value.lower() if isinstance(value, str) else ""
    if name in _INITS:
        return
    hint = None
    if name.startswith(_INITS_OF_BASE):
        problem = "which changes the base weights, and they are etched"
        if not name.startswith("loftq"):
            hint = "PEFT's save_pretrained with path_initial_model_for_weight_conversion makes it plain LoRA"
    else:
        problem = "an initialization that Etchproof does not know: it may change the base weights"
    raise InputError(f"is {shown(value)}, {problem}", source=source, key="init_lora_weights", hint=hint)
