# Set-up, demo and tests; each target does all it needs on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCE ?= phantom://
PORT ?= 8000

# Torch's build, `cpu` (200 MB to download) or `cuda` (3 GB): the machine's, unless it is said.
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo yes)
TORCH ?= $(if $(GPU),cuda,cpu)
ifeq ($(filter cpu cuda,$(TORCH)),)
$(error expected TORCH=cpu or TORCH=cuda, got TORCH=$(TORCH))
endif
# What is there sorts above PyPI's. Where it is not reached PyPI's build is taken, after 30 s at most.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_FROM := $(if $(filter cpu,$(TORCH)),--extra-index-url $(TORCH_INDEX) --retries 1 --timeout 15)
PINS := requirements/constraints.txt
STAMP := $(VENV)/installed-$(TORCH)

CHROMIUM := $(or $(TROCAR_CHROMIUM),$(shell command -v chromium || command -v chromium-browser || command -v google-chrome))

.PHONY: install demo test lint tools clean

install: $(STAMP)

# Without a stamp of its own, a build of torch is not the one that lies there.
$(STAMP): pyproject.toml $(PINS) requirements/dev.txt requirements/sam2.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q pip setuptools -c $(PINS)
	test -e $@ || $(PIP) uninstall -qqy torch
	$(PIP) install -q torch -c $(PINS) --no-deps $(TORCH_FROM)
	$(PIP) install -q torch -c $(PINS)
	$(PIP) install -q --no-deps -r $(PINS) -r requirements/dev.txt
	SAM2_BUILD_CUDA=0 $(PIP) install -q --no-deps --no-build-isolation --require-hashes -r requirements/sam2.txt
	$(PIP) install -q --no-deps --no-build-isolation -e .
	rm -f $(VENV)/installed* && touch $@

demo: install
	$(BIN)/trocar serve --source '$(SOURCE)' --port $(PORT)

# A core is a worker's, then the tests that keep time have the machine to themselves.
test: export OMP_WAIT_POLICY ?= PASSIVE
test: install tools lint
	failed=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not alone' -n logical --maxprocesses 4 \
	  --dist worksteal || failed=1; \
	$(BIN)/python -m pytest -m alone || failed=1; \
	exit $$failed

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Browser tests need Chromium, some media tests need ffmpeg. Neither is needed to run Trocar.
tools:
	@if [ -z "$(CHROMIUM)" ] || ! command -v ffmpeg >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium ffmpeg >/dev/null; \
	  else \
	    echo "Chromium or ffmpeg is missing: the tests marked 'browser' will not run."; \
	    echo "Enable them: install chromium and ffmpeg, or set TROCAR_CHROMIUM to a Chromium."; \
	  fi; \
	fi

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache *.egg-info
