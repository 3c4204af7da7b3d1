# make quick: install and run the first suite.  make test: install and run every test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: setup quick test lint bench gpu clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and "attnbench needs Python 3.10 or newer, %s is %d.%d; name one: make PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) -e '.[dev]'
	touch $@

quick: setup
	$(BIN)/attnbench run quick

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --benchmark-disable

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The harness's own speed: what a probe costs over its own run, and the like.
bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only

# On a machine that has torch with CUDA and no network: make gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(BIN)/python
GPU_OUT ?= results/quick-gpu-$(shell date -u +%Y%m%dT%H%M%SZ)
gpu:
	command -v $(GPU_PYTHON) >/dev/null || $(MAKE) setup
	$(GPU_PYTHON) -c 'import importlib.metadata as m; m.version("attnbench")' 2>/dev/null || \
		$(GPU_PYTHON) -m pip install --no-deps --no-build-isolation -c constraints.txt -e .
	@$(GPU_PYTHON) -c "import sys; from harness.device import device_named; why = device_named('cuda').unavailable(); sys.exit(why and f'make gpu: {why}')"
	$(GPU_PYTHON) -m pytest tests/gpu
	$(GPU_PYTHON) -m harness.cli run gpu/quick-gpu --device cuda --out $(GPU_OUT)

clean:
	rm -rf $(VENV) build dist *.egg-info
