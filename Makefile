# What a newcomer needs: make demo, make test. Both do all of the set-up they need.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null && \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help demo test uml lint unit lab bench rules setup packages test-packages bench-packages clean

help:
	@echo "make demo    a small cluster on this machine, with real traffic (root)"
	@echo "make test    lint, types and every test: as root outside and in User-Mode Linux, else all packets in there"
	@echo "make uml     only the tests that run in User-Mode Linux: the flow table with SCTP, and IPVS"
	@echo "make lint    ruff and mypy"
	@echo "make bench   the figures, beside the tools' own"
	@echo "make rules   write again what is generated: worked examples, the reference of settings, operator objects"

demo: setup
	@$(BIN)/python -m examples.demo

test: test-packages setup lint
	$(BIN)/python -m pytest
	$(BIN)/python -m tests.uml.suite

uml: test-packages setup
	$(BIN)/python -m tests.uml.suite

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: bench-packages setup
	$(BIN)/python -m bench

rules: setup
	$(BIN)/python -m tests.rulebook
	$(BIN)/python -m tests.monitoring
	$(BIN)/python -m tests.docs

setup: packages $(VENV)/.ready

# The stamp holds what was installed: another pyproject.toml installs again.
$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "kproxy needs Python 3.11 or newer: install it (python3.11, say) and run make again" >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,test,lint]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[legacy-reader]' >/dev/null 2>&1 || \
		echo "python-iptables can't be built here (it needs gcc and Python's headers): one test is left out"
	@touch $@

# Names what is missing, and installs it where that is possible.
packages:
	@missing=""; \
	need() { command -v "$$1" >/dev/null 2>&1 || missing="$$missing $$2"; }; \
	need iptables-restore iptables; need ip iproute2; need conntrack conntrack; need nft nftables; need setpriv util-linux; \
	if [ -z "$(PYTHON)" ]; then missing="$$missing python3 python3-venv"; \
	else $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing $$(basename $(PYTHON))-venv"; fi; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing missing system packages:$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	else echo "missing system packages; install them and run make again:  sudo apt-get install$$missing" >&2; exit 1; fi

# What only the tests need: a compiler for python-iptables, another C library to ask DNS with, sysctl as an independent
# reader, openssl for certificates.
test-packages: packages
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || exit 0; \
	missing=""; command -v gcc >/dev/null || missing="$$missing gcc"; command -v sysctl >/dev/null || missing="$$missing procps"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; command -v ipvsadm >/dev/null || missing="$$missing ipvsadm"; \
	command -v ipset >/dev/null || missing="$$missing ipset"; command -v musl-gcc >/dev/null || missing="$$missing musl-tools"; \
	command -v debootstrap >/dev/null || missing="$$missing debootstrap"; \
	command -v systemd-nspawn >/dev/null || missing="$$missing systemd-container"; \
	$(PYTHON) -c 'import sysconfig, os, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
		|| missing="$$missing python3-dev"; \
	test -z "$$missing" && exit 0; \
	echo "installing what only tests need:$$missing"; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null && rm -f $(VENV)/.ready

# What only the benchmarks need: a load of DNS queries.
bench-packages: packages
	@command -v dnsperf >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing what only benchmarks need: dnsperf"; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq dnsperf >/dev/null; \
	else echo "dnsperf is missing: the figures of DNS are left out" >&2; fi

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
