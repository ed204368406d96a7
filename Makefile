# The two commands of the README are `make demo` and `make test`; both set everything up on first use.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
.PHONY: help setup demo test check unit bench fidelity steps detect clean

help:  ## Show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml .ci/setup
	@PYTHON=$(PYTHON) VENV=$(VENV) bash .ci/setup
	@touch $@

setup: $(READY)  ## Make .venv, install the packages, and Prometheus where that can be done

demo: $(READY)  ## Bring the lab up, run the demo features on it, take it down
	@$(BIN)/meshbdd demo

check: $(READY)  ## Style, types, import directions, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit tests/golden tests/vocabulary

test: check  ## Everything: checks, all tests on real processes, the demo features
	$(BIN)/python -m pytest -q tests/statistics tests/api tests/shop tests/lab tests/fidelity tests/mesh tests/contract tests/crash tests/load tests/cli
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q tests/report tests/browser
	$(BIN)/python -m pytest -q -s tests/defects -k "not healthy"
	$(BIN)/python -m pytest -q -s tests/bench/test_load.py
	$(BIN)/meshbdd demo

bench: $(READY)  ## Print measured figures, and hold those that are claimed
	FULL=1 $(BIN)/python -m pytest -q -s tests/bench

fidelity: $(READY)  ## How true the lab is: every comparison, each rule by traffic, and the page that says so
	@$(BIN)/python -m tests.fidelity --page docs/how-true-is-the-lab.md

steps: $(READY)  ## Write the page of the steps and of what each mesh can do, and that of the settings
	$(BIN)/python -m tests.vocabulary docs/steps.md docs/settings.md

detect: $(READY)  ## Seed each defect of the shop and its mesh: its scenarios see it, and no other (FULL=1, MESH=linkerd, LABS=1)
	$(BIN)/python -m pytest -q -s tests/defects

clean:  ## Remove what was built
	rm -rf $(VENV) allure-results build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
