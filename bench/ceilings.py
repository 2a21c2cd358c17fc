"""What the machine can do at best, measured where the cases are: bandwidth and GEMM rates."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from bench import machine
from bench.case import DTYPES, precision
from bench.timer import CpuSampler, CudaSampler


@dataclass
class Ceilings:
    """Bytes and FLOPs per second that simple calls of torch reach, with the current threads.

    `copy_gbs`: a large copy, bytes read plus bytes written; `copies_gbs`: the same for smaller
    working sets (bytes -> GB/s), measured when a case asks; `gemm_gflops` by dtype; `read_gbs`: a
    matrix-vector product far larger than the cache shown (CPU only).
    """

    device: str
    quick: bool = False
    copy_gbs: float = 0.0
    read_gbs: float | None = None
    gemm_gflops: dict[str, float] = field(default_factory=dict)
    copies_gbs: dict[str, float] = field(default_factory=dict)
    caches: dict[str, int] = field(default_factory=dict)

    @classmethod
    def measure(cls, device: str, quick: bool = False) -> "Ceilings":
        """Takes about ten seconds, or one if `quick` (then too low, and marked in the record)."""
        self = cls(device, quick)
        large = (64 << 20) if quick else (1 << 30)
        self.copy_gbs = self._copy(large)
        if device == "cuda":
            self.caches = {"L2": torch.cuda.get_device_properties(0).L2_cache_size}
            names: tuple[str, ...] = ("float32", "tf32", "bfloat16", "float16")
        else:
            self.caches = machine.caches()
            self.read_gbs = self._read(large)
            names = ("float32", "bfloat16")
        side = 512 if quick else (8192 if device == "cuda" else 2048)
        for name in names:
            self.gemm_gflops[name] = self._gemm(name, side)
        return self

    def bandwidth(self, nbytes: int) -> float:
        """Bytes per second of a copy with this working set; on CUDA, where the caches are cold,
        that of the large one.
        """
        if self.device == "cuda" or nbytes >= (1 << 30):
            return self.copy_gbs * 1e9
        key = str(nbytes)
        if key not in self.copies_gbs:
            self.copies_gbs[key] = self._copy(nbytes)
        return self.copies_gbs[key] * 1e9

    def rate(self, dtype: str) -> float:
        """FLOPs per second of the best GEMM that a kernel of this dtype could use."""
        names = {"float32", dtype}
        if dtype in ("float16", "bfloat16"):
            # CPUs without half-precision products compute wider; the other half type stands in.
            names |= {"bfloat16", "float16"}
        return max(v for n, v in self.gemm_gflops.items() if n in names) * 1e9

    def floor(self, nbytes: int, flops: int, dtype: str) -> float:
        """The seconds below which no implementation comes: max(bytes / bandwidth, FLOPs / rate)."""
        return max(nbytes / self.bandwidth(nbytes), flops / self.rate(dtype))

    def cache_of(self, nbytes: int) -> str | None:
        """The smallest cache that holds a working set, of the cores in use; None if DRAM alone."""
        for name, size in sorted(self.caches.items()):
            shared = torch.get_num_threads() if (self.device, name) == ("cpu", "L2") else 1
            if nbytes <= size * shared:
                return name
        return None

    def _copy(self, nbytes: int) -> float:
        count = max(1, nbytes // 8)  # float32 elements of each of the two buffers
        source = torch.randn(count, device=self.device)
        target = torch.empty_like(source)
        return 8 * count / self._best(lambda: target.copy_(source)) / 1e9

    def _read(self, nbytes: int) -> float:
        rows = max(1, nbytes // 4 // 4096)
        matrix, vector = torch.randn(rows, 4096), torch.randn(4096)
        return 4 * rows * 4096 / self._best(lambda: torch.mv(matrix, vector)) / 1e9

    def _gemm(self, name: str, side: int) -> float:
        a, b = (torch.randn(side, side, device=self.device).to(DTYPES[name]) for _ in range(2))
        with precision(name):
            return 2 * side**3 / self._best(lambda: a @ b) / 1e9

    def _best(self, call: Callable[[], Any]) -> float:
        """The shortest of many: a ceiling is what the machine can, not what it did on average."""
        seconds = 0.02 if self.quick else 0.5
        if self.device == "cuda":
            return min(CudaSampler(call, [()], seconds / 2).sample(seconds, 4))
        return min(CpuSampler(call, seconds / 2).sample(seconds, 4))
