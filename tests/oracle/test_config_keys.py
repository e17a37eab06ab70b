"""The allow-list of ``config.json`` knows every key that the installed transformers knows."""

from __future__ import annotations

import dataclasses

import pytest

from etchproof.checkpoint import config as ours
from etchproof.checkpoint.unsupported import JUDGED, NO_EFFECT
from tests.oracle.config_keys import BUILDERS, keys_read, sources

transformers = pytest.importorskip("transformers")

READ = set(ours._HfConfig.model_fields)
KNOWN = {*READ, *JUDGED, *NO_EFFECT}
ROPE = {*ours._HfRope.model_fields, "partial_rotary_factor", "type"}

# What the sources read off something called a config, and no config.json sets. Each with its reason.
NOT_IN_THE_FILE: dict[str, tuple[str, ...]] = {
    "an argument of from_pretrained, popped before config.json is read": (
        *(
            "_configuration_file",
            "_from_auto",
            "_from_pipeline",
            "cache_dir",
            "commit_message",
            "force_download",
        ),
        *(
            "local_files_only",
            "proxies",
            "repo_id",
            "return_unused_kwargs",
            "revision",
            "token",
            "trust_remote_code",
        ),
    ),
    "a record of how to load weights (LoadStateDictConfig), or of an adapter or a quantizer": (
        *("base_model_name_or_path", "disable_mmap", "disk_offload_folder"),
        *("dtype_plan", "hf_quantizer", "ignore_mismatched_sizes", "is_quantized", "offload_buffers"),
        *("pretrained_model_name_or_path", "sharded_metadata", "weight_mapping", "weights_only"),
    ),
    "another model's: nothing on the way to a Llama's logits reads it": (
        *("embed_dim", "features_only", "in_channels", "kv_sharing_modes", "num_channels", "num_heads"),
        *(
            "number_of_conv_states",
            "out_indices",
            "patch_size",
            "temporal_patch_size",
            "token_classification_bias",
        ),
        "unpadded_vocab_size",
    ),
    "a name within Python": (
        *("__class__", "__dict__", "__doc__", "_post_init_done", "sanitize_kernel_mapping", "setter"),
        *("create_compatible_mapping", "is_heterogeneous"),
    ),
}
EXCUSED = {key for keys in NOT_IN_THE_FILE.values() for key in keys}


def is_python(name: str) -> bool:
    """A method of the configuration class or of a dictionary: no attribute that a file could set to a value."""
    return callable(getattr(transformers.LlamaConfig, name, None)) or callable(getattr(dict, name, None))


def test_every_field_of_the_class() -> None:
    named = {field.name for field in dataclasses.fields(transformers.LlamaConfig)}
    written = set(transformers.LlamaConfig().to_dict())
    mapped = {*transformers.LlamaConfig.attribute_map, *transformers.LlamaConfig.attribute_map.values()}
    assert len(named) > 20
    assert not (named | written | mapped) - KNOWN


def test_every_generation_key_that_a_config_may_carry() -> None:
    popped = set(transformers.GenerationConfig._get_default_generation_params())
    assert len(popped) > 20
    assert not popped - KNOWN


def test_every_key_that_the_sources_read() -> None:
    unknown: dict[str, list[str]] = {}
    seen = 0
    for name, text in sources():
        for key in keys_read(text, builder=name in BUILDERS):
            seen += 1
            if key not in KNOWN | EXCUSED | ROPE and not is_python(key):
                unknown.setdefault(key, []).append(name)
    assert seen > 200
    assert not unknown


def test_every_key_of_a_rope_dictionary() -> None:
    """RoPE's own keys are an allow-list by type; here, that none has come to the types that we model."""
    mixin = transformers.modeling_rope_utils.RotaryEmbeddingConfigMixin
    config = transformers.LlamaConfig()
    for kind, keys in ours._ROPE_KEYS.items():
        sizes = {"factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        given = {key: sizes.get(key, 16) for key in keys} | {"rope_type": kind, "rope_theta": 1e4}
        allowed: set[str] = set()

        class Spy(mixin):  # type: ignore[misc,valid-type]
            max_position_embeddings = config.max_position_embeddings

            @staticmethod
            def _check_received_keys(
                rope_type: str,
                received: set[str],
                required: set[str],
                optional: set[str] | None = None,
                **_: object,
            ) -> None:
                allowed.update(required, optional or set())  # noqa: B023  # called in this turn of the loop

        getattr(Spy(), f"_validate_{kind}_rope_parameters")(given)
        assert allowed and not allowed - {*keys, "rope_type", "rope_theta", "partial_rotary_factor"}, kind


def test_no_excuse_is_idle() -> None:
    """An excuse for what no source reads any more, or for what is in the table, goes."""
    read = set().union(*(keys_read(text, builder=name in BUILDERS) for name, text in sources()))
    assert not EXCUSED - read
    assert not EXCUSED & KNOWN
    assert not READ & set(NO_EFFECT)


NEW = """
def f(self, config, kwargs):
    a, b = config.one, getattr(self.config, "two", 0)
    return config["three"], "four" in config_dict, kwargs.pop("five"), getattr(self, "six")
"""


def test_a_new_key_is_seen() -> None:
    assert keys_read(NEW, builder=True) == {"one", "two", "three", "four", "five", "six"}
    assert keys_read(NEW, builder=False) == {"one", "two", "three", "four"}
