# What there is to do here; `make` alone lists it. Needs Python >= 3.11 with venv, and make (GNU, 3.81 or later).

PYTHON ?= python3
VENV ?= .venv

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
# Versions are pinned and hashes checked, so nothing is resolved while installing.
PIP_INSTALL = $(PIP) install --require-hashes --no-deps
# Of the tools, most modules are never imported; those that are leave what was compiled beside them.
unexport PYTHONDONTWRITEBYTECODE
PROJECTS = . plugins/failover plugins/latency plugins/least_cost plugins/rewrite plugins/round_robin plugins/sticky \
	plugins/weighted
# With third parties of its own, which the demo does without.
DEV_PROJECTS = plugins/dkim plugins/rules plugins/webhook
PYPROJECTS = pyproject.toml $(wildcard plugins/*/pyproject.toml)

# A stamp is the time of one step of the set-up; each step runs again when what it depends on changes.
VENV_MADE = $(VENV)/.made
RUN_READY = $(VENV)/.run-ready
DEV_READY = $(VENV)/.dev-ready

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: $(RUN_READY) ## start the demo: two example downstreams and a router in front of them
	@exec $(BIN)/smtp-router demo

# mypy leaves a core idle, and the wheels half of one.
.PHONY: test
test: lint floors ## everything below that checks; what CI runs
	@$(MAKE) --no-print-directory --jobs 2 types wheels
	@$(MAKE) --no-print-directory unit

.PHONY: lint
lint: $(DEV_READY) ## formatting and style, as they should be
	$(BIN)/ruff format --check
	$(BIN)/ruff check

.PHONY: fmt
fmt: $(DEV_READY) ## make formatting and style so, as far as a tool can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: $(DEV_READY) ## mypy, strict
	$(BIN)/mypy

.PHONY: floors
floors: $(DEV_READY) ## an import only points down the floors
	$(BIN)/lint-imports

# In their order: with the files of most tests first, as xdist would have it, the longest tests come last, one by one.
SPREAD = --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: unit
unit: $(DEV_READY) ## the tests; for some of them: .venv/bin/pytest -k WORDS
	$(BIN)/pytest $(SPREAD)

# Not of `test`: it would take a quarter of the ten minutes that CI has.
.PHONY: coverage
coverage: $(DEV_READY) ## the tests once more, and which lines they leave out; fails below 90 %
	$(BIN)/pytest --cov $(SPREAD)

.PHONY: lowest
lowest: $(DEV_READY) ## the tests once more, with the oldest versions that pyproject.toml lets an installer choose
	$(BIN)/uv --quiet venv --clear --python $(BIN)/python $(LOWEST)
	$(UV_LOWEST) --require-hashes --no-deps -r requirements/run.txt -r requirements/dev.txt
	$(UV_LOWEST) --upgrade --resolution lowest-direct -e '.[simulate,testing]' $(PLUGINS:%=-e %)
	PATH="$(LOWEST)/bin:$$PATH" $(LOWEST)/bin/pytest $(SPREAD)

PLUGINS = $(filter-out .,$(PROJECTS)) $(DEV_PROJECTS)
LOWEST = $(CURDIR)/$(VENV)/lowest
UV_LOWEST = $(BIN)/uv --quiet pip install --python $(LOWEST)/bin/python

.PHONY: wheels
wheels: $(DEV_READY) ## build each distribution, install it in an empty environment, use it there
	$(BIN)/python -m tools.check_wheels

.PHONY: bench
bench: $(DEV_READY) ## what a message costs, beside the baseline and, where they are, HAProxy and Postfix; needs cc
	$(BIN)/python -m bench $(BENCH)

# For a new baseline: make bench BENCH=--new-baseline
BENCH =

.PHONY: fuzz
fuzz: $(DEV_READY) ## look for what breaks a parser or a session; longer: make fuzz FUZZ_S=3600
	$(BIN)/python -m tests.fuzz.fuzz .fuzz $(FUZZ) -max_total_time=$(FUZZ_S) -verbosity=0

# Seconds for each of these.
FUZZ_S = 60
FUZZ = session commands parameters addresses logins replies wire_replies headers

.PHONY: soak
soak: $(DEV_READY) ## the long run of the fault tests, half an hour or so; shorter: make soak SOAK='--messages 20000'
	$(BIN)/python -m tests.soak $(SOAK)

SOAK =

.PHONY: lock
lock: $(DEV_READY) ## pin requirements/*.txt anew; newest versions: make lock LOCK=--upgrade
	$(UV_COMPILE) pyproject.toml -o requirements/run.txt
	$(UV_COMPILE) requirements/build.in -c requirements/run.txt -o requirements/build.txt
	$(UV_COMPILE) requirements/dkim.in -o requirements/dkim.txt
	$(UV_COMPILE) requirements/rules.in -o requirements/rules.txt
	$(UV_COMPILE) requirements/webhook.in -o requirements/webhook.txt
	$(UV_COMPILE) requirements/dev.in -o requirements/dev.txt
	$(UV_COMPILE) requirements/testing.in -o requirements/testing.txt

LOCK =
UV_COMPILE = $(BIN)/uv --quiet pip compile $(LOCK) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

.PHONY: clean
clean: ## remove the environment and everything that tools leave behind
	rm -rf $(VENV) .coverage .coverage.* .fuzz htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache \
		.ruff_cache build dist
	find smtp_router plugins tests examples tools bench -name __pycache__ -prune -exec rm -rf {} +

# --- set-up ---------------------------------------------------------------------------------------

$(VENV_MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo >&2 "smtp-router needs Python 3.11 or later; $(PYTHON) is not. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo >&2 "$(PYTHON) has no venv. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "making the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN_READY): $(VENV_MADE) requirements/run.txt requirements/build.txt $(PYPROJECTS)
	@echo "installing smtp-router into $(VENV)"
	@$(PIP_INSTALL) -r requirements/run.txt -r requirements/build.txt
	@$(PIP) install --no-build-isolation --no-deps $(PROJECTS:%=-e %)
	@touch $@

$(DEV_READY): $(RUN_READY) requirements/dev.txt $(DEV_PROJECTS:%=%/pyproject.toml)
	@echo "installing the tools for tests into $(VENV)"
	@$(PIP_INSTALL) --no-compile -r requirements/dev.txt
	@$(PIP) install --no-build-isolation --no-deps $(DEV_PROJECTS:%=-e %)
	@touch $@
