"""The op to copy: cases with their reasons, one comparison per backend and dtype, its traps."""

import pytest
import torch
from torch import Tensor

from tests.conftest import Backend
from tests.tolerances import assert_close
from vivace.ops import snake

CASES = {
    "one": (1, 1, 1),
    "ragged": (2, 7, 301),  # no row is a multiple of 16 bytes
    "aligned_tail": (1, 3, 4096 + 8),  # one full block of float32, then a tail
    "two_blocks": (2, 2, 16384 + 4),  # rows longer than a block in every dtype
    "empty": (2, 3, 0),
    "dac_44khz.block1": (1, 768, 689),  # first decoder block, one second
    "dac_44khz.block4": (1, 96, 44100),  # last decoder block, one second
    "dac_44khz.frame": (1, 96, 512),  # the same, one streamed frame
}
PERF = ("dac_44khz.block1", "dac_44khz.block4", "dac_44khz.frame")


def make(case: str, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    batch, channels, time = CASES[case]
    x = torch.randn(batch, channels, time, device=device).mul(3).to(dtype)
    alpha = torch.rand(channels, device=device).mul(4).add(0.05)
    return x, alpha


def cost(case: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    batch, channels, time = CASES[case]
    elements = batch * channels * time
    return 2 * elements * dtype.itemsize + 4 * channels, 12 * elements


def check(x: Tensor, alpha: Tensor, dtype: torch.dtype) -> None:
    y = snake(x, alpha)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert_close(y, snake.reference(x.double(), alpha.double()), dtype)


@pytest.mark.parametrize("case", CASES)
def test_matches_reference(backend: Backend, dtype: torch.dtype, case: str) -> None:
    x, alpha = make(case, dtype, backend.device)
    check(x, alpha, dtype)


def test_views(backend: Backend, dtype: torch.dtype) -> None:
    base = torch.randn(4, 10, 70, device=backend.device).to(dtype)
    alpha = torch.rand(5, device=backend.device) + 0.1
    check(base[1:3, 2:7, 3:60], alpha, dtype)  # rows start off every 16-byte boundary
    check(base[:, ::2], alpha, dtype)
    check(base[:, :5, ::3], alpha, dtype)  # time itself strided
    check(base.transpose(1, 2)[:, :5], alpha, dtype)


def test_large_arguments(backend: Backend) -> None:
    """|αx| up to 1e4 against the sine of the rounded float32 product, which is what torch takes."""
    x = torch.linspace(-1e4, 1e4, 20011, device=backend.device).reshape(1, 1, -1)
    y = snake(x, torch.ones(1, device=backend.device))
    truth = x.double() + x.double().sin().pow(2)
    assert (y.double() - truth).abs().max() < 1e-3  # half a unit in the last place of 1e4 is 5e-4
    small = torch.linspace(-30, 30, 20011, device=backend.device).reshape(1, 1, -1)
    error = snake(small, torch.ones(1, device=backend.device)).double() - (
        small.double() + small.double().sin().pow(2)
    )
    assert error.abs().max() < 3e-6


@pytest.mark.parametrize("alpha", [0.03, 1.0, 17.3])
def test_bound_of_the_square(backend: Backend, alpha: float) -> None:
    """sin² is within 4e-7 of the float64 square of the rounded αx, for |αx| from 1e-6 to 1e4.

    What the sum x + sin²/α is rounded to comes on top: half a unit in its last place, and of torch,
    which does not fuse, as much again.
    """
    size = torch.logspace(-6, 4, 40009, dtype=torch.float64)
    a = torch.full((1,), alpha, device=backend.device)
    x = (torch.cat((-size, size)) / alpha).float().to(backend.device).reshape(1, 1, -1)
    scale = a.double() + 1e-9
    truth = x.double() + (a * x).double().sin().pow(2) / scale
    error = (snake(x, a).double() - truth).abs()
    half_ulp = truth.abs() * 2.0**-24
    assert (error * scale - (2 if backend.name == "torch" else 1) * half_ulp * scale).max() < 4e-7


@pytest.mark.parametrize("alpha", [0.0, 1e-12, 1e-6, -1e-5, -0.7])
def test_small_and_negative_alpha(backend: Backend, dtype: torch.dtype, alpha: float) -> None:
    x = torch.randn(1, 1, 64, device=backend.device).to(dtype)
    y = snake(x, torch.full((1,), alpha, device=backend.device))
    assert y.isfinite().all()
    truth = snake.reference(x.double(), torch.full((1,), alpha, device=backend.device).double())
    assert_close(y, truth, dtype)


def test_not_a_number_and_infinity(backend: Backend, dtype: torch.dtype) -> None:
    x = torch.tensor([[[float("nan"), float("inf"), 1.0]]], device=backend.device).to(dtype)
    y = snake(x, torch.ones(1, device=backend.device))
    assert y[0, 0, :2].isnan().all()
    assert y[0, 0, 2].isfinite()


@pytest.mark.parametrize(
    ("x", "alpha", "error", "message"),
    [
        (
            torch.zeros(3, 5),
            torch.ones(3),
            ValueError,
            r"x must have shape \(B, C, T\), got \(3, 5\)",
        ),
        (
            torch.zeros(1, 3, 5),
            torch.ones(4),
            ValueError,
            r"alpha must have shape \(3,\), got \(4,\)",
        ),
        (torch.zeros(1, 3, 5), torch.ones(1, 3, 1), ValueError, r"got \(1, 3, 1\)"),
        (torch.zeros(1, 3, 5, dtype=torch.int64), torch.ones(3), TypeError, "float tensor"),
    ],
)
def test_bad_arguments(
    backend: Backend, x: Tensor, alpha: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        snake(x.to(backend.device), alpha.to(backend.device))


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((1, 3, 8206), (24624, 8208, 1)),
        ((2, 1, 8192), (8206, 8192, 1)),
        ((1, 2, 8192), (0, 8206, 1)),
    ],
    ids=["length", "clips", "rows"],
)
def test_long_rows_off_16_bytes(
    backend: Backend, dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    """Rows that fill a block, in which one thing alone is no multiple of 16 bytes."""
    x = torch.randn(24624, device=backend.device).to(dtype).as_strided(shape, strides)
    check(x, torch.rand(shape[1], device=backend.device) + 0.1, dtype)


def test_alpha_as_small_as_its_guard(backend: Backend) -> None:
    """α = 1e-9 doubles the divisor α + 1e-9: sin²(αx) / 2e-9 = 0.05 at x = 1e4."""
    x = torch.full((1, 1, 64), 1e4, device=backend.device)
    y = snake(x, torch.full((1,), 1e-9, device=backend.device))
    assert (y.double() - (x.double() + 0.05)).abs().max() < 1e-3
