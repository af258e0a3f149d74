# The main job:    make demo            (SECONDS=10 ends by itself)
# The tests:       make test       (make unit: those that need no server)
# Everything CI runs is here too; `make help` lists it.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
SECONDS ?=
KAFKA ?=
MONGO ?=
RECORDED ?=
FAULTS ?= 200
SEED ?=
MINUTES ?= 30
ROWS ?=
LANGUAGES ?=
LANES ?=
# How many tests run beside each other. Each process of the integration tests has servers of its own: four have enough.
JOBS ?= auto
PYTEST = $(BIN)/python -m pytest -q
# tests/integration/conftest.py says in which order they get files.
BESIDE = -n $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

SESSIONS ?= 500
RECORD ?=

# Bytecode is kept even where the environment forbids it, as images of Python for containers do. Without it each process
# compiles all modules again, and pytest rewrites the assertions of all tests in each of its processes: 10 s each.
unexport PYTHONDONTWRITEBYTECODE

# The newest Python that is supported. The unit tests run on it in an environment of their own.
NEWEST ?= 3.13

.PHONY: help demo pipeline sdks clients conformance test unit unit-newest integration browser screenshot tools wheels lint types chaos soak evening benchmark benchmark-peers compare-deli chaos-exactly-once proto operate-docs sbom lock clean
# Tiers follow each other: two at a time would take the time from each other's tests.
.NOTPARALLEL:

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 17

demo: $(VENV)/ready  ## people write documents, deli numbers what they type: sidecar and embedded broker, live
	$(BIN)/python -m examples.demo $(if $(SECONDS),--seconds $(SECONDS))

pipeline: $(VENV)/ready  ## with scriptorium and a store, on real Kafka (KAFKA=host:9092 MONGO=mongodb://... RECORDED=folder)
	@$(BIN)/python -m examples.pipeline $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(KAFKA),--kafka $(KAFKA)) $(if $(MONGO),--mongo '$(MONGO)') $(if $(RECORDED),--recorded '$(RECORDED)')

test: unit integration  ## all tests: the two tiers below, one after the other

unit: $(VENV)/ready  ## what needs neither server nor network: a minute and a half on two cores
	$(PYTEST) -n $(JOBS) --dist worksteal tests/unit

unit-newest: $(VENV)/ready  ## the same on the newest Python that is supported, which must be on this machine
	@newest=$$($(BIN)/python -m tests.servers.pythons $(NEWEST)) && \
	$(MAKE) --no-print-directory unit VENV=.cache/python$(NEWEST) PYTHON="$$newest"

wheels: $(VENV)/ready  ## both distributions: built, and installed where nothing else is, on the oldest and the newest Python
	$(PYTEST) tests/packaging

integration: tools  ## the behaviour suite over the embedded broker and real Kafka: some ten minutes
	$(PYTEST) $(BESIDE) -m "not alone" tests/integration; first=$$?; \
	$(PYTEST) -m alone tests/integration && exit $$first

browser: tools  ## the page at / in a real browser: clicks, keyboard, axe in both themes, phones (chromium)
	$(PYTEST) tests/browser

screenshot: $(VENV)/ready  ## docs/page*.png, the documents' pictures of the page, from a run of two minutes (chromium)
	$(BIN)/python -m tests.browser.screenshot

tools: $(VENV)/ready  ## fetch and build what the integration tests run on (Kafka, FerretDB), once
	@$(BIN)/python -m tests.servers.prepare

# The SDKs of other languages. Each has a Makefile of its own, with the same targets.
SDKS = go typescript java

sdks: $(VENV)/ready  ## the SDKs of other languages: formatter, linter, unit tests, package (go; node, npm; java, mvn)
	@for sdk in $(SDKS); do echo "== sdk_$$sdk"; $(MAKE) --no-print-directory -C sdk_$$sdk check package || exit 1; done

clients: $(VENV)/ready  ## the tests' programs and the examples in each language, built from those packages as a user would
	@for sdk in $(SDKS); do $(MAKE) --no-print-directory -C sdk_$$sdk clients examples || exit 1; done

conformance: clients  ## every SDK against the rules of docs/protocol.md
	$(BIN)/python -m tests.clients.conformance

lint: $(VENV)/ready  ## ruff: rules and format; which room may import which; buf: proto/
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/lint_protocol.py

types: $(VENV)/ready  ## mypy --strict
	$(BIN)/mypy

chaos: $(if $(LANGUAGES),clients) $(VENV)/ready  ## real Kafka, sidecars and lambdas under random faults, then a proof (FAULTS=1000 SEED=7 LANGUAGES=all LANES=4)
	$(BIN)/python -m tests.chaos --faults $(FAULTS) $(if $(SEED),--seed $(SEED)) \
	  $(if $(LANGUAGES),--languages $(LANGUAGES)) $(if $(LANES),--lanes $(LANES))

chaos-exactly-once: $(if $(LANGUAGES),clients) $(VENV)/ready  ## exactly-once on a Kafka cluster under random faults: each copy is visible once, in order (as above)
	$(BIN)/python -m tests.chaos.exactly_once --faults $(FAULTS) $(if $(SEED),--seed $(SEED)) \
	  $(if $(LANGUAGES),--languages $(LANGUAGES)) $(if $(LANES),--lanes $(LANES))

soak: $(VENV)/ready  ## constant traffic and a fault a minute: memory, descriptors and threads stay flat (MINUTES=30)
	$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES)

evening: tools  ## an evening on call, played on real Kafka: writes docs/operate/evening.md
	$(BIN)/python -m tests.integration.evening

benchmark: $(VENV)/ready  ## the whole path against a bare consumer loop, on real Kafka (ROWS=throughput,latency only prints)
	$(BIN)/python -m benchmarks $(if $(ROWS),--rows $(ROWS),--write)

benchmark-peers: $(VENV)/ready  ## what people would use instead, on the same broker in the same run (npm, go)
	$(BIN)/python -m benchmarks.peers --write

compare-deli: $(VENV)/ready  ## our deli and router against the published ones, random sessions (npm; SESSIONS=500 SEED=7; RECORD=1)
	$(BIN)/python -m tests.comparison --sessions $(SESSIONS) $(if $(SEED),--seed $(SEED)) $(if $(RECORD),--record)

proto: $(VENV)/ready  ## generate sdk_python/protocol from proto/
	$(BIN)/python tools/generate_protocol.py

operate-docs: $(VENV)/ready  ## docs/operate: the table of metrics, the alerts and the dashboard, of the code
	$(BIN)/python tools/operate_docs.py

sbom: $(VENV)/ready  ## what is in each image, from the lock file: CycloneDX documents in dist/sbom
	$(BIN)/python tools/sbom.py

lock: $(VENV)/ready  ## pin what pyproject.toml asks for, newest versions, in requirements/dev.txt
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-package kafka-sidecar-sdk --no-annotate --no-header -q --upgrade -o requirements/dev.txt

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf build *.egg-info sidecar/records/*.so sdk_python/*.so sdk_python/build sdk_python/*.egg-info

# Made anew when what is pinned or compiled, or the project's own metadata, has changed.
$(VENV)/ready: requirements/dev.txt pyproject.toml setup.py $(wildcard sidecar/records/native/* sdk_python/native/*) \
  sdk_python/pyproject.toml sdk_python/VERSION
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed; {sys.executable} is {v.major}.{v.minor}. Name another with: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e ./sdk_python -e .
	@touch $@

# What the C code is tested with, and by: the rows with random lives, requests and frames with random bytes, the source
# and the outlet with a played librdkafka, and all of the sidecar's with the real one. Python itself leaks a little at its end, which is not looked at. A sanitizer reports on file descriptor 2,
# which pytest must leave alone.
SANITIZERS = address,undefined
NATIVE_TESTS = tests/unit/native tests/unit/records/test_rows.py tests/unit/records/test_header_names.py \
  tests/unit/records/test_proof.py tests/unit/producing/test_native_outlet.py tests/unit/producing/test_outlets_agree.py \
  tests/unit/producing/test_transactions_agree.py tests/unit/sdk/test_decoding.py tests/unit/sdk/test_quick.py
ROUNDS ?= 1000

.PHONY: sanitize fallback

sanitize: $(VENV)/ready  ## the C code's tests under ASan and UBSan, with a fixed number of random inputs (ROUNDS=1000)
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	  KAFKA_SIDECAR_SANITIZERS=$(SANITIZERS) KAFKA_SIDECAR_FUZZ_ROUNDS=$(ROUNDS) \
	  $(BIN)/python -m pytest -q --capture=sys --timeout 600 -p tests.unit.native.sanitized $(NATIVE_TESTS)

# What is different without the extension is the way of records from Kafka's client into frames, and of produced records
# into Kafka's client: so the tests of these ways, on real Kafka alone.
FALLBACK_TESTS = lossless gaps dead_letters offset_lost topic_anew pause policies rebalance produce exactly_once

fallback: tools  ## the behaviour suite where the extension could not be built: what concerns the way of records
	KAFKA_SIDECAR_NATIVE=0 $(PYTEST) $(BESIDE) -k "not embedded" $(FALLBACK_TESTS:%=tests/integration/test_%.py)
