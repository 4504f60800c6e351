# `make run` needs Python 3.11 or newer and make; everything else it gets itself.
VENV ?= .venv
CONFIG ?= conf/gateway.yaml
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

.PHONY: help install run dev test scenarios check bench clean

help:  ## tell what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

install: $(VENV)/.installed  ## install the gateway into .venv

run: install  ## two echo backends and the gateway with conf/gateway.yaml (or CONFIG=FILE); Ctrl-C stops them
	@$(BIN)/gateway demo $(CONFIG)

dev: install  ## the same with a log for human eyes, a reload when a file is edited
	@env GATEWAY_LOG_FORMAT=console $(BIN)/gateway demo --reload $(CONFIG)

test: $(VENV)/.installed-dev  ## all tests
	@.ci/servers nginx wrk
	@$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder $(TESTS)

scenarios: $(VENV)/.installed-dev  ## load and faults in full length, with their figures: ten minutes of load
	@.ci/servers nginx
	@SCENARIOS=full $(BIN)/python -m pytest tests/wire/scenarios tests/wire/resilience

check: $(VENV)/.installed-dev  ## style, types, layers
	$(BIN)/ruff check --config .ci/ruff.toml .
	$(BIN)/ruff format --check --config .ci/ruff.toml .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench  ## CPU time and throughput against the peers; docs/performance.md tells how to read it
	@.ci/servers nginx wrk go
	@$(BIN)/python -m bench.proxy $(BENCH)
	@$(BIN)/python -m bench.routing
	@$(BIN)/python -m bench.balancers
	@$(BIN)/python -m bench.state_engines

clean:  ## remove what these targets made; var/, where the gateway keeps its state, stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: setup.cfg setup.py
	@.ci/bootstrap $(VENV)
	@echo "Installing into $(VENV)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@$(PIP) -e '.[bench]'
	@touch $@
