PYTHON ?= python3
# A machine with a working NVIDIA driver gets the gpu extra.
DEVICE ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
DEV = .venv-dev/bin

.DEFAULT_GOAL := help
.PHONY: help serve test test-fast coverage lint fmt types docs site soak bench lock
.SECONDARY:

help:  ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: .venv-$(DEVICE)/ready  ## Set up, and serve the bundled gallery on http://127.0.0.1:8000
	exec .venv-$(DEVICE)/bin/python -m app.cli serve

test: lint types  ## Set up (6 GB), then check everything: linters, types, all tests
	$(DEV)/python -m pytest --durations=25

test-fast: .venv-dev/ready  ## Run the unit tests, without those in tests/slow.txt
	$(DEV)/python -m pytest tests/unit -m "not slow"

coverage: .venv-dev/ready  ## Run all tests and fail if less than 93% of the code is covered
	$(DEV)/python -m pytest --cov --cov-report=term

lint: .venv-dev/ready  ## Check style, formatting and imports
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/lint-imports --no-logo

fmt: .venv-dev/ready  ## Format the code and fix what ruff can fix
	$(DEV)/ruff check --fix .
	$(DEV)/ruff format .

types: .venv-dev/ready  ## Check types
	$(DEV)/mypy

docs: .venv-dev/ready  ## Write the generated tables in docs/
	$(DEV)/python -m tests.tools.reference

site: .venv-dev/ready  ## Build the documentation as a site, in site/
	$(DEV)/python -m mkdocs build

soak: .venv-dev/ready  ## Load, stop and restart servers for an hour; PARTS="flood stopping" runs some parts
	$(DEV)/python -m tests.tools.soak $(PARTS)

bench: .venv-dev/ready  ## Measure the speed and memory of the bundled gallery
	$(DEV)/python -m training.bench

.venv-%/ready: requirements/%.txt requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	.venv-$*/bin/uv pip install --quiet --compile-bytecode --python .venv-$*/bin/python --require-hashes -r $<
	touch $@

COMPILE = $(DEV)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-header
lock: .venv-dev/ready  ## Update requirements/*.txt from pyproject.toml
	$(COMPILE) pyproject.toml --extra cpu -o requirements/cpu.txt
	$(COMPILE) pyproject.toml --extra gpu -o requirements/gpu.txt
	$(COMPILE) pyproject.toml --extra cpu --extra training --extra dev -o requirements/dev.txt
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
