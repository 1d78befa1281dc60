# A fresh machine needs only Python 3.11 or newer, pip and make.
# Another Python beside it: make PYTHON=python3.11 VENV=.venv-oldest test-fast
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_FLAGS ?= -n auto --maxprocesses=8 --dist=worksteal
# What depends on the version of Python or of JAX: every operation, verb, error and public name.
FAST := tests/app tests/architecture tests/contraction tests/graph tests/ops tests/planning tests/sweeps \
	tests/test_docstrings.py tests/test_errors.py tests/test_verbs.py

.DEFAULT_GOAL := help
.PHONY: help setup test test-all test-fast format demo bench bench-minimise bench-torch calibrate corpus docs clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "nablax needs Python 3.11 or newer; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp file per installed set; a changed pyproject.toml installs anew.
$(VENV)/.setup: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[test,examples,docs]'
	@touch $@

$(VENV)/.models: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet -e '.[models]'
	@touch $@

$(VENV)/.bench: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	@touch $@

$(VENV)/.bench-torch: $(VENV)/.bench
	$(BIN)/python -m pip install --quiet -e '.[bench-torch]'
	@touch $@

setup: $(VENV)/.setup ## virtual environment with everything for tests, examples and docs

test: setup ## lint, format check, types, tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not exhaustive" $(PYTEST_FLAGS)

test-all: $(VENV)/.models ## every test, the exhaustive ones and those of other packages' models too
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-fast: setup ## types, and the fast tests of what depends on versions
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not exhaustive" $(PYTEST_FLAGS) $(FAST)

format: setup ## format, and fix what the linter can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: setup ## the main job on the digits example
	$(BIN)/nablax report examples/digits.py:loss

bench: $(VENV)/.bench ## all groups of benchmarks, into benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

bench-minimise: $(VENV)/.bench ## minimisers and line searches against their peers, into benchmarks/MINIMISE.md; resumes
	$(BIN)/python -m benchmarks.minimise

bench-torch: $(VENV)/.bench-torch ## the speed table with BackPACK (installs torch)
	$(BIN)/python -m benchmarks --group speed

calibrate: $(VENV)/.bench ## the cost model's rates of this device, into the package
	$(BIN)/python -m benchmarks.calibrate

corpus: setup ## the table of textbook formulas in the reference
	PYTHONPATH=tests $(BIN)/python -m corpus.table

docs: setup ## the documentation, into site/; its code is executed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove everything that was made
	rm -rf $(VENV) .venv-oldest site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
