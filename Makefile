# Each target makes the virtual environment it needs; nothing is installed outside the checkout.
PYTHON ?= python3
VENV := .venv
# A developer's environment has all that the demo needs, and more.
DEMO_VENV := $(if $(wildcard $(VENV)/.made),$(VENV),.demo-venv)
export PATH := $(PATH):/usr/sbin:/sbin
# With CI=true nothing may be skipped, and the slow tier is run too.
export CI

.PHONY: help demo test lint roots bench bench-vm packages
.DEFAULT_GOAL := help

help:
	@echo "make demo   boot real guests from our own metadata server, reset a password, show what happened"
	@echo "make test   lint, types and every fast test; with CI=true the slow ones too"
	@echo "make lint   what a commit must pass"
	@echo "make packages  .deb and .rpm of agent, server and drop-in into dist/packages"
	@echo "make bench  requests a second, and a boot against cloud-init's"
	@echo "make bench-vm  a virtual machine's first boot with our agent, with cloud-init, with neither"

demo: $(DEMO_VENV)/.made
	@$(DEMO_VENV)/bin/python -m tests.guests.demo

# In CI a test that fails is tried once more, and counted: a machine that stalls is no defect of ours,
# what fails twice is.
test: lint roots
	$(VENV)/bin/python -m pytest -q -n 2 --maxfail=25 $(if $(CI),--reruns 1)

lint: $(VENV)/.made
	$(VENV)/bin/ruff check && $(VENV)/bin/ruff format --check && $(VENV)/bin/mypy

ROOTS = debian12 machine12 network $(if $(CI),debian11 debian13 machine11 machine13 both12)
# Real guests boot over Debian trees. They are built once, here rather than within a test's time.
roots: $(VENV)/.made
	@if [ "$$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null; then \
		$(VENV)/bin/python -m tests.guests.roots $(ROOTS); fi

# SIGN=KEY signs the sums with that secret key of gpg.
packages: $(VENV)/.made
	$(VENV)/bin/python packaging/build.py $(if $(SIGN),--sign $(SIGN))

bench: $(VENV)/.made roots
	$(VENV)/bin/python -m tests.benchmarks

# First boots of virtual machines: some minutes, on an idle machine.
bench-vm: $(VENV)/.made
	$(VENV)/bin/python -m tests.benchmarks.vm

NEEDS = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "$(PYTHON) is older than \
3.10, which the server needs: name a newer one, as in make PYTHON=python3.12")'

.venv/.made: pyproject.toml
	@$(NEEDS)
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench,speed,packages]'
	@touch $@

.demo-venv/.made: pyproject.toml
	@$(NEEDS)
	@test -x .demo-venv/bin/python || $(PYTHON) -m venv .demo-venv
	@echo "installing into .demo-venv ..."
	@.demo-venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@
