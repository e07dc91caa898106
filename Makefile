# Everything a developer or an operator runs by hand. Needs Python >= 3.11, a C compiler, make, git.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV ?= .venv
# The first Python on the PATH that is new enough; `make PYTHON=...` names another.
PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
WORKERS ?= 2
# Of fuzzing: seconds for each target, and which ones (all without).
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?=
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# A change to any of these makes an installation stale.
SOURCES := pyproject.toml setup.py constraints.txt roman_assets/kernels/_build.py \
	$(wildcard csrc/*.c csrc/*.h)

CFLAGS_CHECKED := -std=c11 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-ffp-contract=off -Wall -Wextra -Werror -Wno-unused-function -Icsrc
C_TESTS := $(patsubst csrc/tests/%.c,csrc/tests/bin/%,$(wildcard csrc/tests/test_*.c))
C_OBJECTS := $(patsubst csrc/%.c,csrc/tests/bin/%.o,$(wildcard csrc/*.c))

.SECONDARY: $(C_OBJECTS)
.PHONY: help demo install test test-all test-cluster test-faults bench-index ctest ctest-arm64 lint format bench validate fuzz ui docs monitoring sbom \
	audit release clean

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# --- installation -------------------------------------------------------------------------------

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "no Python 3.11 or newer found; give one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "==> $(VENV): a virtual environment of $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -c constraints.txt pip setuptools

# The development installation has everything that the demo needs: only one of the two is ever needed.
$(VENV)/.installed-demo: $(SOURCES) | $(BIN)/python
	@if [ -f $(VENV)/.installed-dev ]; then $(MAKE) -s --no-print-directory $(VENV)/.installed-dev; else \
	echo "==> installing roman_assets (compiles the C kernels)"; \
	$(PIP) install -c constraints.txt --editable '.[simulate]'; fi
	@touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(BIN)/python
	@echo "==> installing roman_assets with its development tools (compiles the C kernels)"
	@$(PIP) install -c constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@echo "==> installing the peers of the benchmarks"
	@$(PIP) install -c constraints.txt --editable '.[dev,bench]'
	@# Of grizli only the compiled loop is timed: what the rest of it needs does not go with our versions.
	@$(PIP) install --no-deps grizli==1.14.3 || echo "grizli could not be installed: its row stays without a peer"
	@touch $@

install: $(VENV)/.installed-dev ## Development installation in .venv
	@echo "$(VENV) is up to date"

# --- running ------------------------------------------------------------------------------------

demo: $(VENV)/.installed-demo ## A simulated mini survey from exposures to events
	@$(BIN)/roman demo

ui: $(VENV)/.installed-demo ## The Dagster UI of the demo (or of ROMAN_HOME)
	@$(BIN)/roman --home "$${ROMAN_HOME:-demo_output}" ui

# --- checking -----------------------------------------------------------------------------------

lint: $(VENV)/.installed-dev ## Format, ruff, mypy and import contracts
	@echo "==> ruff"
	@$(BIN)/ruff format --quiet --check . || { echo "run make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@echo "==> mypy"
	@$(BIN)/mypy --no-error-summary
	@echo "==> import contracts"
	@$(BIN)/lint-imports --no-cache > .import-contracts.log || { cat .import-contracts.log; exit 1; }

format: $(VENV)/.installed-dev ## Python as the one formatter writes it
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

csrc/tests/bin/%.o: csrc/%.c $(wildcard csrc/*.h)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_CHECKED) -c $< -o $@

csrc/tests/bin/%: csrc/tests/%.c $(wildcard csrc/tests/*.h csrc/*.h) $(C_OBJECTS)
	@$(CC) $(CFLAGS_CHECKED) $< $(C_OBJECTS) -lm -pthread -o $@

ctest: ## C kernels under AddressSanitizer and UBSan
	@echo "==> C tests under ASan and UBSan"
	@$(MAKE) --no-print-directory -j$(WORKERS) $(C_TESTS)
	@for test in $(C_TESTS); do $$test || { echo "$$test failed" >&2; exit 1; }; done

# Needs Debian's gcc-aarch64-linux-gnu and qemu-user.
ctest-arm64: ## The C tests of another architecture, emulated
	@mkdir -p csrc/tests/bin
	@for test in csrc/tests/test_*.c; do \
	aarch64-linux-gnu-gcc -std=c11 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -static -Icsrc \
	$$test csrc/*.c -lm -pthread -o csrc/tests/bin/arm64 && qemu-aarch64 csrc/tests/bin/arm64 || exit 1; done

test: lint ctest ## The fast tier
	@echo "==> pytest"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup

test-all: lint ctest ## The fast tier and the slow one
	@echo "==> pytest, slow tests included"
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m 'not cluster and not faults'

# FAULTS=sample tries some of the faults; otherwise all of them, and benchmarks/faults.json says how many.
FAULTS ?= all
test-faults: $(VENV)/.installed-dev ## Faults and kills at every call: the products of an undisturbed run
	@$(if $(filter sample,$(FAULTS)),,ROMAN_CAMPAIGN=1 ROMAN_FAULTS_RESULTS=benchmarks/faults.json) \
	$(BIN)/python -m pytest -q $(or $(FAULTS_TESTS),tests/faults) -m faults -p no:cacheprovider

bench-index: $(VENV)/.installed-dev ## The product index with a million rows: benchmarks/index_scale.json
	@$(BIN)/python -m benchmarks.index_scale

# On the cluster of KUBECONFIG, or on one that ../shared/cluster starts; tests/cluster/run says what it needs.
test-cluster: $(VENV)/.installed-dev ## The platform on a real Kubernetes: runs, faults, equal products
	@VENV=$(VENV) tests/cluster/run

# Needs clang with libFuzzer for the kernels (Debian: clang libclang-rt-14-dev), and the package index for atheris.
fuzz: $(VENV)/.installed-dev ## Kernels and readers on random input: FUZZ_SECONDS each, benchmarks/fuzz.json
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python tests/fuzz/run.py $(FUZZ_TARGETS)

# --- measuring ----------------------------------------------------------------------------------

bench: $(VENV)/.installed-bench ## Speed beside the peers: benchmarks/results.json
	@$(BIN)/python -m benchmarks.run_bench

validate: $(VENV)/.installed-dev ## Quality against external data: benchmarks/validation.json
	@$(BIN)/python -m benchmarks.run_validation

docs: $(VENV)/.installed-dev ## Regenerate docs/data_dictionary.md and the tables of docs/infrastructure.md
	@$(BIN)/python -c "from pathlib import Path; from roman_assets.products.schemas import data_dictionary; \
	from roman_assets.systems.gdps.tables import TABLES as GDPS; from roman_assets.systems.msos.tables import TABLES as MSOS; \
	Path('docs/data_dictionary.md').write_text(data_dictionary([*MSOS, *GDPS]))"
	@echo "docs/data_dictionary.md"
	@$(BIN)/python deploy/infrastructure/document.py

monitoring: $(VENV)/.installed-dev ## Regenerate the Grafana dashboards and the rules as Helm values
	@$(BIN)/python deploy/monitoring/make.py

# --- releasing ----------------------------------------------------------------------------------

IMAGE ?= roman-assets:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

sbom: $(VENV)/.installed-dev ## Bill of materials (CycloneDX) of the image, or of .venv without one
	@$(BIN)/python deploy/release/release.py --image $(IMAGE) --sbom dist/sbom.cdx.json

audit: sbom ## Known vulnerabilities of what the bill of materials lists; IMAGE_SCANNER adds a scanner
	@$(BIN)/python deploy/release/audit.py dist/sbom.cdx.json

release: $(VENV)/.installed-dev ## Wheel, image, bill of materials and changelog of one version, in dist/
	@$(BIN)/python deploy/release/release.py --image $(IMAGE)

clean: ## Remove the virtual environment and everything built
	@rm -rf $(VENV) build dist *.egg-info csrc/tests/bin .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@rm -f roman_assets/kernels/_kernels*.so roman_assets/kernels/_kernels.c roman_assets/kernels/_kernels.o
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
