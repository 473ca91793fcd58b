# Needs make and Python 3.11 or newer, and no more. `make` alone says what there is.

PYTHON ?= python3
VENV := .venv
REAL := .venv-real
REAL4 := .venv-real4
FUZZ := .venv-fuzz
RUN ?=
ARGS ?=
RUNS ?= 1000000
FORMAT ?= all

# Warnings of pip are hidden, its errors are not. Without byte code an installation takes 13 s
# instead of 21 (measured on 2 cores with a warm cache); Python makes it for what is imported.
INSTALL := -m pip install --quiet --quiet --no-compile --disable-pip-version-check --editable

# Modules that write generated files when they are called with --write.
GENERATORS := resume_daemon.config.sample resume_daemon.report.findings_page resume_daemon.report.layouts_page \
	resume_daemon.report.parameters_page

.DEFAULT_GOAL := help
.PHONY: help demo run test test-real test-real-4 fuzz lint format types bench docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.core ## watch a small made-up run go wrong and be caught (ARGS=... goes to it)
	@$(VENV)/bin/resume-daemon demo $(ARGS)

run: $(VENV)/.core ## start the daemon on your own run: make run RUN=/data/my-run
	@test -n '$(RUN)' || { echo 'Say which run: make run RUN=/data/my-run' >&2; exit 2; }
	@$(VENV)/bin/resume-daemon run '$(RUN)' $(ARGS)

test: $(VENV)/.dev ## run the tests that need no torch (ARGS=... goes to pytest)
	$(VENV)/bin/python -m pytest --ignore=tests/real $(if $(ARGS),,-n auto) $(ARGS)

test-real: $(REAL)/.installed ## run the tests with real trainers (installs torch: about 1 GB)
	$(REAL)/bin/python -m pytest -m real $(if $(filter tests/%,$(ARGS)),,tests/real) \
	  $(if $(ARGS),,-n auto --maxprocesses 4 --dist loadfile) $(ARGS)

test-real-4: $(REAL4)/.installed ## run those of the callback with transformers 4 (a third environment)
	$(REAL4)/bin/python -m pytest -m real tests/real/test_callback.py $(ARGS)

fuzz: $(FUZZ)/.installed ## throw damaged files at each reader: RUNS=1000000 FORMAT=all (or json)
	@$(FUZZ)/bin/python -m tests.fuzz --runs '$(RUNS)' --format '$(FORMAT)' $(ARGS)

lint: $(VENV)/.dev ## check style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.dev ## mend style and format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: $(VENV)/.dev ## check types
	$(VENV)/bin/mypy

# One script per question; each prints a table and writes the same figures as JSON.
bench: $(REAL)/.bench ## run the benchmarks; JSON goes to benchmarks/results
	@set -e; for script in benchmarks/[!_]*.py; do echo "== $$script"; $(REAL)/bin/python "$$script"; done

docs: $(VENV)/.core ## bring the generated files up to date
	@set -e; for module in $(GENERATORS); do $(VENV)/bin/python -m "$$module" --write; done

clean: ## remove everything that make has made
	rm -rf $(VENV) $(REAL) $(REAL4) $(FUZZ) .fuzz dist demo-run benchmarks/results
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two steps in one environment: the demo needs the first alone, and starts 11 s earlier for it.
$(VENV)/.core: pyproject.toml
	$(call new-environment,$(VENV))
	@echo 'Installing resume-daemon into $(VENV) ...'
	@$(VENV)/bin/python $(INSTALL) .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo 'Installing what tests and checks need into $(VENV) ...'
	@$(VENV)/bin/python $(INSTALL) '.[test,lint]'
	@touch $@

$(REAL)/.installed: pyproject.toml
	$(call new-environment,$(REAL))
	@echo 'Installing torch and the trainers into $(REAL); this takes minutes ...'
	@$(REAL)/bin/python $(INSTALL) '.[test,real]'
	@touch $@

$(REAL4)/.installed: pyproject.toml
	$(call new-environment,$(REAL4))
	@echo 'Installing torch and transformers 4 into $(REAL4); this takes minutes ...'
	@$(REAL4)/bin/python $(INSTALL) '.[test,real4]'
	@touch $@

$(FUZZ)/.installed: pyproject.toml
	$(call new-environment,$(FUZZ))
	@echo 'Installing the fuzzer into $(FUZZ) ...'
	@$(FUZZ)/bin/python $(INSTALL) '.[fuzz]'
	@touch $@

$(REAL)/.bench: $(REAL)/.installed
	@echo 'Installing what we are compared with into $(REAL) ...'
	@$(REAL)/bin/python $(INSTALL) '.[bench]'
	@touch $@

define new-environment
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'There is no $(PYTHON) here. Name one of 3.11 or newer: make PYTHON=/path/to/python3' >&2; \
	  exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), and 3.11 or newer is needed." >&2; \
	  echo 'Name another one: make PYTHON=python3.12' >&2; exit 2; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1) || { \
	  echo 'Cannot make $(1). On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 2; }
endef
