# The seven things one does here. Each works on a fresh clone with nothing but Python, gcc and, for the
# CUDA module, nvcc: the virtual environments are made on demand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of torch serves every target here but `gpu`; a torch that is already installed is kept.
TORCH ?= torch==2.13.0
ARCHS ?= 90-real
EDITABLE = -Ccmake.define.VIVACE_SIMT=ON \
  -Ccmake.define.VIVACE_CUDA_ARCHS="$(ARCHS)"
# The models of the tests are so small that a second thread costs more than it brings; results do not
# depend on it.
test gpu: export OMP_NUM_THREADS ?= 1

.PHONY: demo dev test lint bench gpu wheel clean

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install -q "$(TORCH)"
	$(BIN)/pip install -q "scikit-build-core>=0.11" "pybind11>=3.0" ninja "cmake>=3.25"
	$(BIN)/pip install -q --no-build-isolation $(EDITABLE) -e ".[test,dev,bench]"
	touch $@

dev: $(VENV)/.installed  ## editable install with the emulated module; rebuilds what changed
	$(BIN)/pip install -q --no-build-isolation --no-deps $(EDITABLE) -e .

test: dev  ## the whole test suite
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(VENV)/.installed  ## formatting, style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh' 'csrc/*.hpp')

bench: dev  ## time the ops and models of this machine; records go to bench/records
	$(BIN)/python -m bench ops --record
	$(BIN)/python -m bench models --record

demo:  ## real speech through the embedded codec and back: a table, out.wav and a picture
	test -x .venv-demo/bin/python || $(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -c "import torch" 2>/dev/null || .venv-demo/bin/pip install -q "$(TORCH)"
	.venv-demo/bin/pip install -q ".[bench]" -Ccmake.define.VIVACE_CUDA_ARCHS="$(ARCHS)"
	.venv-demo/bin/python examples/demo.py --output demo-out

gpu: dev  ## everything that waits for a GPU: tests that must not skip, then benchmarks
	VIVACE_FAIL_WITHOUT_CUDA=1 $(BIN)/python -m pytest -q tests $(PYTEST_ARGS)
	$(BIN)/python -m bench ops --device cuda --record
	$(BIN)/python -m bench models --device cuda --record

wheel: $(VENV)/.installed  ## a wheel with every CUDA architecture (CPU only where nvcc is missing)
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -w dist .
	@ls -l dist/*.whl

clean:
	rm -rf build dist demo-out
