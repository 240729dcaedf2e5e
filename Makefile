# `make demo` and `make test` work on a fresh machine: they set .venv up first, and skip that the next time.
# A build of torch other than pip's own choice (CPU only, another CUDA): see install_torch in
# bundle/setup_environment.py.

# Any Python from 3.10 on: make demo PYTHON=python3.12
PYTHON ?= python3
# Added to the command's own arguments: make test ARGS="-k geodesic"
ARGS ?=
# Of make monai-label: a folder of volumes, or the address of a DICOMweb server
STUDIES ?=

VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test fault-campaign coverage lint format monai-label test-monai-label setup-monai-label clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' Makefile

setup: ## Create .venv with the pinned dependencies (the others do this themselves)
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "set-up: no '$(PYTHON)' here: install Python 3.10 or newer, or name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "set-up: Python 3.10 or newer is needed, '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -I bundle/setup_environment.py

demo: setup ## Run the whole method on an embedded synthetic cohort; results in demo/
	$(VENV_PYTHON) -m bundle demo $(ARGS)

# A file of tests stays in one process, as its tests share what is slow to make. Threads that wait shall not spin while
# other processes have work for their core.
test: setup ## Run all tests; ARGS="-m unit" only the small ones, ARGS="-m 'not slow'" all but the slow ones
	OMP_WAIT_POLICY=passive $(VENV_PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: setup ## Run all tests and fail when they reach less than 90 % of the lines of scripts/
	$(VENV_PYTHON) -m pytest --cov=scripts --cov-report=term-missing:skip-covered --cov-fail-under=90 $(ARGS)

lint: setup ## Check style, formatting and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

format: setup ## Apply the formatting
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

fault-campaign: setup ## Try to break it for a quarter of an hour; the table goes to docs/results.md
	$(VENV_PYTHON) -m tests.campaign --docs docs $(ARGS)

setup-monai-label: ## Create .venv-monai-label, for Python 3.11 (the next two do this themselves)
	@"$(PYTHON)" -I bundle/setup_environment.py monai-label

monai-label: ## Start a MONAI Label server: make monai-label STUDIES=DIR
	@test -n "$(STUDIES)" || { echo "monai-label: which studies? make monai-label STUDIES=DIR, a folder of volumes or the address of a DICOMweb server" >&2; exit 1; }
	@$(MAKE) --no-print-directory setup-monai-label
	@.venv-monai-label/bin/python -m bundle monai-label --studies "$(STUDIES)" $(ARGS)

test-monai-label: setup-monai-label ## Test the app through a real server
	.venv-monai-label/bin/python -m pytest tests/monai_label $(ARGS)

clean: ## Remove the environments and caches; results (demo/, runs/) stay
	rm -rf .venv .venv-monai-label .pytest_cache .ruff_cache .mypy_cache .coverage
	find bundle scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
