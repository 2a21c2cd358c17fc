"""conv1d: shapes of DAC, EnCodec and HiFi-GAN, ragged tails, every prologue and epilogue."""

from bisect import bisect_left
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.conftest import Backend
from tests.tolerances import assert_close, product_dtype
from vivace import _dispatch
from vivace.ops.conv1d import conv1d, conv1d_length


@dataclass(frozen=True)
class Case:
    batch: int
    time: int
    channels_in: int
    channels_out: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    pad: tuple[int, int] = (0, 0)
    activation: str = "none"
    residual: bool = False
    lengths: tuple[int, ...] | None = None
    reflect: bool = False
    tanh: bool = False

    @property
    def frames(self) -> int:
        return conv1d_length(self.time, self.kernel, self.stride, self.dilation, sum(self.pad))


CASES = {
    "one": Case(1, 1, 1, 1, 1),
    "ragged": Case(2, 37, 24, 40, 7, 1, 3, (9, 9), "snake"),  # tails in time and both channels
    "shorter_than_a_tile": Case(1, 5, 32, 32, 7, 1, 9, (27, 27), "snake"),
    "tile_plus_one": Case(1, 129, 96, 96, 7, 1, 1, (3, 3), "snake"),
    "k1_residual": Case(2, 70, 48, 48, 1, 1, 1, (0, 0), "snake", residual=True),
    "lengths": Case(3, 60, 32, 48, 7, 1, 9, (27, 27), "snake", lengths=(60, 31, 0)),
    "stream_piece": Case(1, 61, 32, 32, 7, 1, 9, (0, 0), "snake"),
    "stride_even": Case(2, 50, 32, 64, 8, 4, 1, (2, 2), "snake"),
    "stride_odd": Case(2, 53, 24, 48, 10, 5, 1, (3, 3), "snake", lengths=(53, 22)),
    "one_channel_in": Case(2, 300, 1, 64, 7, 1, 1, (3, 3)),
    "one_channel_out": Case(2, 300, 96, 1, 7, 1, 1, (3, 3), "snake", tanh=True),
    "odd_channels": Case(1, 33, 13, 19, 3, 1, 1, (1, 1)),  # no row is a multiple of 16 bytes
    "encodec": Case(2, 47, 32, 16, 3, 1, 2, (4, 0), "elu", residual=False, reflect=True),
    "encodec_lengths": Case(2, 47, 32, 16, 4, 2, 1, (2, 1), "elu", lengths=(47, 20), reflect=True),
    "hifigan_k11": Case(1, 90, 64, 64, 11, 1, 5, (25, 25), "leaky_relu", residual=True),
    "kernel3_stride2": Case(2, 41, 40, 24, 3, 2, 1, (1, 1), "snake"),  # 2 taps of one phase, 1
    "stride_and_dilation": Case(1, 70, 16, 24, 5, 4, 2, (3, 4), "leaky_relu"),
    "stride_past_kernel": Case(1, 43, 16, 16, 2, 5),
    "wide_span": Case(1, 20, 16, 16, 3, 1, 400, (400, 400)),
    "tanh": Case(2, 50, 16, 2, 9, 1, 1, (4, 4), "elu", residual=True, tanh=True),
    "one_in_lengths": Case(2, 200, 1, 33, 7, 1, 1, (6, 0), "elu", lengths=(200, 91), reflect=True),
    "one_in_stride": Case(2, 300, 1, 16, 4, 2, 1, (1, 1), "snake"),
    "one_out_lengths": Case(2, 270, 24, 1, 7, 1, 1, (3, 3), "snake", lengths=(270, 40), tanh=True),
    "one_out_odd": Case(2, 30, 13, 1, 3, 1, 2, (2, 2), "leaky_relu", residual=True),
    "no_clips": Case(0, 20, 16, 24, 3, 1, 1, (1, 1), "snake"),
    "dac_44khz.block1": Case(1, 689, 768, 768, 7, 1, 9, (27, 27), "snake"),
    "dac_44khz.block3": Case(1, 22050, 192, 192, 7, 1, 9, (27, 27), "snake"),
    "dac_44khz.block4": Case(1, 44100, 96, 96, 7, 1, 9, (27, 27), "snake"),
    "dac_44khz.down": Case(1, 5512, 256, 512, 16, 8, 1, (4, 4), "snake"),
    "dac_44khz.last": Case(1, 44100, 96, 1, 7, 1, 1, (3, 3), "snake", tanh=True),
    "encodec_24khz.first": Case(1, 24000, 1, 32, 7, 1, 1, (6, 0), reflect=True),
    "encodec_24khz.unit": Case(1, 24000, 32, 16, 3, 1, 1, (2, 0), "elu", reflect=True),
    "encodec_24khz.down": Case(1, 3000, 128, 256, 10, 5, 1, (5, 0), "elu", reflect=True),
    "hifigan_16khz.k3": Case(1, 20000, 128, 128, 3, 1, 1, (1, 1), "leaky_relu"),
    "hifigan_16khz.k7": Case(1, 40000, 64, 64, 7, 1, 3, (9, 9), "leaky_relu", residual=True),
    "hifigan_16khz.k11": Case(1, 20000, 128, 128, 11, 1, 5, (25, 25), "leaky_relu", residual=True),
}
PERF = tuple(name for name in CASES if "khz" in name)
# Products round the activated x and the result once each: twice the table's unit.
TERMS = 4


def make(name: str, dtype: torch.dtype, device: str) -> tuple[object, ...]:
    case = CASES[name]
    fan_in = case.channels_in * case.kernel

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    weight = (normal(case.channels_out, case.channels_in, case.kernel) / fan_in**0.5).to(dtype)
    x = normal(case.batch, case.time, case.channels_in).to(dtype)
    bias = normal(case.channels_out).to(dtype)
    alpha = (torch.rand(case.channels_in, device=device) * 3 + 0.1).to(dtype)
    residual = normal(case.batch, case.frames, case.channels_out).to(dtype)
    lengths = None if case.lengths is None else torch.tensor(case.lengths, device=device)
    return (
        x,
        weight,
        bias,
        alpha if case.activation == "snake" else None,
        residual if case.residual else None,
        lengths,
        case.stride,
        case.dilation,
        *case.pad,
        case.activation,
        0.1,
        case.reflect,
        case.tanh,
    )


def cost(name: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    case = CASES[name]
    outputs = case.batch * case.frames * case.channels_out
    inputs = case.batch * case.time * case.channels_in
    weights = case.channels_out * case.channels_in * case.kernel
    values = inputs + weights + outputs * (2 if case.residual else 1)
    return values * dtype.itemsize, 2 * outputs * case.channels_in * case.kernel


def truth_of(args: tuple[object, ...]) -> Tensor:
    """The reference in float64, which the ops inside it leave to torch."""
    wide = [a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    with _dispatch.backend("torch"):
        truth: Tensor = conv1d.reference(*wide)
    return truth


def valid(name: str, y: Tensor) -> list[Tensor]:
    """The rows of a result up to their own ends; what stands past them is nobody's business."""
    case = CASES[name]
    lengths = case.lengths or (case.time,) * case.batch
    ends = [
        max(0, conv1d_length(n, case.kernel, case.stride, case.dilation, sum(case.pad)))
        for n in lengths
    ]
    return [row[:end] for row, end in zip(y, ends, strict=True) if end > 0]


def check(backend: Backend, dtype: torch.dtype, name: str) -> None:
    args = make(name, dtype, backend.device)
    y = conv1d(*args)
    assert y.dtype == dtype
    truth = truth_of(args)
    assert y.shape == truth.shape
    for row, true_row in zip(valid(name, y), valid(name, truth), strict=True):
        assert_close(row, true_row, product_dtype(backend, dtype), terms=TERMS)


@pytest.mark.parametrize("name", [n for n in CASES if n not in PERF])
def test_matches_reference(backend: Backend, dtype: torch.dtype, name: str) -> None:
    check(backend, dtype, name)


@pytest.mark.parametrize("name", PERF)
def test_production_shapes(backend: Backend, dtype: torch.dtype, name: str) -> None:
    if backend.name == "simt":
        pytest.skip("minutes under emulation; the small cases reach the same code")
    check(backend, dtype, name)


def test_the_reference_is_torch() -> None:
    """Against torch's convolution written the ordinary way round."""
    x, weight, bias = torch.randn(2, 5, 40), torch.randn(6, 5, 7), torch.randn(6)
    alpha = torch.rand(5) + 0.1
    snaked = x + torch.sin(alpha[:, None] * x).square() / (alpha[:, None] + 1e-9)
    ours = conv1d.reference(x.transpose(1, 2), weight, bias, alpha, None, None, 2, 3, 9, 9, "snake")
    theirs = torch.nn.functional.conv1d(snaked, weight, bias, 2, 9, 3)
    torch.testing.assert_close(ours.transpose(1, 2), theirs)


def test_rows_of_a_batch_do_not_see_each_other(backend: Backend, dtype: torch.dtype) -> None:
    """A row of a padded batch equals its solo run, whatever stands in the padding; bit for bit on
    kernels, whose order of summation does not depend on length or position."""
    args = list(make("lengths", dtype, backend.device))
    x = args[0]
    assert isinstance(x, Tensor)
    x[1, 31:] = torch.nan
    batch = conv1d(*args)
    solo = list(args)
    solo[0], solo[5] = x[1:2, :31], None
    alone = conv1d(*solo)
    if backend.name == "torch":
        assert_close(batch[1, :31], alone[0], dtype)
    else:
        assert torch.equal(batch[1, :31], alone[0])


def test_pieces_equal_the_whole(backend: Backend, dtype: torch.dtype) -> None:
    """A stream's pieces (no padding, history in front) are the full pass; exactly on kernels."""
    args = list(make("stream_piece", dtype, backend.device))
    x = args[0]
    assert isinstance(x, Tensor)
    whole = conv1d(*args)
    pieces = [conv1d(*[x[:, t : t + 55], *args[1:]]) for t in range(7)]
    joined = torch.cat(pieces, 1)
    if backend.name == "torch":
        assert_close(joined, whole, product_dtype(backend, dtype))
    else:
        assert torch.equal(joined, whole)


# (frames, channels out): each is the least that takes a tile on the emulated GPU (conv1d_tiles.h).
TILES = (
    *((30, 64), (65, 96), (129, 96), (513, 64), (257, 96)),
    *((513, 96), (769, 96), (257, 128), (513, 128)),
)


@pytest.mark.parametrize(("frames", "channels"), TILES)
def test_every_tile(backend: Backend, dtype: torch.dtype, frames: int, channels: int) -> None:
    """Right in every tile and equal in all: a piece is computed in smaller tiles than the whole."""
    x = torch.randn(1, frames + 4, 40, device=backend.device).to(dtype)
    weight = (torch.randn(channels, 40, 3, device=backend.device) / 120**0.5).to(dtype)
    alpha = (torch.rand(40, device=backend.device) * 3 + 0.1).to(dtype)

    def args(start: int, stop: int) -> tuple[object, ...]:
        return (x[:, start:stop], weight, None, alpha, None, None, 1, 2, 0, 0, "snake")

    whole = conv1d(*args(0, frames + 4))
    truth = truth_of(args(0, frames + 4))
    assert_close(whole, truth, product_dtype(backend, dtype), terms=TERMS)
    piece = conv1d(*args(frames - 17, frames + 4))
    if backend.name == "torch":
        assert_close(piece, whole[:, -17:], product_dtype(backend, dtype), terms=TERMS)
    else:
        assert torch.equal(piece, whole[:, -17:])


@pytest.mark.parametrize("channels_out", [8, 1])
def test_extreme_alphas(backend: Backend, dtype: torch.dtype, channels_out: int) -> None:
    """No NaN for alpha near 0, no stray values for |alpha x| up to 1e5."""
    alpha = torch.tensor([0.0, 1e-12, 1e-6, -1e-5, -0.7, 30.0, 100.0, 1000.0])
    x = (torch.rand(1, 300, 8, device=backend.device) * 200 - 100).to(dtype)
    weight = torch.eye(8, device=backend.device)[:channels_out, :, None].to(dtype)
    args = (x, weight, None, alpha.to(backend.device).to(dtype), None, None, 1, 1, 0, 0, "snake")
    assert_close(conv1d(*args), truth_of(args), product_dtype(backend, dtype), terms=TERMS)


@pytest.mark.parametrize("channels_in", [16, 1])
def test_the_widest_span(backend: Backend, channels_in: int) -> None:
    """Taps further apart than shared memory holds frames: torch's, and a forced backend says so."""
    if backend.name in ("torch", "cpu"):
        pytest.skip("torch and the CPU kernels take taps of any span")
    x = torch.randn(1, 20, channels_in, device=backend.device)
    weight = torch.randn(24, channels_in, 3, device=backend.device) / (3 * channels_in) ** 0.5

    def args(dilation: int) -> tuple[object, ...]:
        return (x, weight, None, None, None, None, 1, dilation, dilation, dilation)

    dilations = range(1, 20000)
    past = dilations[
        bisect_left(dilations, True, key=lambda d: bool(conv1d.why_not(backend.name, args(d))))
    ]
    assert past > 300
    y = conv1d(*args(past - 1))
    assert_close(y, truth_of(args(past - 1)), product_dtype(backend, x.dtype), terms=TERMS)
    with pytest.raises(RuntimeError, match=f"the {2 * past + 1} frames .* do not fit on chip"):
        conv1d(*args(past))
    with _dispatch.backend("auto"):
        assert conv1d(*args(past)).shape == y.shape


def test_packed_weights_follow_the_parameter(backend: Backend) -> None:
    args = list(make("ragged", torch.float32, backend.device))
    weight = args[1]
    assert isinstance(weight, Tensor)
    before = conv1d(*args)
    weight.neg_()
    after = conv1d(*args)
    assert not torch.equal(before, after)
    truth = truth_of(tuple(args))
    assert_close(after, truth, product_dtype(backend, torch.float32), terms=TERMS)


@pytest.mark.parametrize(
    ("position", "value", "error", "message"),
    [
        (0, torch.zeros(2, 37, 23), ValueError, r"x must have shape \(B, T, 24\)"),
        (0, torch.zeros(2, 37, 24, dtype=torch.float64), TypeError, "share a float dtype"),
        (2, torch.zeros(41), ValueError, r"bias must have shape \(40,\), got \(41,\)"),
        (3, torch.zeros(25), ValueError, r"alpha must have shape \(24,\)"),
        (3, None, ValueError, "alpha belongs to activation='snake'"),
        (4, torch.zeros(2, 36, 40), ValueError, r"residual must have shape \(2, 37, 40\)"),
        (5, torch.zeros(3, dtype=torch.int64), ValueError, r"lengths must have shape \(2,\)"),
        (6, 0, ValueError, "stride and dilation must be positive"),
        (7, 30, ValueError, "37 frames are too few for kernel 7, dilation 30"),
        (10, "gelu", ValueError, "activation must be one of"),
    ],
)
def test_bad_arguments(position: int, value: object, error: type[Exception], message: str) -> None:
    args = list(make("ragged", torch.float32, "cpu"))
    args[position] = value
    with pytest.raises(error, match=message):
        conv1d(*args)
