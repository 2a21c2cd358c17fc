"""The CPU kernels under a sanitizer: builds them, and runs their tests in a process of their own.

    python -m tests.ops.sanitized address,undefined   every op test of the CPU backend
    python -m tests.ops.sanitized thread              eight Python threads that call at once

Each builds a `_cpu` of its own in build/sanitize and stands it in for the installed one. gcc does
not instrument masked AVX-512 accesses and AMX tiles: those are seen by the guard pages of test_cpu,
and the code around them at the level of AVX2.
"""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent.parent
# -fsanitize= of the build -> libraries that have to be loaded before all others. libstdc++, or the
# sanitizer does not find the C++ exceptions that it wraps.
KINDS = {"address,undefined": ("libasan.so", "libstdc++.so"), "thread": ("libtsan.so",)}


def folder(kind: str) -> Path:
    return ROOT / "build" / "sanitize" / kind.partition(",")[0]


def build(kind: str) -> Path:
    """Configures at the first call, compiles what changed, returns the module."""
    where = folder(kind)
    where.mkdir(parents=True, exist_ok=True)
    with (where / "lock").open("w") as lock:  # the processes of a parallel run share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (where / "build.ninja").exists():
            options = {
                "CMAKE_BUILD_TYPE": "None",
                "CMAKE_CXX_FLAGS": "-O1",
                "CMAKE_MAKE_PROGRAM": _tool("ninja"),
                "Python_EXECUTABLE": sys.executable,
                "pybind11_DIR": _output(sys.executable, "-m", "pybind11", "--cmakedir"),
                "VIVACE_CPU_SANITIZE": kind,
                "VIVACE_CUDA": "OFF",
            }
            defined = (f"-D{name}={value}" for name, value in options.items())
            _run(_tool("cmake"), "-S", str(ROOT), "-B", str(where), "-G", "Ninja", *defined)
        _run(_tool("cmake"), "--build", str(where), "--target", "_cpu")
    (module,) = where.glob("_cpu.*.so")
    return module


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)  # of pip, in an environment that is not active
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found is not None, f"{name} is not installed"
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run(kind: str, what: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Builds, and runs this file's `main` in a process that has the sanitizer's library loaded."""
    module = build(kind)
    names = [_output("g++", f"-print-file-name={name}") for name in KINDS[kind]]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(names),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python leaks on purpose
        "UBSAN_OPTIONS": "print_stacktrace=1",
        # torch and Python are not instrumented: what they do to their own memory is not looked at.
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "tests.ops.sanitized", kind, what, str(module)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=timeout_s,
    )


def stand_in(path: Path) -> ModuleType:
    """Makes the module at `path` the `vivace._cpu` of this process."""
    spec = importlib.util.spec_from_file_location("vivace._cpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["vivace._cpu"] = module
    return module


def callers(module: ModuleType) -> int:
    """Eight Python threads on every op. One thread each: libgomp is not instrumented, and what it
    orders would look like races."""
    from tests.ops.test_cpu import OPS, wrong_under_callers

    wrong = 0
    for level in ("avx2", ""):
        module.set_isa_cap(level)
        for op in OPS:
            for kind in ("float32", "bfloat16"):
                cases = wrong_under_callers(op, kind, threads=1, flops=50_000_000)
                print(f"{op} {kind} {module.active_isa()}: {cases or 'agree'}")
                wrong += len(cases)
    return min(wrong, 1)


def planted_address(module: ModuleType) -> int:
    """Says that 64 floats stand where 32 do."""
    import numpy as np

    x = np.lib.stride_tricks.as_strided(np.zeros(32, np.float32), (1, 1, 64), (0, 0, 4))
    module.snake(np.zeros((1, 1, 64), np.float32), x, np.ones(1, np.float32), 1)
    return 0


def planted_thread(module: ModuleType) -> int:
    """Two threads write the same result."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    import numpy as np

    x, alpha = np.zeros((1, 64, 4096), np.float32), np.ones(64, np.float32)
    y, start = np.zeros_like(x), Barrier(2)

    def write(_: int) -> None:
        start.wait()
        module.snake(y, x, alpha, 1)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    return 0


def main(kind: str, what: str, path: Path) -> int:
    os.environ.pop("LD_PRELOAD")  # it has worked; neither fixtures nor their processes want it
    module = stand_in(path)
    if what == "planted":
        module.set_isa_cap("avx2")
        return planted_thread(module) if kind == "thread" else planted_address(module)
    if kind == "thread":
        return callers(module)
    import pytest

    # The cases of production size reach no other code, and take their references minutes.
    chosen = "cpu- and not khz and not bark and not encodec"
    return int(pytest.main(["-q", "-p", "no:cacheprovider", "tests/ops", "-k", chosen]))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        done = run(sys.argv[1], "clean", 3600)
        print(done.stdout + done.stderr)
        sys.exit(done.returncode)
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
