"""Compiles the engine and the test kernels with g++, variant by variant, and calls them."""

import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
SIMT = ROOT / "csrc" / "simt"
KERNELS = Path(__file__).parent / "kernels"

# As in csrc/simt/CMakeLists.txt: define, flags of the kernels, flags of the link, further sources.
_SANITIZE = ("-fsanitize=address,undefined",)
VARIANTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "plain": ((), ("-O2",), ()),
    "asan": (("-DVIVACE_SIMT_ASAN",), ("-O1", *_SANITIZE, "-fno-sanitize-recover=all"), _SANITIZE),
    "race": (("-DVIVACE_SIMT_RACE",), ("-O2", "-fsanitize=thread"), ()),
    "ucontext": (("-DSIMT_UCONTEXT",), ("-O0",), ()),
}
_RACE_ONLY = {"race.cpp", "shadow.cpp", "tsan_hooks.cpp"}


def cuda_include() -> list[Path] | None:
    """Folders that hold cuda_fp16.h, crt/host_defines.h and nv/target, or None."""
    named = [Path(p) for p in os.environ.get("VIVACE_CUDA_INCLUDE", "").split(os.pathsep) if p]
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        dry = subprocess.run(
            [nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False
        )
        top = re.search(r"^#\$ TOP=(.*)$", dry.stderr, re.M)
        if top is not None:
            homes.insert(0, top.group(1).strip())
    folders = [*named]
    for home in homes:
        if home:
            folders += [Path(home) / "include", *Path(home).glob("targets/*/include")]
    for site in sys.path:
        folders += sorted(Path(site).glob("nvidia/*/include"))
    found = []
    for header in ("cuda_fp16.h", "crt/host_defines.h", "nv/target"):
        holders = [f for f in folders if (f / header).is_file()]
        if not holders:
            return None
        found.append(holders[0])
    return list(dict.fromkeys(found))


def require_compiler() -> list[Path]:
    """The include folders; without them or g++ the test is skipped, or fails in CI."""
    include = cuda_include()
    missing = "g++" if shutil.which("g++") is None else None if include else "CUDA's headers"
    if missing is not None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the emulator's tests, but there is no {missing}")
        pytest.skip(f"no {missing}")
    assert include is not None
    return include


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def _headers() -> str:
    """Changes whenever a header does."""
    digest = hashlib.sha256()
    for folder in (ROOT / "csrc" / "core", SIMT, Path(__file__).parent):
        for path in sorted(p for p in folder.rglob("*.*") if p.suffix in {".h", ".hpp", ".cuh"}):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def sanitizer_environment() -> dict[str, str]:
    """For a process that will load the ASan build: its run-time library has to come first, and
    libstdc++ with it, or the sanitizer does not find the C++ exceptions that it wraps."""
    names = (
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    )
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(names),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def build(variant: str, folder: Path, kernels: list[Path], *, shared: bool = True) -> Path:
    """Compiles what changed since the last run into `folder` and links; returns what it linked."""
    with (folder / "lock").open("w") as lock:  # the processes of a parallel run share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(variant, folder, kernels, shared)


def _build(variant: str, folder: Path, kernels: list[Path], shared: bool) -> Path:
    define, instrument, link = VARIANTS[variant]
    common = ["g++", "-std=c++17", "-fPIC", "-g", "-Wall", "-Wextra", "-Werror"]
    common += ["-Wno-unknown-pragmas", "-fno-strict-aliasing", "-fno-gnu-unique", "-DVIVACE_SIMT"]
    common += [
        *define,
        f"-ffile-prefix-map={ROOT}=.",
        f"-ffile-prefix-map={ROOT}/=",
        f"-I{ROOT}/csrc",
    ]
    common += [f"-I{parent}" for parent in {source.parent for source in kernels}]
    common += [f"-isystem{include}" for include in require_compiler()]
    engine = sorted(p for p in SIMT.glob("*.cpp") if p.name != "module_simt.cpp")
    headers = _headers()
    jobs, objects = [], []
    for source in [*engine, *kernels]:
        if source.name in _RACE_ONLY and variant != "race":
            continue
        command = [*common, *(instrument if source in kernels else ("-O1",)), "-x", "c++", "-c"]
        content = source.read_text()
        key = hashlib.sha256("\0".join([*command, content, headers]).encode()).hexdigest()[:16]
        name = f"{source.parent.name}-{source.stem}"
        target = folder / f"{name}-{key}.o"
        objects.append(str(target))
        if not target.exists():
            for old in folder.glob(f"{name}-*.o"):
                old.unlink()
            jobs.append((target, [*command, str(source), "-o", f"{target}.part"]))

    def compile_one(job: tuple[Path, list[str]]) -> None:
        run(job[1])
        os.replace(f"{job[0]}.part", job[0])

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(compile_one, jobs))
    linked = folder / ("libkernels.so" if shared else "program")
    mode = ["-shared", "-Wl,--no-undefined"] if shared else []
    command = ["g++", *mode, *link, "-Wl,-Bsymbolic", *objects, "-ldl", "-lpthread", "-o"]
    run([*command, f"{linked}.part"])
    os.replace(f"{linked}.part", linked)
    return linked


@dataclass(frozen=True)
class Schedule:
    """Which thread and block runs next, and when asynchronous copies land."""

    order: int = 0  # forward, reverse, shuffle
    fair: bool = False
    copies: int = 0  # eager, late, shuffle
    seed: int = 0

    def __str__(self) -> str:
        order = ("forward", "reverse", "shuffle")[self.order]
        copies = ("eager", "late", "mixed")[self.copies]
        return f"{order}-{'fair' if self.fair else 'greedy'}-{copies}-{self.seed}"


SCHEDULES = [
    Schedule(0, False, 0),
    Schedule(0, False, 1),
    Schedule(1, False, 0),
    Schedule(0, True, 1),
    Schedule(1, True, 0),
    Schedule(2, False, 2, 1),
    Schedule(2, True, 2, 2),
    Schedule(2, True, 1, 3),
]


class Library:
    """The cases of a compiled library. Buffers are numpy arrays, changed in place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._library.run_case.restype = ctypes.c_char_p
        self._library.set_schedule.argtypes = [ctypes.c_int] * 3 + [ctypes.c_uint64]

    def run(
        self, case: str, *buffers: np.ndarray, numbers: tuple[int, ...] = (), at: Schedule
    ) -> str | None:
        """The error's text, or None."""
        self._library.set_schedule(at.order, at.fair, at.copies, at.seed)
        pointers = (ctypes.c_void_p * max(1, len(buffers)))(*[b.ctypes.data for b in buffers])
        values = (ctypes.c_int64 * max(1, len(numbers)))(*numbers)
        text = self._library.run_case(case.encode(), pointers, values)
        return None if text is None else text.decode()


def marked(mark: str) -> str:
    """ "kernels/x.cu:12" of the line that ends in `// MARK <mark>`."""
    for path in sorted(KERNELS.glob("*.cu")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.rstrip().endswith(f"// MARK {mark}"):
                return f"kernels/{path.name}:{number}"
    raise KeyError(mark)
