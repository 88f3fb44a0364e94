# Every verb a person or a machine needs. `make` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-parts test-parts-told-at-once test-mesh test-slow lint types protos bench ci clean

# Tested beside the rest, which waits much of its time. No Ray is started here: two would be too many for one machine.
PARTS := tests/unit tests/properties tests/docs tests/recovery tests/security

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed ## make .venv with everything in it

$(VENV)/installed: pyproject.toml constraints/cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints/cpu.txt --upgrade pip
	$(BIN)/pip install --quiet $(PIP_ARGS) --constraint constraints/cpu.txt --editable ".[serve,ray]" --group dev
	@touch $@

demo: install ## run the main job: photographs found by sentences; an aligner fitted, used, rolled back
	$(BIN)/python -m tools.demo

# One thread for linear algebra: two that meet on a busy core wait for one another longer than either works.
test test-parts test-parts-told-at-once test-mesh test-slow: export OPENBLAS_NUM_THREADS = 1

test: install ## run the tests, half of them beside the other half
	$(MAKE) --no-print-directory --jobs 2 test-mesh test-parts-told-at-once

test-parts: install ## run the half that starts no Ray
	$(BIN)/pytest --durations 20 $(PARTS)

# Dots of two runs would mix.
test-parts-told-at-once: install
	@told=$$(mktemp); $(BIN)/pytest --durations 40 $(PARTS) >$$told 2>&1; ended=$$?; cat $$told; rm $$told; exit $$ended

test-mesh: install ## run the other half
	$(BIN)/pytest --durations 40 $(PARTS:%=--ignore %)

test-slow: install ## run the tests with their long variants (kills, soaks)
	ISTHMUS_TEST_LONG=1 $(BIN)/pytest --timeout 3600

lint: install ## check style, layers, protos and docstrings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against protos/baseline/v1.binpb

types: install ## check types
	$(BIN)/mypy

protos: ## generate protos/gen
	$(PYTHON) tools/gen_protos.py

bench: install ## measure, print, and append to docs/benchmarks.md
	$(BIN)/python -m tests.bench

ci: ## what runs on every submission
	bash .ci/run

clean: ## remove what was made, .venv included
	rm -rf .venv .venv-* build dist demo-out isthmus-data .mypy_cache .ruff_cache .pytest_cache .hypothesis
