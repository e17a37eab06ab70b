"""Which linears of a Llama an adapter adapts, at which rank and alpha: PEFT's rules, on this architecture's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from etchproof.adapter.config import AdapterConfig, Names
from etchproof.adapter.expressions import (
    ANY_LAYER,
    Expression,
    Found,
    layer_expression,
    match,
    module_expression,
    pattern_expression,
)
from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.linears import LINEARS
from etchproof.checkpoint.tensors import expected_tensors
from etchproof.errors import InputError, shown, shown_name

Predicate = Callable[[str], bool]
V = TypeVar("V")

ALL_LINEAR: Final = "all-linear"  # in place of an expression, in any case: every linear of the decoder layers

_ETCHED: Final = {"lm_head": "the LM head", "model.embed_tokens": "the embedding"}


@dataclass(frozen=True)
class Linear:
    """One linear of a decoder layer, in the base model: ``module`` is Hugging Face's name, ``linear`` the tap's."""

    module: str
    layer: int
    linear: str
    out_features: int
    in_features: int


@dataclass(frozen=True)
class Target:
    """One adapted linear."""

    linear: Linear
    r: int
    alpha: float

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """PEFT's names of A and B, in this order, with shapes: (r, in_features) and (out_features, r)."""
        prefix = f"base_model.model.{self.linear.module}"
        return {
            f"{prefix}.lora_A.weight": (self.r, self.linear.in_features),
            f"{prefix}.lora_B.weight": (self.linear.out_features, self.r),
        }


def decoder_linears(model: ModelConfig) -> dict[str, Linear]:
    """The linears that can be adapted, by module name, in dataflow order."""
    found: dict[str, Linear] = {}
    for name, shape in expected_tensors(model).items():
        module, _, kind = name.rpartition(".")
        linear = module.rpartition(".")[2]
        if kind == "weight" and linear in LINEARS:
            found[module] = Linear(module, int(module.split(".")[2]), linear, *shape)
    return found


def module_names(model: ModelConfig) -> tuple[str, ...]:
    """Every module of transformers' ``LlamaForCausalLM``, also those that no adapter can adapt."""
    names = {"model.rotary_emb": None, "lm_head": None}
    for tensor in expected_tensors(model):
        parts = tensor.split(".")[:-1]
        names |= dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    names |= {f"model.layers.{layer}.mlp.act_fn": None for layer in range(model.n_layers)}
    return tuple(names)


def resolve_targets(
    config: AdapterConfig, model: ModelConfig, source: Path, max_rank: int | None = None
) -> list[Target]:
    """The adapted linears in dataflow order, each with its rank and alpha.

    Raises:
        InputError: the config adapts no linear, or something that is none, or at a rank above ``max_rank``; or its
            expressions take too long.
    """
    found = _match_all(config, module_names(model), source)
    rank_of = _lookup(config.rank_pattern, "rank_pattern", config.r, "r", found)
    alpha_of = _lookup(config.alpha_pattern, "alpha_pattern", config.lora_alpha, "lora_alpha", found)
    targets = []
    for linear in _adapted_linears(config, model, found, source):
        r, key = rank_of(linear.module)
        if max_rank is not None and r > max_rank:
            raise InputError(
                f"is {r} for {linear.module}, above the chip's maximum rank of {max_rank}",
                source=source,
                key=key,
            )
        targets.append(Target(linear, r, alpha_of(linear.module)[0]))
    return targets


def _adapted_linears(config: AdapterConfig, model: ModelConfig, found: Found, source: Path) -> list[Linear]:
    linears = decoder_linears(model)
    everything = isinstance(config.target_modules, str) and config.target_modules.lower() == ALL_LINEAR
    targeted = linears.__contains__ if everything else _selector(config.target_modules, found)
    excluded, in_layers = _selector(config.exclude_modules, found), _layer_filter(config, found)

    def refusal(problem: str, hint: str | None = None) -> InputError:
        written = (
            config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules)
        )
        return InputError(f"is {shown(written)}, {problem}", source=source, key="target_modules", hint=hint)

    adapted = []
    for name in module_names(model):
        in_full = not isinstance(config.target_modules, str) and name in config.target_modules
        if not targeted(name) or excluded(name) or not (in_full or in_layers(name)):
            continue
        if name in _ETCHED:
            raise refusal(
                f"which targets {name}: {_ETCHED[name]} is etched, an adapter on it is not modelled"
            )
        if name not in linears:
            raise refusal(f"which targets {name} too, and that is no linear of a decoder layer")
        if not in_layers(name):  # PEFT heeds the one or the other, depending on how long the list is
            raise refusal(f"which names {name} in full, but layers_to_transform leaves that layer out")
        adapted.append(linears[name])
    if not adapted:
        raise refusal(
            f"which adapts no linear of {model.name}",
            hint="exclude_modules and layers_to_transform count too",
        )
    return adapted


def _match_all(config: AdapterConfig, names: Sequence[str], source: Path) -> Found:
    """Every expression of the config on every module's name, in one go."""
    expressions = [
        *(
            module_expression(text)
            for text in (config.target_modules, config.exclude_modules)
            if isinstance(text, str)
        ),
        *(pattern_expression(key) for key in (*config.rank_pattern, *config.alpha_pattern)),
        *(_layer_lists(config) if config.layers_to_transform else ()),
    ]
    return match(list(dict.fromkeys(expressions)), names, source)


def _selector(names: Names, found: Found) -> Predicate:
    """Whether a module's name matches an expression in full, or is one of the names or ends with one after a dot."""
    if isinstance(names, str):
        return found[module_expression(names)].__contains__
    suffixes = tuple(f".{name}" for name in names)
    return lambda name: name in names or name.endswith(suffixes)


def _layer_lists(config: AdapterConfig) -> list[Expression]:
    return [layer_expression(pattern) for pattern in config.layers_pattern] or [ANY_LAYER]


def _layer_filter(config: AdapterConfig, found: Found) -> Predicate:
    """Whether ``layers_to_transform`` lets a module be; one outside every layer is let be only if it is empty."""
    layers = config.layers_to_transform
    if not layers:
        return lambda name: True
    expressions = _layer_lists(config)

    def in_layers(name: str) -> bool:
        index = next((found[one][name] for one in expressions if name in found[one]), "")
        return index != "" and int(index) in layers

    return in_layers


def _lookup(
    patterns: Mapping[str, V], section: str, default: V, default_key: str, found: Found
) -> Callable[[str], tuple[V, str]]:
    """The value for a module, and the key in the file that says so: the first pattern that fits, else the default."""
    fits = [
        (found[pattern_expression(key)], f"{section}.{shown_name(key)}", value)
        for key, value in patterns.items()
    ]

    def look_up(module: str) -> tuple[V, str]:
        fitting = ((value, key) for names, key, value in fits if module in names)
        return next(fitting, (default, default_key))

    return look_up
