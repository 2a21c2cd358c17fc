"""conv_transpose1d: every stride of the models, odd ones too, ragged tails, crops of streams."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import vivace
from tests.conftest import Backend
from tests.tolerances import assert_close, product_dtype
from vivace.ops.conv_transpose1d import conv_transpose1d


@dataclass(frozen=True)
class Case:
    batch: int
    time: int
    channels_in: int
    channels_out: int
    stride: int
    crop: tuple[int, int]
    activation: str = "snake"
    lengths: tuple[int, ...] | None = None
    bias: bool = True
    kernel_size: int = 0  # 0: twice the stride

    @property
    def kernel(self) -> int:
        return self.kernel_size or 2 * self.stride

    @property
    def frames(self) -> int:
        return (self.time - 1) * self.stride + self.kernel - sum(self.crop)


CASES = {
    "one": Case(1, 1, 1, 1, 1, (0, 0), "none"),
    "ragged": Case(2, 19, 24, 20, 5, (3, 3)),
    "stride1": Case(1, 21, 16, 16, 1, (1, 1)),
    "stride2": Case(2, 67, 40, 24, 2, (1, 1)),
    "stride8": Case(1, 33, 64, 32, 8, (4, 4)),
    "lengths": Case(4, 30, 32, 16, 4, (2, 2), lengths=(31, 13, 0, 30)),
    "stream_piece": Case(1, 9, 32, 16, 4, (4, 4)),
    "odd_channels": Case(1, 17, 13, 7, 3, (2, 2)),
    "encodec": Case(2, 25, 32, 16, 4, (0, 4), "elu"),
    "hifigan": Case(1, 31, 48, 24, 5, (2, 3), "leaky_relu"),
    "many_steps": Case(2, 40, 200, 24, 3, (1, 2), bias=False),  # channels go round the ring
    "odd_steps": Case(2, 70, 131, 10, 7, (4, 4), lengths=(70, 66)),
    "wide_crops": Case(2, 70, 32, 16, 4, (9, 7), "leaky_relu"),  # a whole block of frames cut
    "narrow_tiles": Case(1, 4229, 136, 48, 2, (1, 1)),  # enough rows for the 128 x 96 tile
    "wide_tiles": Case(2, 2820, 24, 40, 5, (3, 2), "none"),  # 128 x 128, the last one 72 columns
    "one_value": Case(1, 1, 1, 1, 1, (0, 1), "none"),
    "no_clips": Case(0, 20, 16, 24, 2, (1, 1)),
    # Kernels of other sizes than twice the stride: HiFi-GAN's, and the least.
    "four_taps": Case(2, 31, 24, 12, 4, (6, 6), "leaky_relu", kernel_size=16),
    "ragged_taps": Case(2, 29, 24, 12, 5, (5, 5), "leaky_relu", (29, 11), kernel_size=16),
    "no_clips_of_four_taps": Case(0, 20, 16, 24, 2, (1, 1), kernel_size=8),
    "one_tap": Case(1, 9, 16, 8, 3, (0, 1), "none", bias=False, kernel_size=3),
    "dac_44khz.up1": Case(1, 86, 1536, 768, 8, (4, 4)),
    "dac_44khz.up3": Case(1, 5512, 384, 192, 4, (2, 2)),
    "dac_44khz.up4": Case(1, 22050, 192, 96, 2, (1, 1)),
    "encodec_24khz.up1": Case(1, 75, 512, 256, 8, (0, 8), "elu"),
    "encodec_24khz.up4": Case(1, 12000, 64, 32, 2, (0, 2), "elu"),
    "dac_16khz.up2": Case(1, 400, 768, 384, 5, (3, 3)),
    "hifigan_16khz.up1": Case(1, 500, 1024, 512, 5, (5, 5), "leaky_relu", kernel_size=16),
    "hifigan_16khz.up3": Case(1, 10004, 256, 128, 2, (3, 3), "leaky_relu", kernel_size=8),
}
PERF = tuple(name for name in CASES if "khz" in name)


def make(name: str, dtype: torch.dtype, device: str) -> tuple[object, ...]:
    case = CASES[name]
    shape = (case.channels_in, case.channels_out, case.kernel)
    weight = torch.randn(shape, device=device) / (2 * case.channels_in) ** 0.5
    x = torch.randn(case.batch, case.time, case.channels_in, device=device)
    bias = torch.randn(case.channels_out, device=device)
    alpha = torch.rand(case.channels_in, device=device) * 3 + 0.1
    lengths = None if case.lengths is None else torch.tensor(case.lengths, device=device)
    return (
        x.to(dtype),
        weight.to(dtype),
        bias.to(dtype) if case.bias else None,
        alpha.to(dtype) if case.activation == "snake" else None,
        lengths,
        case.stride,
        *case.crop,
        case.activation,
    )


def cost(name: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    case = CASES[name]
    inputs = case.batch * case.time * case.channels_in
    outputs = case.batch * case.frames * case.channels_out
    weights = case.channels_in * case.channels_out * case.kernel
    products = outputs * case.kernel // case.stride * case.channels_in
    return (inputs + outputs + weights) * dtype.itemsize, 2 * products


def reference(args: tuple[object, ...]) -> Tensor:
    """The float64 truth."""
    double = (a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
    with vivace.backend("torch"):  # for the ops inside it
        truth: Tensor = conv_transpose1d.reference(*double)
    return truth


def check(backend: Backend, dtype: torch.dtype, name: str) -> None:
    case = CASES[name]
    args = make(name, dtype, backend.device)
    y = conv_transpose1d(*args)
    truth = reference(args)
    rounding = product_dtype(backend, dtype)
    # In float32 the sum's own rounding leads, in shorter formats that of the factors.
    # The worst of a million normal errors (5.0 of their deviations) lies further out than that of
    # ten thousand (4.0): by the square root of 6 / 4.
    short = 6 if y.numel() > 1e6 else 4
    taps = -(-case.kernel // case.stride)
    terms = taps * case.channels_in + 4 if rounding == torch.float32 else short
    assert y.dtype == dtype
    assert y.shape == truth.shape == (case.batch, case.frames, case.channels_out)
    for row, true_row, length in zip(
        y, truth, case.lengths or (case.time,) * case.batch, strict=True
    ):
        raw = (length - 1) * case.stride + case.kernel
        end = max(0, raw - sum(case.crop)) if length else 0
        assert_close(row[:end], true_row[:end], rounding, terms=terms)


@pytest.mark.parametrize("name", [n for n in CASES if n not in PERF])
def test_matches_reference(backend: Backend, dtype: torch.dtype, name: str) -> None:
    check(backend, dtype, name)


@pytest.mark.parametrize("name", PERF)
def test_production_shapes(backend: Backend, dtype: torch.dtype, name: str) -> None:
    if backend.name == "simt":
        pytest.skip("minutes under emulation; the small cases reach the same code")
    check(backend, dtype, name)


def test_pieces_equal_the_whole(backend: Backend, dtype: torch.dtype) -> None:
    """Blocks of a stream (one frame of history, its block cropped) are the full pass."""
    args = list(make("stream_piece", dtype, backend.device))
    x, stride = args[0], CASES["stream_piece"].stride
    assert isinstance(x, Tensor)
    whole = conv_transpose1d(*args)
    pieces = [conv_transpose1d(*[x[:, t : t + 3], *args[1:]]) for t in range(0, 7, 2)]
    joined = torch.cat(pieces, 1)
    assert joined.shape[1] == 8 * stride
    if backend.name == "torch":
        assert_close(joined, whole[:, : 8 * stride], product_dtype(backend, dtype))
    else:
        assert torch.equal(joined, whole[:, : 8 * stride])


@pytest.mark.parametrize("name", ["ragged", "odd_channels"])
def test_views(backend: Backend, dtype: torch.dtype, name: str) -> None:
    """Slices in time and batch, and clips that start off every 16-byte boundary."""
    x, *rest = make(name, dtype, backend.device)
    assert isinstance(x, Tensor)
    longer = torch.cat((x, x, x), 1)
    shifted = torch.cat((x.new_zeros(1), x.flatten()))[1:].view(x.shape)
    apart = torch.cat((x.flatten(1), x.new_zeros(len(x), 1)), 1)[:, :-1].unflatten(1, x.shape[1:])
    for view in (longer[:, 3 : 3 + x.shape[1]], longer[-1:, ::2], shifted, apart):
        y = conv_transpose1d(view, *rest)
        truth = reference((view, *rest))
        assert_close(y, truth, product_dtype(backend, dtype), terms=4)


def test_nothing_comes_from_past_the_end(backend: Backend, dtype: torch.dtype) -> None:
    args = make("lengths", dtype, backend.device)
    clean = conv_transpose1d(*args)
    x = args[0]
    assert isinstance(x, Tensor)
    x[1, 13:] = float("nan")
    x[2] = float("inf")
    assert torch.equal(conv_transpose1d(*args), clean)


def test_batch_does_not_matter(backend: Backend, dtype: torch.dtype) -> None:
    x, *rest = make("narrow_tiles", dtype, backend.device)
    assert isinstance(x, Tensor)
    whole = conv_transpose1d(x, *rest)
    alone = conv_transpose1d(x[:, 4000:4040], *rest)  # far fewer rows: another tile
    middle = whole[:, 8002:8078]
    if backend.name == "torch":
        assert_close(alone[:, 2:-2], middle, product_dtype(backend, dtype))
    else:
        assert torch.equal(alone[:, 2:-2], middle)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(2, 19, 23), r"x must have shape \(B, T, 24\)"),
        (2, torch.zeros(21), r"bias must have shape \(20,\)"),
        (5, 11, "stride must be from 1 to the kernel size 10, got 11"),
        (5, 0, "stride must be from 1 to the kernel size 10, got 0"),
        (6, 100, "crop_left and crop_right must leave some of the 100 frames"),
    ],
)
def test_bad_arguments(position: int, value: object, message: str) -> None:
    args = list(make("ragged", torch.float32, "cpu"))
    args[position] = value
    with pytest.raises(ValueError, match=message):
        conv_transpose1d(*args)
