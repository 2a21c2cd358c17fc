"""rvq_decode: a gather and a sum, in a fixed order."""

import pytest
import torch
from torch import Tensor

from tests.conftest import Backend
from tests.tolerances import assert_close
from vivace.ops.rvq_decode import rvq_decode

# (batch, frames, codebooks of the codes, codebooks of the table, rows K, width D)
CASES = {
    "one": (1, 1, 1, 1, 1, 1),
    "ragged": (2, 37, 3, 5, 20, 50),  # fewer codebooks than the table has; D not a multiple of 16
    "wide": (1, 5, 2, 2, 8, 1032),
    "many_books": (1, 3, 19, 19, 7, 24),
    "narrow": (2, 5, 2, 2, 6, 14),  # as wide as a 16-byte access, but not a multiple of one
    "empty": (2, 0, 3, 3, 4, 16),
    "dac_44khz": (1, 862, 9, 9, 1024, 1024),
    "dac_24khz": (1, 750, 32, 32, 1024, 1024),
}
PERF = tuple(name for name in CASES if "khz" in name)


def make(name: str, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    batch, time, books, table_books, rows, width = CASES[name]
    codes = torch.randint(rows, (batch, time, books), device=device)
    return codes, torch.randn(table_books, rows, width, device=device).to(dtype)


def cost(name: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    batch, time, books, _, _, width = CASES[name]
    frames = batch * time
    return frames * (8 * books + (books + 1) * width * dtype.itemsize), frames * books * width


@pytest.mark.parametrize("name", CASES)
def test_matches_reference(backend: Backend, dtype: torch.dtype, name: str) -> None:
    codes, table = make(name, dtype, backend.device)
    y = rvq_decode(codes, table)
    assert y.dtype == dtype
    assert_close(y, rvq_decode.reference(codes, table.double()), dtype, terms=codes.shape[2])


def test_views(backend: Backend, dtype: torch.dtype) -> None:
    """Codes as DacModel has them: (B, N, T) seen as (B, T, N), a slice of the codebooks."""
    _, table = make("ragged", dtype, backend.device)
    codes = torch.randint(20, (2, 5, 9), device=backend.device)[:, 1:4].transpose(1, 2)
    y = rvq_decode(codes, table)
    assert_close(y, rvq_decode.reference(codes, table.double()), dtype, terms=3)


@pytest.mark.parametrize("width", [5, 16])
def test_ids_outside_the_table(backend: Backend, dtype: torch.dtype, width: int) -> None:
    """Torch raises on the CPU; a kernel reads row 0."""
    table = torch.randn(2, 20, width, device=backend.device).to(dtype)
    codes = torch.tensor([[[3, 20], [-1, 4], [2**40, 0]]], device=backend.device)
    if backend.name == "torch":
        with pytest.raises(IndexError):
            rvq_decode(codes, table)
        return
    inside = torch.tensor([[[3, 0], [0, 4], [0, 0]]], device=backend.device)
    assert torch.equal(rvq_decode(codes, table), rvq_decode(inside, table))


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (torch.zeros(2, 3, 6, dtype=torch.int64), ValueError, r"table \(>= N, K, D\)"),
        (torch.zeros(2, 3, dtype=torch.int64), ValueError, r"codes must have shape \(B, T, N\)"),
        (torch.zeros(2, 3, 2, dtype=torch.int32), TypeError, "codes must be int64"),
    ],
)
def test_bad_arguments(codes: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rvq_decode(codes, make("ragged", torch.float32, "cpu")[1])
