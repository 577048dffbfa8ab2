# Linux, make and Python 3.11 or newer are enough; everything else goes into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
WORKBENCH := $(BIN)/python -m workbench
APT_INSTALL = { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(1); } >/dev/null \
	|| echo 'not installed: $(1): their tests are skipped' >&2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv figures quick verify test tools lab notebooks clean

help:
	@echo 'make venv       .venv, with the command workbench and what it needs; the others make it too'
	@echo 'make figures    all notebooks, figures and tables, into figures/'
	@echo 'make quick      the same on small inputs, into figures/quick/'
	@echo 'make verify     the model against formulas: queues, locks, ranges, dirty pages, into figures/verify/'
	@echo 'make test       format, lint, types, tests, and every notebook in quick mode'
	@echo 'make lab        JupyterLab with the kernel ready; as root: make lab LAB_OPTIONS=--allow-root'
	@echo 'make notebooks  notebooks/*.ipynb from the percent scripts beside them'
	@echo 'make clean      removes what the others have made, .venv too, but no figure'

venv: $(VENV)/.installed

figures: $(VENV)/.installed
	$(WORKBENCH) figures

quick: $(VENV)/.installed
	$(WORKBENCH) figures --quick --out figures/quick

# Fails if a check disagrees; the same checks on small inputs are among the tests.
verify: $(VENV)/.installed
	$(BIN)/python -m verification --out figures/verify

# Some tests want Debian's chromium, or SPIN, and are skipped without; continuous integration installs them if it can.
tools:
	@if [ -n "$$CI" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		command -v chromium >/dev/null || $(call APT_INSTALL,chromium fonts-dejavu-core); \
		command -v spin >/dev/null && command -v gcc >/dev/null || $(call APT_INSTALL,spin gcc libc6-dev); \
	fi

# First compiled, each file of tests in one process; then as plain Python, which coverage can see.
test: $(VENV)/.installed-test tools
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -m 'not jit_only and not slow_without_jit' \
		-n logical --maxprocesses 4 --cov
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && $(WORKBENCH) figures --quick --out "$$out"

lab: $(VENV)/.installed
	$(BIN)/python -m jupyterlab --ip 127.0.0.1 --notebook-dir . \
		--ServerApp.kernel_websocket_connection_class=workbench.lab.PromptConnection $(LAB_OPTIONS)

notebooks: $(VENV)/.installed-dev
	$(BIN)/python -m jupytext --to ipynb notebooks/[0-9]*.py
	$(BIN)/python -m nbstripout notebooks/[0-9]*.ipynb

clean:
	rm -rf $(VENV) build *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache \
		figures/notebooks figures/quick
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed, but $(PYTHON) is: $$($(PYTHON) --version 2>&1); try make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[$*]'
	@touch $@
