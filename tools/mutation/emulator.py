"""A scratch copy of the kernels, compiled as csrc/simt compiles them, and the op tests on it.

The working tree is never written. Objects and the Python module come from the build folder; the
kernels under test are compiled again at -O1, which takes half the time of a release build.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import multiprocessing
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "mutants"
# Cheapest to compile and to run first: a header's mutant ends with the first op that kills it.
OPS = (
    *("rvq_decode", "snake", "rvq_encode", "conv_transpose1d", "residual_unit", "conv1d"),
    *("sample", "causal_attention", "gpt_decode_step", "lstm"),
)
# What pytest -k selects, one after the other until a test fails: schedules of tests/conftest.py's
# `backend` fixture. The cases of production size (khz) reach the same lines as the small ones.
_OTHERS = "simt-reverse or simt-fair or simt-shuffle or simt-race or simt-asan"
SCHEDULES = {
    "simt": {
        "forward": f"simt and not ({_OTHERS})",
        "reverse": "simt-reverse",
        "shuffle": "simt-shuffle",
    },
    "simt_race": {"race": "simt-race"},
    "simt_asan": {"asan": "simt-asan"},  # needs libasan preloaded, see csrc/simt/README.md
}
_DROPPED = {"-g", "-Wall", "-Wextra", "-O1", "-O2", "-O3", "-c", "-o"}


class NotBuilt(RuntimeError):
    """The build folder lacks the emulated module; the message says how to make it."""


@dataclass(frozen=True)
class Outcome:
    """Of one run of an op's tests: `how` is "" where all passed."""

    how: str
    seconds: float


def closure(path: Path, csrc: Path) -> set[Path]:
    """A source and the headers of csrc that it includes, directly or not."""
    found, waiting = {path}, [path]
    while waiting:
        for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', waiting.pop().read_text(), re.M):
            if (csrc / name).is_file() and csrc / name not in found:
                found.add(csrc / name)
                waiting.append(csrc / name)
    return found


class Emulator:
    """The scratch tree. `module`: simt; simt_race or simt_asan, whose checks are many times slower
    and find what leaves no trace in the result."""

    def __init__(self, module: str) -> None:
        self.module = module
        target = f"vivace_{module}_kernels.dir"
        files = sorted((ROOT / "build").glob("*/compile_commands.json"))
        entries = [(f.parent, e) for f in files for e in json.loads(f.read_text())]
        commands = [(build, e) for build, e in entries if target in e["command"]]
        if not commands:
            raise NotBuilt(
                f"mutate_kernels: no build folder has vivace._{module}: `make dev` builds _simt, "
                "-DVIVACE_SIMT_SANITIZE=ON also _simt_race"
            )
        self.build = commands[0][0]
        words = shlex.split(commands[0][1]["command"])
        self.tree = OUTPUT / f"tree-{os.getpid()}"
        shutil.rmtree(self.tree, ignore_errors=True)
        skip = shutil.ignore_patterns("__pycache__")
        for folder in ("csrc", "tests"):
            shutil.copytree(ROOT / folder, self.tree / folder, ignore=skip)
        shutil.copy(ROOT / "pyproject.toml", self.tree)
        self.flags = [
            w.replace(str(ROOT / "csrc"), str(self.tree / "csrc"))
            for w in words
            if w not in _DROPPED and not w.endswith((".cpp", ".o")) and "prefix-map" not in w
        ]
        self.flags.append(f"-ffile-prefix-map={self.tree}/=")  # equal code, equal object
        self.objects = self.tree / "objects"
        self.objects.mkdir()
        for part in (f"vivace_{module}.dir", target):
            for path in (self.build / "csrc" / "simt" / "CMakeFiles" / part).rglob("*.o"):
                shutil.copy(path, self.objects / path.name)
        modules = list((self.build / "csrc" / "simt").glob(f"_{module}.*.so"))
        if not modules or not list(self.objects.glob("*.o")):
            raise NotBuilt(f"mutate_kernels: vivace._{module} is not built: `make dev`")
        self.clean = self.tree / "clean"
        shutil.copytree(self.objects, self.clean)
        self.extension = Path(shutil.copy(modules[0], self.tree))
        self.library = self.tree / f"libvivace_{module}.so"

    def close(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)

    def users(self, file: str) -> list[str]:
        """The ops whose kernels include a file of csrc."""
        csrc = self.tree / "csrc"
        path = self.tree / file
        return [op for op in OPS if path in closure(csrc / "cuda" / f"{op}.cu", csrc)]

    @contextlib.contextmanager
    def altered(self, file: str, line: int, before: str, after: str) -> Iterator[None]:
        """The scratch tree with one line of a file replaced."""
        path = self.tree / file
        text = path.read_text()
        lines = text.split("\n")
        if lines[line - 1] != before:
            raise ValueError(f"altered: {file}:{line} must be {before!r}, got {lines[line - 1]!r}")
        lines[line - 1] = after
        path.write_text("\n".join(lines))
        try:
            yield
        finally:
            path.write_text(text)
            for kept in self.clean.glob("*.o"):  # ops call each other
                shutil.copy(kept, self.objects)

    def compile(self, op: str) -> bytes | None:
        """Compiles an op's kernels of the scratch tree; the object's hash, None for an error."""
        source = self.tree / f"{op}.cpp"
        source.write_text(f'#include "{self.tree}/csrc/cuda/{op}.cu"\n')
        target = self.objects / f"{op}.cpp.o"
        command = [*self.flags, "-w", "-O1", "-c", str(source), "-o", str(target)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return None
        return hashlib.sha256(target.read_bytes()).digest()

    def baseline(self, op: str) -> bytes:
        """Compiles the kernels as they are, or takes them from an earlier run."""
        csrc = self.tree / "csrc"
        state = hashlib.sha256(" ".join(self.flags).replace(str(self.tree), "").encode())
        for path in sorted(closure(csrc / "cuda" / f"{op}.cu", csrc)):
            state.update(path.read_bytes())
        kept = OUTPUT / "objects" / f"{self.module}-{op}-{state.hexdigest()[:16]}.o"
        if not kept.is_file():
            if self.compile(op) is None:
                raise RuntimeError(f"mutate_kernels: csrc/cuda/{op}.cu does not compile")
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.objects / f"{op}.cpp.o", kept)
        shutil.copy(kept, self.objects / f"{op}.cpp.o")
        shutil.copy(kept, self.clean / f"{op}.cpp.o")
        return hashlib.sha256(kept.read_bytes()).digest()

    def link(self) -> bool:
        objects = [str(path) for path in sorted(self.objects.glob("*.o"))]
        name = self.library.name
        command = [self.flags[0], "-shared", "-fPIC", "-Wl,-Bsymbolic", "-Wl,--no-undefined"]
        if self.module == "simt_asan":  # the race build is linked without libtsan
            command += [w for w in self.flags if w.startswith("-fsanitize=")]
        command += [f"-Wl,-soname,{name}", "-Wl,-rpath,$ORIGIN", "-o", str(self.library)]
        done = subprocess.run([*command, *objects, "-ldl"], capture_output=True, check=False)
        return done.returncode == 0

    def test(self, op: str, schedule: str, limit_s: float) -> Outcome:
        """Runs the op's tests on the linked library, in a process that this one is forked into:
        torch is imported once."""
        log = self.tree / "log.txt"
        began = time.monotonic()
        selection = f"({SCHEDULES[self.module][schedule]}) and not khz"
        process = multiprocessing.get_context("fork").Process(
            target=_run_tests, args=(self.tree, self.extension, op, selection, log)
        )
        process.start()
        process.join(limit_s)
        seconds = time.monotonic() - began
        if process.is_alive():
            process.kill()
            process.join()
            return Outcome(f"did not end within {limit_s:.0f} s", seconds)
        code = process.exitcode
        assert code is not None
        if code < 0:
            return Outcome(f"ended by signal {-code}", seconds)
        text = log.read_text(errors="replace")
        if code in (4, 5):
            raise RuntimeError(f"mutate_kernels: pytest found no tests of {op}\n{text[-2000:]}")
        failed = re.search(r"^(?:FAILED|ERROR) \S*::(.*)$", text, re.M)
        return Outcome("" if code == 0 else failed[1][:160] if failed else f"exit {code}", seconds)


def _run_tests(tree: Path, extension: Path, op: str, selection: str, log: Path) -> None:
    """In the child: the mutant takes the place of the installed module, then pytest runs."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    import pytest
    import torch

    torch.set_num_threads(1)
    name = f"vivace.{extension.name.split('.')[0]}"
    spec = importlib.util.spec_from_file_location(name, extension)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    options = ["-x", "-q", "--tb=no", "--no-header", "-p", "no:cacheprovider", "--rootdir", "."]
    code = pytest.main([*options, "-k", selection, f"tests/ops/test_{op}.py"])
    sys.stdout.flush()
    os._exit(int(code))
