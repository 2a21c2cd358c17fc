"""residual_unit: one kernel where the weights fit on chip, two convolutions where they do not."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.conftest import Backend
from tests.tolerances import assert_close, product_dtype
from vivace import _dispatch
from vivace.ops.residual_unit import residual_unit


@dataclass(frozen=True)
class Case:
    batch: int
    time: int
    channels: int
    dilation: int
    padding: int
    lengths: tuple[int, ...] | None = None


CASES = {
    "one": Case(1, 1, 1, 1, 3),
    "ragged": Case(2, 150, 96, 9, 27),
    "dilation3": Case(1, 70, 64, 3, 9),
    "small_channels": Case(2, 45, 24, 1, 3),
    "lengths": Case(3, 80, 32, 9, 27, (80, 33, 1)),
    "stream_piece": Case(1, 61, 32, 9, 0),
    "not_fused": Case(1, 40, 392, 1, 3),  # the weights of no architecture's block fit
    "not_fused_stream": Case(2, 9, 392, 1, 0),  # the sum's frames lie apart from clip to clip
    # More blocks than the emulated GPU has multiprocessors: the large tile of each width.
    "large_tile.64": Case(1, 520, 40, 3, 9),
    "large_tile.96": Case(1, 260, 72, 1, 3),
    "large_tile.128": Case(1, 260, 104, 1, 3),
    "large_tile.192": Case(1, 260, 136, 1, 3),
    "large_tile.256": Case(1, 260, 200, 1, 3),
    "large_tile.384": Case(1, 100, 264, 1, 3),
    "no_clips": Case(0, 20, 16, 1, 3),
    "dac_44khz.block1": Case(1, 689, 768, 9, 27),
    "dac_44khz.block2": Case(1, 5512, 384, 9, 27),
    "dac_44khz.block3": Case(1, 22050, 192, 9, 27),
    "dac_44khz.block4": Case(1, 44100, 96, 9, 27),
}
PERF = tuple(name for name in CASES if "khz" in name)


def make(name: str, dtype: torch.dtype, device: str) -> tuple[object, ...]:
    case = CASES[name]
    c = case.channels

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    def alpha() -> Tensor:
        return (torch.rand(c, device=device) * 3 + 0.1).to(dtype)

    lengths = None if case.lengths is None else torch.tensor(case.lengths, device=device)
    return (
        normal(case.batch, case.time, c).to(dtype),
        alpha(),
        (normal(c, c, 7) / (7 * c) ** 0.5).to(dtype),
        normal(c).to(dtype),
        alpha(),
        (normal(c, c, 1) / c**0.5).to(dtype),
        normal(c).to(dtype),
        lengths,
        case.dilation,
        case.padding,
    )


def cost(name: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    case = CASES[name]
    values = case.batch * case.time * case.channels
    weights = 8 * case.channels**2
    return (2 * values + weights) * dtype.itemsize, 2 * values * 8 * case.channels


def truth_of(args: tuple[object, ...]) -> Tensor:
    """The reference in float64, which the ops inside it leave to torch."""
    wide = [a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    with _dispatch.backend("torch"):
        truth: Tensor = residual_unit.reference(*wide)
    return truth


def check(backend: Backend, dtype: torch.dtype, name: str) -> None:
    case = CASES[name]
    args = make(name, dtype, backend.device)
    y = residual_unit(*args)
    truth = truth_of(args)
    assert y.dtype == dtype
    assert y.shape == truth.shape
    for row, true_row, length in zip(
        y, truth, case.lengths or (case.time,) * case.batch, strict=True
    ):
        end = length - 6 * case.dilation + 2 * case.padding
        # Two chained products, each rounding its activated input; the worst of up to 4e6 values.
        assert_close(row[:end], true_row[:end], product_dtype(backend, dtype), terms=16)


@pytest.mark.parametrize("name", [n for n in CASES if n not in PERF])
def test_matches_reference(backend: Backend, dtype: torch.dtype, name: str) -> None:
    check(backend, dtype, name)


@pytest.mark.parametrize("name", PERF)
def test_production_shapes(backend: Backend, dtype: torch.dtype, name: str) -> None:
    if backend.name == "simt":
        pytest.skip("minutes under emulation; the small cases reach the same code")
    check(backend, dtype, name)


def test_pieces_equal_the_whole(backend: Backend, dtype: torch.dtype) -> None:
    args = list(make("stream_piece", dtype, backend.device))
    x = args[0]
    assert isinstance(x, Tensor)
    whole = residual_unit(*args)
    joined = torch.cat([residual_unit(*[x[:, t : t + 55], *args[1:]]) for t in range(7)], 1)
    if backend.name == "torch":
        assert_close(joined, whole, product_dtype(backend, dtype))
    else:
        assert torch.equal(joined, whole)


def test_a_view_that_starts_between_two_pieces(backend: Backend) -> None:
    """Kernels copy 16 bytes at a time."""
    args = list(make("small_channels", torch.float16, backend.device))
    x = args[0]
    assert isinstance(x, Tensor)
    shifted = torch.empty(x.numel() + 3, dtype=x.dtype, device=x.device)[3:].view_as(x)
    expected = residual_unit(*args)
    assert torch.equal(residual_unit(shifted.copy_(x), *args[1:]), expected)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (2, torch.zeros(96, 96, 5), "weight1 and weight2 must have shapes"),
        (4, torch.zeros(95), r"alpha must have shape \(96,\)"),
        (9, 28, r"padding must be in \[0, 3·dilation\], got 28 and 9"),
        (8, 40, "150 frames are too few for dilation 40"),
    ],
)
def test_bad_arguments(position: int, value: object, message: str) -> None:
    args = list(make("ragged", torch.float32, "cpu"))
    args[position] = value
    with pytest.raises(ValueError, match=message):
        residual_unit(*args)
