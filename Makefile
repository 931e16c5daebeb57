# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON_BIN := .venv/bin/python
JOBS ?= 2

# Verilated models are built often and change little.
export OBJCACHE := $(shell command -v ccache)
export CCACHE_NOHASHDIR := 1
export CCACHE_BASEDIR := $(CURDIR)

.PHONY: help setup demo test test-slow models clean

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup:  ## .venv and the Debian packages (through root or sudo)
	@bash scripts/setup.sh

demo: setup  ## compile two networks, run them everywhere, print one table
	$(PYTHON_BIN) examples/demo.py

test: setup  ## lint, types, and the tests that are quick
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(PYTHON_BIN) -m pytest -q -n $(JOBS) --dist worksteal -m "not slow"

test-slow: setup  ## the other tests
	$(PYTHON_BIN) -m pytest -q -n $(JOBS) --maxschedchunk 4 -m slow

models: setup  ## train the bundled models again (about a minute)
	$(PYTHON_BIN) examples/make_models.py

clean:  ## remove .venv and everything made
	rm -rf .venv build dist out ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
