# Etchproof: everything a person or CI runs. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
# Tests side by side: every core, at most four (each simulator build wants about a gigabyte).
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
# In CI a skipped test is a failure.
STRICT := $(if $(filter true 1,$(CI)),--strict-skips)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  %-10s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## make .venv from ci/constraints.txt (quick when up to date)
	@ci/setup.sh

.PHONY: demo
demo: setup ## prove the small reference chip on one prompt, then sign it off at V1: runs/demo/report.html
	$(BIN)/etchproof cosim models/tiny --prompt "Once upon a time" --tokens 48
	@rm -rf runs/demo
	$(BIN)/etchproof signoff models/tiny --stage V1 --out runs/demo

.PHONY: test
test: setup ## run every test but the long suites (JOBS=n at once; CI=true: a skip fails)
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(STRICT) $(ARGS)

.PHONY: bench
bench: setup ## measure, write bench/results.json and docs/performance.md (FIGURES="cosim linear"; fails on a missed target)
	$(BIN)/python -m bench $(FIGURES)

.PHONY: static
static: setup ## format, lint and types of the Python (what CI runs beside the tests)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@for chip in classifier serial; do (cd examples/$$chip && \
		../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache/$$chip *.py) || exit 1; done

.PHONY: check
check: static ## format, lint, types and unit tests, without a simulator
	$(BIN)/python -m pytest -n $(JOBS) -m "not sim and not slow" -q $(ARGS)

.PHONY: docs
docs: setup ## build the site of docs/ in docs/_site; a warning fails it
	@$(BIN)/python -m pip install -q -c ci/constraints.txt -c ci/constraints-docs.txt -e '.[docs]'
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_site

.PHONY: lint
lint: static lint-rtl ## format, lint and types of the Python, lint of the RTL

# Rendered for four configurations: the shipped model, every odd case at once, stories260K's shape, no slots for adapters.
RTL_LINTED := models/tiny:w6a16 hw/lint/configurations/awkward:hw/lint/configurations/awkward/mixed.yaml \
	hw/lint/configurations/stories260k:w3w6a16 \
	hw/lint/configurations/stories260k:hw/lint/configurations/stories260k/no-lora.yaml

.PHONY: lint-rtl
lint-rtl: setup ## lint rendered chips with Verilator, Verible and slang
	$(BIN)/python -m etchproof.cli.lint $(RTL_LINTED)

.PHONY: format
format: setup ## format Python and hw/, apply the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m etchproof.cli.lint --format

.PHONY: clean
clean: ## remove build outputs and caches (keeps .venv and runs/)
	rm -rf build dist sim_build obj_dir .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
