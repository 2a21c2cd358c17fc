"""A case to be timed: what it computes, what it costs at least, and who competes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,  # float32 tensors, TensorFloat-32 products; CUDA only
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """TensorFloat-32 for "tf32", exact float32 products for all else, in GEMM and convolution."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@dataclass
class Variant:
    """One competitor. `call(*case.args)` is what is timed, inside `active()`."""

    name: str
    call: Callable[..., Any]
    peer: bool = False  # a torch or third-party variant: speed-ups are against the best of these
    active: Callable[[], AbstractContextManager[Any]] = nullcontext
    compiles: bool = False  # the first call compiles, and may fail where no compiler is


@dataclass
class Case:
    """Variants that compute the same thing.

    `bytes` and `flops` are what any implementation must move and do. `verify(variant)` runs the
    variant and returns its errors, or raises AssertionError: then it is not timed. `rotate`: on
    CUDA, take other copies of the arguments in each call (cold L2) and replay short calls in a
    graph. `audio_s`: seconds of audio that a call makes or takes.
    """

    id: str
    dtype: str
    shape: list[list[int]]
    bytes: int
    flops: int
    args: tuple[Any, ...]
    variants: list[Variant]
    verify: Callable[[Variant], dict[str, float]]
    rotate: bool = False
    audio_s: float | None = None


@dataclass(frozen=True)
class Options:
    """What the command line asks for. Empty tuples stand for the defaults of the suite."""

    device: str = "cpu"
    name: str = ""
    dtypes: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    batches: tuple[int, ...] = ()
    rounds: int = 5
    quick: bool = False
    compile: tuple[str, ...] | None = None  # modes of torch.compile; None: the suite's default
    memory_s: float = 60.0

    def wants(self, case_id: str) -> bool:
        """Whether NAME selects the case: a whole id, or leading parts of it."""
        return not self.name or f"{case_id}/".startswith(f"{self.name.rstrip('/')}/")


Cases = Callable[[Options, Callable[[str], None]], Iterator[Case]]
