# What a newcomer needs: make demo, make test. Both do all of the set-up they need.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null && \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help demo test lint unit lab bench rules setup packages clean

help:
	@echo "make demo    a small cluster on this machine, with real traffic (root)"
	@echo "make test    lint, types and every test (the packet tests need root)"
	@echo "make lint    ruff and mypy"
	@echo "make bench   the figures, beside the tools' own"
	@echo "make rules   write the worked examples of rules/ again"

demo: setup
	@$(BIN)/python -m examples.demo

test: setup lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m bench

rules: setup
	$(BIN)/python -m tests.rulebook

setup: packages $(VENV)/.ready

# The stamp holds what was installed: another pyproject.toml installs again.
$(VENV)/.ready: pyproject.toml
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,test,lint]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[legacy-reader]' --no-deps --dry-run >/dev/null 2>&1 && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check 'python-iptables>=1.2.0' >/dev/null 2>&1 || \
		echo "python-iptables could not be built (it needs gcc): its cross-check is left out"
	@touch $@

# Names what is missing, and installs it where that is possible.
packages:
	@test -n "$(PYTHON)" || { echo "kproxy needs Python 3.11 or newer: install python3.11 or a later one" >&2; exit 1; }
	@missing=""; \
	need() { command -v "$$1" >/dev/null 2>&1 || missing="$$missing $$2"; }; \
	need iptables-restore iptables; need ip iproute2; need conntrack conntrack; need nft nftables; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing $$(basename $(PYTHON))-venv"; \
	test -z "$$missing" && exit 0; \
	echo "missing system packages:$$missing"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	else echo "install them, then run make again:  sudo apt-get install$$missing" >&2; exit 1; fi

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
