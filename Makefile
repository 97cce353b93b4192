# make serve   set up and start the server with the bundled gallery on http://127.0.0.1:8000
# make test    set up, lint, types, tests
# make soak    flood, stop, restart and weigh the server for an hour, or PARTS of it
# make bench   time and weigh the served networks
# make lock    renew requirements/*.txt from pyproject.toml

PYTHON ?= python3
# A machine with a working NVIDIA driver gets the gpu extra.
DEVICE ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
DEV = .venv-dev/bin

.PHONY: serve test lint soak bench lock
.SECONDARY:

serve: .venv-$(DEVICE)/ready
	exec .venv-$(DEVICE)/bin/python -m app.cli serve

test: lint
	$(DEV)/python -m pytest

lint: .venv-dev/ready
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy

soak: .venv-dev/ready
	$(DEV)/python -m tests.tools.soak $(PARTS)

bench: .venv-dev/ready
	$(DEV)/python -m training.bench

.venv-%/ready: requirements/%.txt requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --require-hashes -r $<
	touch $@

COMPILE = $(DEV)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-header
lock: .venv-dev/ready
	$(COMPILE) pyproject.toml --extra cpu -o requirements/cpu.txt
	$(COMPILE) pyproject.toml --extra gpu -o requirements/gpu.txt
	$(COMPILE) pyproject.toml --extra cpu --extra training --extra dev -o requirements/dev.txt
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
