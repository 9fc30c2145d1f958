# Everything a newcomer needs; `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install train test test-slow test-faults test-gpu lint type format bench bench-gpu bench-scale clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade --quiet pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $(READY)

install: $(READY)  ## make .venv and install the library with what development needs

train: $(READY)  ## train PMNAR, then plain cross-entropy, on the bundled digits (ARGS= for overrides)
	$(BIN)/python -m src.train compare=ce $(ARGS)

test: $(READY) lint type  ## lint, types and all quick tests, two at a time
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(READY)  ## the tests that take minutes
	$(BIN)/python -m pytest -m 'slow and not faults'

test-faults: $(READY)  ## kill a run 30 times, some of them inside a checkpoint's write, and resume it
	$(BIN)/python -m pytest -m faults -s tests/faults

test-gpu: $(READY)  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

lint: $(READY)  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY)  ## mypy --strict
	$(BIN)/mypy

format: $(READY)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## what training costs, as ratios within one run: an hour on two quiet cores
	$(BIN)/python -m benchmarks.counts
	$(BIN)/python -m benchmarks.views
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.epoch

bench-gpu: $(READY)  ## the same on a GPU, ten minutes a call; call again to go on
	$(BIN)/python -m benchmarks.gpu

bench-scale: $(READY)  ## what the bookkeeping between epochs costs up to 28 million samples
	$(BIN)/python -m benchmarks.scale

clean:  ## remove the environment and caches; runs/ and data/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
