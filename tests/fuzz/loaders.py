"""The table: every loader of files that others wrote."""

from __future__ import annotations

from typing import Final

from tests.fuzz import loads, seeds
from tests.fuzz.table import Loader

_JSON: Final = "etchproof.files.json_file"
_CHILD: Final = "etchproof.checkpoint.tokenizer_child:_Answers"
_ITEM: Final = {"item.json": "json", "comparison.json": "json"}

LOADERS: Final = (
    Loader(
        "checkpoint",
        seeds.checkpoint,
        {
            "model/config.json": "json",
            "model/generation_config.json": "json",
            "model/model.safetensors": "safetensors",
        },
        loads.checkpoint,
        (
            "etchproof.checkpoint.config:read_config",
            "etchproof.checkpoint.generation:read_generation",
            "etchproof.checkpoint.generation:generation_notes",
            *("etchproof.checkpoint.tensors:open_weights", "etchproof.checkpoint.tensors:WeightFiles._open"),
            *(
                "etchproof.checkpoint.folder:content_hash",
                "etchproof.checkpoint.safetensors_file:open_safetensors",
            ),
            *("etchproof.files.regular:open_regular", "etchproof.files.regular:check_regular"),
            *(f"{_JSON}:read_json_object", f"{_JSON}:read_json", f"{_JSON}:parse_json"),
        ),
        weight=3,
    ),
    Loader(
        "shards",
        seeds.shards,
        {
            "model/config.json": "json",
            "model/model.safetensors.index.json": "json",
            "model/model-00001-of-00002.safetensors": "safetensors",
        },
        loads.checkpoint,
        ("etchproof.checkpoint.tensors:_read_index",),
    ),
    Loader(
        "config",
        seeds.rope,
        {"config.json": "json"},
        loads.config,
        ("etchproof.checkpoint.config:read_config",),
        2,
    ),
    Loader(
        "tokenizer",
        seeds.tokenizer,
        {
            "tokenizer.json": "tokenizer",
            "tokenizer_config.json": "json",
            "special_tokens_map.json": "json",
            "added_tokens.json": "json",
        },
        loads.tokenizer,
        (
            *(
                "etchproof.checkpoint.tokenizer:Tokenizer.__init__",
                "etchproof.checkpoint.tokenizer:_companion",
            ),
            *(f"{_CHILD}.load", "etchproof.checkpoint.tokenizer_child:_json_object"),
            *("etchproof.contained.parent:Child.ask", "etchproof.contained.child:serve"),
            *("etchproof.files.regular:read_text", "etchproof.files.regular:read_bytes"),
        ),
        weight=0.7,  # each starts a process
    ),
    Loader(
        "adapter",
        seeds.adapter,
        {"adapter/adapter_config.json": "adapter", "adapter/adapter_model.safetensors": "safetensors"},
        loads.adapter,
        ("etchproof.adapter.config:read_adapter_config", "etchproof.adapter.load:_read_tensors"),
        weight=3,
    ),
    Loader(
        "project",
        seeds.copied("etchproof.toml"),
        {"etchproof.toml": "toml"},
        loads.project,
        ("etchproof.project.declaration:load_project",),
    ),
    Loader(
        "recipe",
        seeds.copied("models/recipes/w3w6a16.yaml"),
        {"w3w6a16.yaml": "yaml"},
        loads.recipe,
        (
            *("etchproof.quantize.recipe:load_recipe", "etchproof.files.yaml_file:read_yaml_record"),
            *(
                "etchproof.files.yaml_file:_read",
                "etchproof.files.yaml_file:_parse",
                "etchproof.files.documents:read_document",
            ),
        ),
        weight=2,
    ),
    Loader(
        "shape",
        seeds.copied("models/shapes/llama-3.2-1b.yaml"),
        {"llama-3.2-1b.yaml": "yaml"},
        loads.shape,
        ("etchproof.checkpoint.shape:load_shape",),
    ),
    Loader(
        "list",
        seeds.copied("ci/smoke.yaml"),
        {"smoke.yaml": "yaml"},
        loads.regression_list,
        ("etchproof.regress.spec:load_list",),
        weight=2,
    ),
    Loader(
        "gates",
        seeds.copied("verif/signoff.yaml"),
        {"signoff.yaml": "yaml"},
        loads.gates,
        ("etchproof.signoff.gates_file:read_gates",),
    ),
    Loader(
        "waivers",
        seeds.waivers,
        {"waivers.yaml": "yaml"},
        loads.waivers,
        ("etchproof.signoff.waivers:load_waivers",),
    ),
    Loader(
        "exclusions",
        seeds.copied("verif/coverage-exclusions.yaml"),
        {"coverage-exclusions.yaml": "yaml"},
        loads.exclusions,
        ("etchproof.coverage.exclusions:load_exclusions",),
    ),
    Loader(
        "testplan",
        seeds.copied("verif/testplan.hjson", "verif/testplan-adapters.hjson"),
        {"testplan.hjson": "hjson", "testplan-adapters.hjson": "hjson"},
        loads.testplan,
        ("etchproof.signoff.testplan:_read", "etchproof.files.documents:read_document"),
    ),
    Loader(
        "rom",
        seeds.rom,
        {"rom/manifest.json": "manifest"},
        loads.rom,
        ("etchproof.render.images:read_images", "etchproof.render.images:load_image"),
        weight=2,
    ),
    Loader(
        "coverage",
        seeds.coverage,
        {"coverage.dat": "text"},
        loads.coverage,
        ("etchproof.coverage.verilator:read",),
    ),
    Loader(
        "vectors",
        seeds.vectors,
        {"vectors.npy": "text"},
        loads.vectors,
        ("etchproof.host.stimulus:read_vectors",),
    ),
    Loader(
        "coverage-npz",
        seeds.coverage,
        {"coverage.npz": "npz"},
        loads.stored_coverage,
        ("etchproof.coverage.verilator:read", "etchproof.coverage.verilator:_array"),
    ),
    Loader(
        "functional",
        seeds.functional,
        {"functional.json": "json"},
        loads.functional,
        ("etchproof.coverage.functional:FunctionalCoverage.read",),
    ),
    Loader(
        "quantized",
        seeds.quantized,
        {"quantized/model.json": "json", "quantized/weights.safetensors": "safetensors"},
        loads.quantized,
        ("etchproof.quantize.store:load_quantized", "etchproof.quantize.store:read_arrays"),
    ),
    Loader(
        "quantized-adapter",
        seeds.quantized,
        {"adapter.safetensors": "safetensors"},
        loads.quantized_adapter,
        ("etchproof.quantize.adapter_store:load_quantized_adapter",),
    ),
    Loader(
        "item",
        seeds.item,
        _ITEM,
        loads.item,
        ("etchproof.regress.item:read_item", "etchproof.regress.item:_follows"),
    ),
    Loader("item-verified", seeds.item, _ITEM, loads.verified_item, ("etchproof.signoff.verify:_item",)),
    Loader(
        "comparison",
        seeds.item,
        {"comparison.json": "json"},
        loads.comparison,
        ("etchproof.verdict.judge:read_comparison",),
    ),
    Loader(
        "readback",
        seeds.item,
        {"readback.json": "json"},
        loads.readback,
        ("etchproof.run.testrun:read_readback",),
    ),
    Loader(
        "plan",
        seeds.regression,
        {"regression.json": "json"},
        loads.regression_plan,
        (
            "etchproof.regress.plan:RegressionPlan.read",
            "etchproof.files.json_record:read_json_record",
            "etchproof.files.json_record:parse_json_record",
        ),
    ),
    Loader(
        "signoff",
        seeds.signoff,
        {"signoff.json": "json"},
        loads.signoff,
        ("etchproof.signoff.result:read_result",),
    ),
    Loader(
        "build",
        seeds.simulator,
        {"build/build.json": "json"},
        loads.build_record,
        ("etchproof.sim.build:_load", "etchproof.verdict.judge:check_fabric"),
    ),
    Loader(
        "run-config",
        seeds.simulator,
        {"run_config.json": "json"},
        loads.run_config,
        ("etchproof.sim.child:run_config",),
    ),
    Loader(
        "progress",
        seeds.simulator,
        {"progress.jsonl": "text"},
        loads.progress,
        ("etchproof.sim.progress:ProgressReader.read", "etchproof.sim.progress:_event"),
    ),
    Loader(
        "results",
        seeds.simulator,
        {"results.xml": "xml"},
        loads.results,
        ("etchproof.sim.results:read_results",),
    ),
    Loader("lock", seeds.folders, {".lock.json": "json"}, loads.lock, ("etchproof.files.lock:_told",)),
    Loader("owner", seeds.folders, {"owner.json": "json"}, loads.owner, ("etchproof.signoff.run:_owner",)),
    Loader(
        "drawn",
        seeds.folders,
        {"drawn/synthetic.json": "json"},
        loads.drawn,
        ("etchproof.checkpoint.synthetic:_is_whole", "etchproof.checkpoint.synthetic:_sha256"),
    ),
    Loader(
        "directed",
        seeds.folders,
        {"directed.json": "json"},
        loads.directed,
        ("etchproof.cli.regress:_directed",),
    ),
    Loader(
        "fabric",
        seeds.sources,
        {"hw/ep_a.sv": "text", "hw/ep_b.sv": "text", "templates/x.sv.j2": "text"},
        loads.fabric,
        (
            *(
                "etchproof.render.templates:render",
                "etchproof.render.templates:_header",
                "etchproof.render.fabric:_sha256",
            ),
            *("etchproof.render.templates:_template", "etchproof.coverage.exclusions:source_lines"),
        ),
    ),
    Loader(
        "fabric-manifest",
        seeds.fabric_manifest,
        {"fabric.json": "json"},
        loads.fabric_manifest,
        ("etchproof.render.fabric:read_fabric", "etchproof.render.fabric:place_data"),
    ),
    Loader(
        "lint-waivers",
        seeds.sources,
        {"verilator.vlt": "text"},
        loads.lint_waivers,
        ("etchproof.render.lint:_text",),
    ),
)
