# Every chore has one name here; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help setup up down test check bench docs clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e '.[test,postgres,objects,kvevents]'
	@$(BIN)/python scripts/compile.py
	@touch $(STAMP)

setup: $(STAMP) ## build .venv with everything tests and benches need

up: $(STAMP) ## start the platform on this machine (fetches the default model once)
	@$(BIN)/roadbed up

down: $(STAMP) ## stop it and everything it started
	@$(BIN)/roadbed down

test: $(STAMP) ## run the whole test suite
	@sh scripts/test

check: $(STAMP) ## format, lint, types, layers
	@sh scripts/check

bench: $(STAMP) ## measure: the gateway beside its peer, prefix routing on real engines
	@sh scripts/bench

docs: $(STAMP) ## write the generated reference (CLI, schema, routes, metrics)
	@$(BIN)/python scripts/make_docs.py

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
