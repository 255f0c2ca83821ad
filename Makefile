# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/default.yaml

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-kafka lint fmt types bench lock clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## make .venv with jobsight in it

$(VENV)/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jobsight needs Python 3.11 or newer; say make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: setup  ## a collector on the embedded ClickHouse, data in ./data
	@exec $(BIN)/jobsight run --config $(CONFIG)

demo: setup  ## a shop's job workers, sent to the collector that `make run` started
	@$(BIN)/jobsight demo

test: setup lint  ## everything: lint, types, import contracts, all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile

test-kafka: setup  ## the tests of Kafka against the broker that JOBSIGHT_TEST_KAFKA names (host:port)
	@test -n "$(JOBSIGHT_TEST_KAFKA)" || { echo "say make test-kafka JOBSIGHT_TEST_KAFKA=host:9092"; exit 2; }
	JOBSIGHT_TEST_KAFKA=$(JOBSIGHT_TEST_KAFKA) $(BIN)/python -m pytest tests/exporters/kafka tests/receivers/kafka tests/e2e/kafka

lint: setup  ## ruff, mypy --strict, import contracts, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

fmt: setup  ## format and fix what can be fixed
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: setup  ## the figures of the README
	$(BIN)/python -m benchmarks

lock:  ## resolve the dependencies anew into requirements.lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv==0.13.9
	$(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --all-extras --group dev --generate-hashes \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	rm -rf $(VENV)-lock

clean:  ## remove .venv and caches; ./data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
