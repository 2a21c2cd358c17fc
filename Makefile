# The things one does here. Each works on a fresh clone with nothing but Python, gcc and, for the
# CUDA module, nvcc: the virtual environments are made on demand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of torch serves every target here but `gpu`; a torch that is already installed is kept.
TORCH ?= torch==2.13.0
ARCHS ?= 90-real
# SANITIZE=ON adds two builds of the emulated kernels, under ASan+UBSan and under the race detector: three
# compilations of every kernel instead of one. `make test` wants them. `make dev` does not ask, and CMake's
# cache keeps the last answer: who never runs the whole suite never compiles them, who does never compiles
# anything twice in going from one to the other. `make dev SANITIZE=OFF` is rid of them.
test: SANITIZE ?= ON
EDITABLE = -Ccmake.define.VIVACE_SIMT=ON \
  $(if $(SANITIZE),-Ccmake.define.VIVACE_SIMT_SANITIZE=$(SANITIZE)) \
  -Ccmake.define.VIVACE_CUDA_ARCHS="$(ARCHS)"
# Where there is no CUDA toolkit: the headers that the emulated kernels include.
HEADERS = nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl
# The models of the tests are so small that a second thread costs more than it brings; results do not
# depend on it.
test gpu: export OMP_NUM_THREADS ?= 1

# A toolkit that is not on the path.
cuda_tool = $(or $(shell command -v $(1)),$(wildcard /usr/local/cuda/bin/$(1)))
NVCC ?= $(or $(call cuda_tool,nvcc),nvcc)
COMPUTE_SANITIZER ?= $(call cuda_tool,compute-sanitizer)

.PHONY: demo dev test sanitize lint bench gpu wheel clean

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install -q "$(TORCH)"
	$(BIN)/pip install -q "scikit-build-core>=0.11" "pybind11>=3.0" ninja "cmake>=3.25"
	$(if $(call cuda_tool,nvcc),,$(BIN)/pip install -q $(HEADERS))
	$(BIN)/pip install -q --no-build-isolation $(EDITABLE) -e ".[test,dev,bench]"
	touch $@

dev: $(VENV)/.installed  ## editable install with the emulated module; rebuilds what changed
	$(BIN)/pip install -q --no-build-isolation --no-deps $(EDITABLE) -e .

test: dev  ## the whole test suite, on up to four cores (PYTEST_ARGS=-n0: on one, for a debugger)
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

sanitize: dev  ## the CPU kernels under ASan and UBSan, and under ThreadSanitizer
	for kind in address,undefined thread; do $(BIN)/python -m tests.ops.sanitized $$kind || exit 1; done

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
	.venv-demo/bin/pip install -q ".[bench]" -Cbuild-dir=build/demo -Ccmake.define.VIVACE_CUDA_ARCHS="$(ARCHS)"
	.venv-demo/bin/python examples/demo.py --output demo-out

# The golden vectors come first: the tests hold the emulator to them. Without torch's pool of memory, which
# compute-sanitizer cannot look into, every tensor is an allocation of its own.
gpu: dev  ## everything that waits for a GPU: vectors, tests that must not skip, sanitizers, benchmarks
	mkdir -p build tests/simt/golden
	$(NVCC) -std=c++17 -arch=native -Icsrc tests/simt/conformance/*.cu -o build/conformance
	build/conformance tests/simt/golden
	VIVACE_FAIL_WITHOUT_CUDA=1 $(BIN)/python -m pytest -q tests $(PYTEST_ARGS)
	@test -n "$(COMPUTE_SANITIZER)" || echo "compute-sanitizer is not installed: its checks are left out"
	for tool in $(if $(COMPUTE_SANITIZER),memcheck racecheck synccheck); do \
	  PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
	    $(COMPUTE_SANITIZER) --tool $$tool --error-exitcode 1 --kernel-regex kns=vivace \
	    $(BIN)/python -m pytest -q tests/ops -k "cuda and (ragged or lengths or every_tile or large_tile)" \
	    || exit 1; \
	done
	$(BIN)/python -m bench ops --device cuda --record
	$(BIN)/python -m bench models --device cuda --record

wheel: $(VENV)/.installed  ## a wheel with every CUDA architecture (CPU only where nvcc is missing)
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -Cbuild-dir=build/wheel -w dist .
	@ls -l dist/*.whl

clean:
	rm -rf build dist demo-out
