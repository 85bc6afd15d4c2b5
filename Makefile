# `make demo` and `make test` need nothing but make and a Python from 3.11.
PYTHON ?= python3
BIN := .venv/bin
PARITY := .venv-parity/bin
AOT := .venv-aot/bin
BENCH ?= losses gradients kernels step

export JAX_PLATFORMS ?= cpu
export TQDM_MININTERVAL ?= 1

.PHONY: demo test parity aot bench docs lint clean

demo: .venv/examples.stamp
	$(BIN)/python examples/noisy_labels.py

test: .venv/test.stamp
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(PYTEST_ARGS)

parity: .venv-parity/parity.stamp
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
	$(PARITY)/python -m pytest -q -o addopts= -o testpaths= tests/parity $(PYTEST_ARGS)

aot: .venv-aot/aot.stamp
	$(AOT)/python -m pytest -q -o addopts= -o testpaths= tests/aot $(PYTEST_ARGS)

# -E: a picture follows from code that Sphinx does not watch.
docs: .venv/docs.stamp
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html -d build/doctrees docs build/docs
	@echo 'See build/docs/index.html.'

# On a GPU: make bench JAX_PLATFORMS=cuda, with a jaxlib, PyTorch, TensorFlow that have it.
bench: .venv-parity/benchmarks.stamp
	for what in $(BENCH); do $(PARITY)/python -m benchmarks $$what $(BENCH_ARGS) || exit 1; done

lint: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf .venv .venv-parity .venv-aot build dist

# An environment is made once; an extra is installed again when pyproject.toml changes.
.venv/%.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

.venv-parity/%.stamp: pyproject.toml | .venv-parity/bin/python
	$(PARITY)/python -m pip install --quiet --editable '.[$*]'
	touch $@

.venv-aot/%.stamp: pyproject.toml | .venv-aot/bin/python
	$(AOT)/python -m pip install --quiet --editable '.[$*]'
	touch $@

.venv/bin/python .venv-parity/bin/python .venv-aot/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'jaxloss needs Python 3.11 or newer: make PYTHON=/path/to/python ...'; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)
	$@ -m pip install --quiet --upgrade pip
