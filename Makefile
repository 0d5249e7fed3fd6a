# posecli's verbs. `make help` lists them; bare `make` checks and tests.

.DEFAULT_GOAL := all
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.posecli-setup
# The first interpreter that starts and is new enough (version managers leave shims that do not start).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
# One thread each: two threads on two busy cores are an order of magnitude slower than one.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: all help setup demo test check kernels fmt bench clean

all: check test

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install posecli with its development tools

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "posecli needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if command -v uv >/dev/null && UV_TORCH_BACKEND=auto UV_COMPILE_BYTECODE=1 \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	then true; else $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'; fi
	touch $@

demo: setup ## annotate the example clip: JSON, overlay video and contact sheet in demo/
	mkdir -p demo
	$(BIN)/posecli annotate examples/rendered_people.mp4 --out demo/poses.json --overlay demo/overlay.mp4 \
		--sheet demo/sheet.png --overwrite

test: setup ## run the fast tests (no network, no GPU)
	$(ONE_THREAD) $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

check: setup ## lint, formatting, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

kernels: setup ## compile the GPU kernels for Hopper, no GPU needed: registers, spills, what bounds the scan
	if $(BIN)/python -c 'import triton' 2>/dev/null; then $(BIN)/python tests/benchmarks/compile_kernels.py; \
	else echo "triton is not installed (Linux on x86-64 only): nothing compiled"; fi

fmt: setup ## format the code and apply safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## run the benchmarks that README quotes
	$(ONE_THREAD) $(BIN)/python tests/benchmarks/bench_scan.py
	$(ONE_THREAD) $(BIN)/python tests/benchmarks/bench_complexity.py glsmamba-s glsmamba-m glsmamba-b
	$(ONE_THREAD) $(BIN)/python tests/benchmarks/bench_packing.py
	$(ONE_THREAD) $(BIN)/python tests/benchmarks/bench_memory.py
	$(ONE_THREAD) $(BIN)/posecli bench
	$(ONE_THREAD) $(BIN)/python tests/benchmarks/bench_vitpose.py --rounds 1
	-$(BIN)/python tests/benchmarks/bench_threads.py
	-$(BIN)/python tests/benchmarks/bench_realtime.py

clean: ## remove the environment, caches and demo outputs
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find posecli tests -name __pycache__ -type d -prune -exec rm -rf {} +
