# Everything a contributor types. `make setup` needs Python >= 3.11 and make, nothing else.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
HOME_DIR ?= $(CURDIR)/.home
TESTS ?= tests
SLOWEST := --durations=20 --durations-min=20
# Who names tests may name none that are alone, or none that are not: pytest says so with 5.
MAYBE_NONE := $(if $(filter-out tests,$(TESTS)),|| [ $$? -eq 5 ])
# Tests wait for half of their time: one worker more than there are processors, but no more than four.
WORKERS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 1 : 4)))
PYTEST_OPTIONS ?= -n $(WORKERS) --dist loadfile

.PHONY: help setup quickstart test system check fix dev sim mutations kill bench heavy docs lock clean

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: ## the development environment in .venv (nothing to do the second time)
	@PYTHON=$(PYTHON) tools/setup.sh

quickstart: ## from nothing to a trained, deployed, answering model
	@began=$$(date +%s.%N); $(MAKE) --no-print-directory setup && QUICKSTART_BEGAN=$$began $(BIN)/python examples/quickstart.py

test: setup ## all tests but the slow ones
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not slow and not gpu" $(TESTS)

system: setup ## the slow tests: whole installations, real jobs, kills
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "slow and not gpu and not alone" $(SLOWEST) $(TESTS) $(MAYBE_NONE)
	$(BIN)/python -m pytest -m "slow and not gpu and alone" $(SLOWEST) $(TESTS) $(MAYBE_NONE)

check: setup ## style, types, directions of imports, shape, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q -m "not slow" tests/docs

fix: setup ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dev: setup ## an installation in .home, in the foreground
	$(BIN)/um up --home $(HOME_DIR)

sim: setup ## the simulation tests with many seeds: make sim N=500
	ULTRAMARINE_TEST_SEEDS=$(or $(N),200) $(BIN)/python -m pytest $(PYTEST_OPTIONS) tests/simulation

mutations: setup ## break the core on purpose: each break must turn a simulated seed red
	$(BIN)/python -m tests.simulation.mutations

kill: setup ## kill -9 of each part, many times, then storms over all: make kill KILLS=50 CHAOS_JOBS=300 CHAOS_S=900
	ULTRAMARINE_KILLS=$(or $(KILLS),20) $(BIN)/python -m pytest -s tests/e2e/test_kills.py tests/e2e/test_endpoints.py
	ULTRAMARINE_CHAOS_JOBS=$(or $(CHAOS_JOBS),300) ULTRAMARINE_CHAOS_S=$(or $(CHAOS_S),900) $(BIN)/python -m pytest -s tests/e2e/test_chaos.py tests/e2e/test_chaos_on_fleet.py tests/e2e/computes/test_chaos_on_ray.py

bench: setup ## the figures of the main path, each beside its peer, kept in benchmarks/RESULTS.md (about five minutes)
	$(BIN)/python -m benchmarks --keep

heavy: setup ## the long figures: 100,000 jobs on 10,000 nodes, 1,000 no-op jobs on four nodes, Ray, the gateway beside other proxies, endpoints from no replica, the scoring server beside others, builds of environments beside pip (about two hours)
	$(BIN)/python -m benchmarks.growth --keep
	$(BIN)/python -m benchmarks.four_nodes --keep
	$(BIN)/python -m benchmarks.on_ray --keep
	$(BIN)/python -m benchmarks.gateway --keep
	$(BIN)/python -m benchmarks.from_zero --keep
	$(BIN)/python -m benchmarks.environments --keep
	$(BIN)/python -m benchmarks.instances --keep
	$(BIN)/python -m benchmarks.serving --keep

docs: setup ## write the generated pages of docs/reference
	@for tool in tools/write_*_reference.py; do $(BIN)/python "$$tool" || exit 1; done

lock: setup ## lock requirements/*.in anew (OPTIONS=--upgrade for newer versions)
	tools/lock_requirements.sh $(OPTIONS)

clean: ## remove what can be made again
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
