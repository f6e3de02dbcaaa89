# make demo: judge real pictures with the embedded critic
# make test: the whole default test suite (offline)
# make check: linters, types, import arrows, then the tests

PYTHON ?= python3
VENV ?= .venv
EXTRAS_DEV := llama,onnx,hf,serve,train,export,bench,docs,dev

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
LOCK := requirements.lock
# Where npm is, what judges in Node is tested, too.
NODE_STAMP := $(if $(shell command -v npm),js/node_modules/.installed clients/js/node_modules/.installed)
PARTS := runtime/edgecritic train/edgecritic_train export/edgecritic_export bench/edgecritic_bench

# The build of llama.cpp leaves out what Python never loads; see llama-lean.cmake.
export CMAKE_ARGS := $(CMAKE_ARGS) -DCMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/llama-lean.cmake

.DELETE_ON_ERROR:
.PHONY: help docs demo llama test lint check cover lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime-installed ## install, fetch the embedded critic's language model, judge pictures
	@$(BIN)/edgecritic models pull embedded
	@$(BIN)/edgecritic demo

llama: $(VENV)/.llama-installed ## add llama.cpp, compiled once: GGUF critics of any size, GPUs

test: $(VENV)/.dev-installed $(NODE_STAMP) ## the default test suite
	@$(BIN)/edgecritic models pull embedded
	$(BIN)/python -m pytest

cover: $(VENV)/.dev-installed $(NODE_STAMP) ## the test suite with the branch coverage of runtime/
	@$(BIN)/edgecritic models pull embedded
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

docs: $(VENV)/.dev-installed ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(VENV)/.dev-installed ## ruff, mypy, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PARTS) scripts
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

check: lint test ## everything that has to pass before a commit

lock: $(VENV)/.dev-installed ## write the installed versions to requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > $(LOCK)

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) js/node_modules clients/js/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache htmlcov .coverage
	find $(PARTS) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: pip runs only when the environment is new or what it must hold has changed.

# ONNX Runtime is prebuilt everywhere; llama.cpp would be compiled here.
$(VENV)/.runtime-installed: pyproject.toml $(LOCK) | $(BIN)/python
	$(PIP) -c $(LOCK) -e '.[onnx]'
	@touch $@

$(VENV)/.llama-installed: pyproject.toml $(LOCK) | $(BIN)/python
	@PYTHON=$(BIN)/python ./scripts/check-build-tools.sh
	$(PIP) -c $(LOCK) -e '.[llama]' || ./scripts/check-build-tools.sh explain
	@touch $@

$(VENV)/.dev-installed: pyproject.toml $(LOCK) | $(BIN)/python
	@PYTHON=$(BIN)/python ./scripts/check-build-tools.sh
	$(PIP) -c $(LOCK) -e '.[$(EXTRAS_DEV)]' || ./scripts/check-build-tools.sh explain
	@touch $@ $(VENV)/.runtime-installed $(VENV)/.llama-installed

# 43 packages of 474 MB. Without a network the tests that need them are skipped and say so, but not
# in CI. js/.npmrc leaves out install scripts: one of them would fetch CUDA libraries.
js/node_modules/.installed: js/package.json js/package-lock.json js/.npmrc
	@cd js && npm ci && touch node_modules/.installed || test -z "$$CI"

# axe-core, which looks for what keeps people from using the page.
clients/js/node_modules/.installed: clients/js/package.json clients/js/package-lock.json
	@cd clients/js && npm ci && touch node_modules/.installed || test -z "$$CI"

$(BIN)/python:
	@PYTHON=$(PYTHON) ./scripts/check-python.sh
	$(PYTHON) -m venv $(VENV)
