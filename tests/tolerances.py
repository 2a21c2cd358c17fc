"""The only tolerance table: how far a result in a dtype may be from the float64 truth.

`rtol` is a few units in the last place of the dtype; `atol` is the same for values of size 1. An op
that sums k products passes `terms=k`: independent rounding errors grow with the square root of k.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tests.conftest import Backend

TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (2e-6, 2e-6),
    torch.float16: (1e-3, 1e-3),
    torch.bfloat16: (8e-3, 8e-3),
}


def assert_close(actual: Tensor, truth: Tensor, dtype: torch.dtype, *, terms: int = 1) -> None:
    """Asserts that `actual` is within the table's tolerance of the float64 `truth`."""
    rtol, atol = TOLERANCES[dtype]
    scale = math.sqrt(terms)
    torch.testing.assert_close(
        actual.double(), truth.double(), rtol=rtol * scale, atol=atol * scale
    )


def product_dtype(backend: "Backend", dtype: torch.dtype) -> torch.dtype:
    """The row of the table for an op that multiplies matrices: tf32 has float16's mantissa."""
    tensor_cores = backend.name in ("cuda", "simt", "simt_asan", "simt_race")
    return torch.float16 if tensor_cores and dtype == torch.float32 else dtype
