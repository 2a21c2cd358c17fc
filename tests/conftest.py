"""Fixtures of the whole suite: seeded randomness, and `backend` × `dtype` for ops."""

import contextlib
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vivace
from vivace import _dispatch

_CUDA_REQUIRED = os.environ.get("VIVACE_FAIL_WITHOUT_CUDA", "") not in ("", "0")
_CSRC = Path(__file__).parent.parent / "csrc"
_ISA_LEVELS = ("generic", "avx2", "avx512", "amx")


@dataclass(frozen=True)
class Backend:
    """Where an op test runs: a forced backend, for `cpu` the cap on the instruction set, for the
    emulated GPU the schedule. `small`: the cases of production size are left to another one."""

    name: str
    isa: str = ""
    schedule: dict[str, Any] = field(default_factory=dict)
    small: bool = False

    @property
    def device(self) -> str:
        return "cuda" if self.name == "cuda" else "cpu"

    def missing(self) -> str | None:
        if self.name == "torch":
            return None
        module = _dispatch.load(self.name)
        if module is None:
            return f"vivace._{self.name} is not built"
        if self.name == "cuda" and not torch.cuda.is_available():
            return "no GPU"
        if self.name == "cpu":
            detected = _ISA_LEVELS.index(module.detected_isa())
            if detected < _ISA_LEVELS.index(self.isa):
                return f"this CPU has no {self.isa}"
        return None

    def without_kernel(self, op: str) -> str | None:
        """A kernel may be missing only if its source is: a module that lost one is an error."""
        folder, suffix = ("cpu", "cpp") if self.name == "cpu" else ("cuda", "cu")
        if self.name == "torch" or (_CSRC / folder / f"{op}.{suffix}").exists():
            return None
        return f"csrc/{folder} has no {op}"

    @contextlib.contextmanager
    def active(self, seed: int) -> Iterator["Backend"]:
        """Forces it, for as long as the context lasts; the seed is that of a shuffled schedule."""
        module = None if self.name == "torch" else _dispatch.load(self.name)
        if self.name == "cpu":
            module.set_isa_cap(self.isa)
        elif self.name.startswith("simt"):
            module.set_schedule(**self.schedule, seed=seed)
        try:
            with vivace.backend(self.name):
                yield self
        finally:
            if self.name == "cpu":
                module.set_isa_cap("")
            elif self.name.startswith("simt"):
                module.set_schedule()


# Each schedule of the emulated GPU hides some mistakes and shows others; the race build finds the
# races of all schedules in any one.
BACKENDS = {
    "torch": Backend("torch"),
    "cpu-avx2": Backend("cpu", "avx2"),
    "cpu-avx512": Backend("cpu", "avx512"),
    "cpu-amx": Backend("cpu", "amx"),
    "simt": Backend("simt"),
    "simt-reverse": Backend("simt", "", {"order": "reverse", "copies": "late"}, small=True),
    "simt-fair": Backend("simt", "", {"fair": True, "copies": "late"}, small=True),
    "simt-shuffle": Backend(
        "simt", "", {"order": "shuffle", "fair": True, "copies": "shuffle"}, small=True
    ),
    "simt-race": Backend("simt_race", small=True),
    "cuda": Backend("cuda"),
}
if "libasan" in os.environ.get("LD_PRELOAD", ""):  # else loading the module ends the process
    BACKENDS = {"simt-asan": Backend("simt_asan", small=True)}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, _seeded: int) -> Iterator[Backend]:
    """Each backend in turn, forced. What this machine lacks is skipped by name."""
    chosen = BACKENDS[request.param]
    op = request.module.__name__.rpartition(".test_")[2]
    reason = chosen.missing() or chosen.without_kernel(op)
    if reason is not None:
        if chosen.name == "cuda" and _CUDA_REQUIRED:
            pytest.fail(f"VIVACE_FAIL_WITHOUT_CUDA is set, but: {reason}")
        if chosen.name.startswith("simt") and os.environ.get("CI"):
            pytest.fail(f"CI must run the CUDA kernels, but: {reason}")
        pytest.skip(reason)
    large = getattr(request.module, "PERF", ())
    if chosen.small and not _strings(request.node).isdisjoint(large):
        pytest.skip("of production size: run in one schedule of the plain build")
    with chosen.active(_seeded) as active, torch.no_grad():
        yield active


def _strings(node: pytest.Function) -> set[str]:
    """The names of cases among a test's parameters."""
    return {value for value in node.callspec.params.values() if isinstance(value, str)}


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16], ids=["f32", "f16", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def cuda() -> str:
    """The device "cuda" for tests that need a GPU; they skip, or fail where one is required."""
    if not torch.cuda.is_available():
        if _CUDA_REQUIRED:
            pytest.fail("VIVACE_FAIL_WITHOUT_CUDA is set, but torch sees no GPU")
        pytest.skip("no GPU")
    return "cuda"


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> int:
    """Every test has its own seed, printed when it fails; VIVACE_TEST_SEED shifts all of them.

    All schedules and builds of the emulated GPU get the same data: their numbers are the same.
    """
    shift = int(os.environ.get("VIVACE_TEST_SEED", "0"))
    variants = "|".join(name for name in BACKENDS if name.startswith("simt-"))
    name = re.sub(rf"\[({variants})", "[simt", request.node.nodeid)
    seed = (zlib.crc32(name.encode()) + shift) % 2**32
    torch.manual_seed(seed)
    np.random.seed(seed)
    print(f"seed {seed}")
    return seed
