# What one can do here. `make` alone prints this list.
#
# Everything happens in .venv, made with the newest Python 3.11 or later that can make one;
# `make run PYTHON=/path/to/python3` takes another. Stamp files in .venv remember what is done, so
# that a second call starts at once.

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q
PYTHON ?=
# Tests wait for processes, or for time to pass, for much of theirs, so that four share two
# processors well. Those of tests/system wait for most of it, and so have a process more beside them;
# it takes those, too, that can only be run one after the other.
WORKERS ?= 4
CODE := stsd tests bench examples

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check lint format types imports quick cover slow system long bench docs generate dist deb clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | \
	while IFS='|' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

run: $(VENV)/.installed ## install stsd and run jobs.example.toml; Ctrl-C ends it
	@exec $(BIN)/stsd run -c jobs.example.toml

test: lint types imports quick long ## everything: style, types, import rules, all tests

check: lint types imports quick ## the part of it that takes less than a minute

lint: $(VENV)/.tools ## style: ruff's formatter and linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.tools ## put the style right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.tools ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.tools ## the floors of docs/architecture.md
	$(BIN)/lint-imports --no-cache

quick: $(VENV)/.tools ## the tests that take seconds
	$(PYTEST) -n $(WORKERS) -m "not slow and not system"

cover: $(VENV)/.tools ## the same, with the lines that none of them ran
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n $(WORKERS) -m "not slow and not system"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

slow: $(VENV)/.tools ## the tests that take longer, without measuring coverage
	$(PYTEST) -n $(WORKERS) -m "slow and not system and not alone"
	$(PYTEST) -m alone

system: $(VENV)/.tools ## the tests under a real systemd in a container (root only)
	$(PYTEST) -m system

long: $(VENV)/.tools ## all of these, side by side
	@# A shell ignores Ctrl-C in what it starts in the background, and so would all below it.
	@log=$$(mktemp); env --default-signal=INT --default-signal=QUIT \
		$(PYTEST) -m "system or alone" >$$log 2>&1 & others=$$!; \
	$(PYTEST) -n $(WORKERS) -m "slow and not system and not alone"; slow=$$?; \
	wait $$others; others=$$?; cat $$log; rm $$log; exit $$((slow | others))

bench: $(VENV)/.tools ## measure stsd and its peers side by side (ONLY=lateness,idle QUICK=1)
	$(BIN)/python bench $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

docs: $(VENV)/.tools ## check the pages: links that lead nowhere, examples that do not hold
	$(BIN)/python -m pytest -q tests/test_docs.py tests/test_example.py

generate: $(VENV)/.tools ## write anew what is made from the code: man pages, schema, reference
	$(BIN)/python docs/jobfile_reference.py
	$(BIN)/python docs/manpages.py
	$(BIN)/stsd schema > docs/jobs.schema.json

dist: $(VENV)/.tools ## the wheel and the sdist, into dist/
	$(BIN)/python -m build --quiet

deb: $(VENV)/.tools ## the Debian package, into dist/ (needs debhelper)
	packaging/deb $(BIN)/python dist

clean: ## remove the environment and whatever runs and tests have left
	rm -rf $(VENV) run build dist htmlcov .coverage .coverage.* .mypy_cache .pytest_cache \
		.ruff_cache .hypothesis .import_linter_cache *.egg-info
	find stsd tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

# The newest first; each has to be able to make an environment with pip in it.
define FIND_PYTHON
for python in $(PYTHON) python3.15 python3.14 python3.13 python3.12 python3.11 python3; do \
	if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
		>/dev/null 2>&1; then echo $$python; break; fi; \
done
endef

define NO_PYTHON
stsd needs Python 3.11 or later with its venv module, and found none. \
On Debian 12, Ubuntu 24.04 and later: apt-get install python3-venv \
(Ubuntu 22.04: apt-get install python3.11-venv), as root.
endef

$(VENV)/.made:
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then echo "$(NO_PYTHON)" >&2; exit 1; fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "making $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV); \
	fi
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@echo "installing stsd into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# Debian 12's pip knows no dependency groups yet.
$(VENV)/.tools: $(VENV)/.made pyproject.toml
	@echo "installing stsd and its development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@ $(VENV)/.installed
