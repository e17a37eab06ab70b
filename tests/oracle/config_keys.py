"""Which keys of ``config.json`` the installed transformers knows: from its classes, and from its sources.

A key counts as soon as code on the way to a Llama's logits reads it off a configuration: ``config.key``,
``getattr(config, "key")``, ``config["key"]``, ``"key" in config``, and ``kwargs.pop("key")`` where the
configuration is built.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SOURCES: Final = (
    "configuration_utils.py",
    "modeling_utils.py",
    "modeling_rope_utils.py",
    "modeling_layers.py",
    "masking_utils.py",
    "cache_utils.py",
    "core_model_loading.py",
    "conversion_mapping.py",
    "fusion_mapping.py",
    "activations.py",
    "initialization.py",
    "integrations/heterogeneity/configuration_utils.py",
    "integrations/sdpa_attention.py",
    "models/auto/auto_factory.py",
    "models/auto/configuration_auto.py",
    "models/llama/configuration_llama.py",
    "models/llama/modeling_llama.py",
)
BUILDERS: Final = ("configuration_utils.py", "modeling_rope_utils.py")
"""Where ``self`` is a configuration, and ``kwargs`` holds keys of the file."""


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of each of ``SOURCES`` that this version of transformers has."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None
    for name in SOURCES:
        path = Path(spec.origin).parent / name
        if path.exists():
            yield name, path.read_text(encoding="utf-8")


def keys_read(text: str, *, builder: bool) -> set[str]:
    """The keys that a source reads off a configuration."""
    return {key for node in ast.walk(ast.parse(text)) if (key := _key(node, builder)) is not None}


def _key(node: ast.AST, builder: bool) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr if _is_config(node.value) else None
    if isinstance(node, ast.Subscript):
        return _text(node.slice) if _is_config(node.value) else None
    if isinstance(node, ast.Compare):
        return _text(node.left) if any(_is_config(side) for side in node.comparators) else None
    if not isinstance(node, ast.Call) or not node.args:
        return None
    function, first = node.func, node.args[0]
    if isinstance(function, ast.Name) and function.id in ("getattr", "hasattr") and len(node.args) > 1:
        return _text(node.args[1]) if _is_config(first) or (builder and _named(first, "self")) else None
    if isinstance(function, ast.Attribute) and function.attr in ("get", "pop"):
        holder = function.value
        return _text(first) if _is_config(holder) or (builder and _named(holder, "kwargs")) else None
    return None


def _is_config(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id.endswith(("config", "config_dict"))
    if isinstance(node, ast.Attribute):
        return node.attr.endswith("config") and node.attr != "generation_config"
    return isinstance(node, ast.Call) and _named(node.func, "get_text_config")


def _named(node: ast.AST, name: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (
        isinstance(node, ast.Attribute) and node.attr == name
    )


def _text(node: Any) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
