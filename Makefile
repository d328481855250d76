# With Python 3.11 to 3.13 and nothing else: `make demo`, `make test`. Another Python: make PYTHON=python3.12 ...

SHELL := /bin/bash
# Bytecode is kept: else each process of the tests compiles what it imports
unexport PYTHONDONTWRITEBYTECODE
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# torch alone is some gigabytes: what is installed already is not asked for again
INSTALL := $(PIP) install --progress-bar off --constraint constraints.txt
# pip has several lines for each of some hundred packages: a count now and then, and what is large
PROGRESS := awk '/^ *Downloading .*([0-9][0-9][0-9]\.[0-9]+ MB|GB)/ { print; fflush() } \
    /^Collecting/ && ++n % 25 == 0 { print n " packages found"; fflush() } \
    /^Installing collected/ { print "installing them: a minute or more"; fflush() } \
    /^Successfully installed/ { print NF - 2 " packages installed" }'
ALL_EXTRAS := dev,postgres,ray,s3,test,train-embedded,trl
# What only `make test-apart` needs. MLflow and trackio are none of it: they do not go with our pins.
PEERS := docs,peers,sign,tensorboard

# A file's tests stay in one process, and files with slow tests begin: tests/conftest.py
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --no-loadscope-reorder

.PHONY: demo test test-apart test-avx2 check lint label-studio wheel-check constraints clean

demo: .venv/installed  ## the whole loop on the small model that ships
	$(BIN)/curate quickstart

test: .venv/installed-test  ## the tests
	$(PYTEST) -m 'not apart'

test-apart: .venv/installed-peers  ## those with a browser, a peer, a real table or whole studies
	$(PYTEST) -m apart

test-avx2: .venv/installed-test  ## the numerical tests as a processor without AVX-512 computes
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(PYTEST) -m 'not apart' tests/generators tests/rewards

check: lint test  ## all that must hold before a commit

lint: .venv/installed-all  ## format, style, types, and that the installed packages fit together
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PIP) check

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	    f"Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable . | $(PROGRESS)
	@touch $@

.venv/installed-test: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]' | $(PROGRESS)
	@touch $@ .venv/installed

.venv/installed-all: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[$(ALL_EXTRAS)]' | $(PROGRESS)
	@touch $@ .venv/installed .venv/installed-test

# Without a package index what they need is not there, and the tests skip and say so
.venv/installed-peers: .venv/installed-test
	$(INSTALL) --editable '.[test,$(PEERS)]' | $(PROGRESS) && touch $@ || echo "no peers here"

# Its environment, where `curate rate serve` finds it too, and its tables, which take it most of a minute
label-studio: .venv/installed-test  ## what its tests need of Label Studio
	$(BIN)/python -m tests.annotation.label_studio.migrated

# The wheel with its own dependencies only, run where no source lies: are the weights in it?
wheel-check: .venv/installed-all
	rm -rf .wheel-check
	$(BIN)/python -m build --outdir .wheel-check/dist .
	$(PYTHON) -m venv .wheel-check/venv
	.wheel-check/venv/bin/python -m pip --disable-pip-version-check install --progress-bar off \
	    --constraint constraints.txt .wheel-check/dist/*.whl | $(PROGRESS)
	.wheel-check/venv/bin/python -m pip --disable-pip-version-check check
	curate="$$PWD/.wheel-check/venv/bin/curate"; cd / && "$$curate" --help && \
	    cd "$$(mktemp -d)" && "$$curate" init . && "$$curate" generators list && rm -rf "$$PWD"
	rm -rf .wheel-check

# New pins: everything at its newest with all extras together, in an environment of its own.
constraints:
	rm -rf .wheel-check
	$(PYTHON) -m venv .wheel-check
	.wheel-check/bin/python -m pip install --progress-bar off '.[$(ALL_EXTRAS),$(PEERS)]'
	{ echo '# Made by `make constraints`: all extras together, on Linux. Other systems take what applies.'; \
	    .wheel-check/bin/python -m pip freeze --exclude curate-images; } > constraints.txt
	rm -rf .wheel-check

clean:
	rm -rf .venv .wheel-check .ci-cache build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
