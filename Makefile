# The main job:    make demo            (SECONDS=10 ends by itself)
# The tests:       make test
# Everything CI runs is here too; `make help` lists it.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SECONDS ?=

.PHONY: help demo test lint types benchmark proto lock clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/ready  ## sidecar, embedded broker, a lambda process and sample traffic, live in the terminal
	$(BIN)/python -m examples.demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(VENV)/ready  ## unit tests, and the behaviour suite over the embedded broker and real Kafka
	$(BIN)/python -m pytest -q

lint: $(VENV)/ready  ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/ready  ## mypy --strict
	$(BIN)/mypy

benchmark: $(VENV)/ready  ## the whole path against a bare consumer loop, on real Kafka
	$(BIN)/python -m benchmarks

proto: $(VENV)/ready  ## generate sdk_python/protocol from proto/
	$(BIN)/python tools/generate_protocol.py

lock: $(VENV)/ready  ## pin what pyproject.toml asks for, newest versions, in requirements/dev.txt
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header -q --upgrade -o requirements/dev.txt

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Made anew when what is pinned, or the project's own metadata, has changed.
$(VENV)/ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed; {sys.executable} is {v.major}.{v.minor}. Name another with: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
