"""lstm: torch's gates and order of them, the state carried over any cut into pieces."""

import pytest
import torch
from torch import Tensor

from tests.conftest import Backend
from tests.tolerances import assert_close, product_dtype
from vivace.ops.lstm import lstm

# (batch, frames, channels in, channels)
CASES = {
    "one": (1, 1, 1, 1),
    "one_step": (2, 1, 32, 32),
    "ragged": (3, 11, 20, 37),  # no multiple of 16, no square
    "narrow": (1, 40, 16, 5),
    "batch": (3, 9, 64, 64),
    "many_rows": (17, 3, 48, 48),
    "wide": (1, 4, 24, 272),
    "encodec.decoder": (1, 75, 512, 512),  # one second of the 24 kHz model
    "encodec.frame": (1, 1, 512, 512),  # one streamed frame of it
    "encodec.batch": (8, 75, 512, 512),
}
PERF = ("encodec.decoder", "encodec.frame", "encodec.batch")


def make(case: str, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    batch, time, channels_in, channels = CASES[case]
    wide = torch.promote_types(dtype, torch.float32)
    bound = channels**-0.5
    x = torch.randn(batch, time, channels_in, device=device).to(dtype)
    weights = (
        torch.empty(shape, device=device).uniform_(-bound, bound).mul(2).to(dtype)
        for shape in ((4 * channels, channels_in), (4 * channels, channels), *[(4 * channels,)] * 2)
    )
    states = (torch.randn(batch, channels, device=device).tanh().to(wide) for _ in range(2))
    return x, *weights, *states


def cost(case: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    batch, time, channels_in, channels = CASES[case]
    weights = 4 * channels * (channels_in + channels)
    moved = batch * time * (channels_in + channels) + weights + 8 * channels
    return moved * dtype.itemsize + 16 * batch * channels, 2 * batch * time * weights


def step_by_step(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The equations as they stand in papers."""
    ys = []
    for frame in x.unbind(1):
        i, f, g, o = (frame @ w_ih.t() + b_ih + h @ w_hh.t() + b_hh).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        ys.append(h)
    return torch.stack(ys, dim=1), h, c


def check(args: tuple[Tensor, ...], dtype: torch.dtype, backend: Backend) -> None:
    """Against float64. Errors of a step fade as the forget gate forgets: they count as one sum of
    the products of a gate, not one per step."""
    y, h, c = lstm(*args)
    truth = lstm.reference(*(x.double() for x in args))
    assert (y.dtype, h.dtype, c.dtype) == (dtype, torch.float32, torch.float32)
    terms = args[1].shape[1] + args[2].shape[1]
    for found, expected in zip((y, h, c), truth, strict=True):
        assert found.shape == expected.shape
        assert_close(found, expected, product_dtype(backend, dtype), terms=terms)


def made(case: str, dtype: torch.dtype, backend: Backend) -> tuple[Tensor, ...]:
    """The arguments of a case; skips what is left to torch because it is faster there."""
    args = make(case, dtype, backend.device)
    native = backend.name in ("cpu", "cuda")
    refusal = lstm.why_not(backend.name, args) if native else None
    if refusal is not None:
        pytest.skip(refusal)
    return args


@pytest.mark.parametrize("case", CASES)
def test_matches_reference(backend: Backend, dtype: torch.dtype, case: str) -> None:
    check(made(case, dtype, backend), dtype, backend)


@pytest.mark.parametrize("case", [name for name in CASES if name not in PERF])
def test_reference_is_the_equations(case: str) -> None:
    args = make(case, torch.float64, "cpu")
    for found, expected in zip(lstm.reference(*args), step_by_step(*args), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cuts", [[1] * 11, [4, 7], [10, 1]], ids=str)
def test_pieces_equal_the_whole(backend: Backend, dtype: torch.dtype, cuts: list[int]) -> None:
    """Bit for bit on kernels; torch's products may sum in another order for another length."""
    x, *weights, h, c = make("ragged", dtype, backend.device)
    expected = lstm(x, *weights, h, c)
    ys = []
    for piece in x.split(cuts, dim=1):
        y, h, c = lstm(piece, *weights, h, c)
        ys.append(y)
    for found, whole in zip((torch.cat(ys, dim=1), h, c), expected, strict=True):
        if backend.name == "torch":
            assert_close(found, whole.double(), dtype, terms=57)
        else:
            assert torch.equal(found, whole)


def test_rows_do_not_depend_on_their_batch(backend: Backend, dtype: torch.dtype) -> None:
    x, *weights, h, c = made("many_rows", dtype, backend)
    y = lstm(x, *weights, h, c)[0]
    for row in (0, 7, 16):
        part = slice(row, row + 1)
        solo = lstm(x[part], *weights, h[part], c[part])[0]
        assert_close(solo, y[part].double(), product_dtype(backend, dtype), terms=96)


def test_views(backend: Backend, dtype: torch.dtype) -> None:
    """(B, C, T) seen as (B, T, C), strided weights, states that are slices."""
    x, w_ih, w_hh, b_ih, b_hh, h, c = make("ragged", dtype, backend.device)
    x = x.transpose(1, 2).contiguous().transpose(1, 2)
    w_hh = torch.stack((w_hh, w_hh), dim=2)[..., 1]
    h = torch.cat((h, h), dim=1)[:, : h.shape[1]]
    check((x, w_ih, w_hh, b_ih, b_hh, h, c), dtype, backend)


def test_saturated_gates(backend: Backend) -> None:
    """Gates of ±1e4 neither overflow nor forget: c keeps what it held to the last bit."""
    x, w_ih, w_hh, _, b_hh, h, c = make("ragged", torch.float32, backend.device)
    channels = w_hh.shape[1]
    gates = torch.tensor([-1e4, 1e4, 0.0, 1e4], device=x.device).repeat_interleave(channels)
    y, after_h, after_c = lstm(x, w_ih, w_hh, gates, b_hh, h, c)
    assert torch.equal(after_c, c)
    assert_close(y, c.double().tanh()[:, None].expand_as(y), torch.float32)
    assert torch.equal(after_h, y[:, -1])


def test_changed_weights_are_noticed(backend: Backend) -> None:
    args = make("batch", torch.float32, backend.device)
    lstm(*args)
    for weight in args[1:5]:
        weight.mul_(0.5)
    check(args, torch.float32, backend)


def test_gradients() -> None:
    args = tuple(x.requires_grad_() for x in make("one_step", torch.float64, "cpu"))
    found = torch.autograd.grad(sum(y.sum() for y in lstm(*args)), args)
    expected = torch.autograd.grad(sum(y.sum() for y in step_by_step(*args)), args)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("index", "change", "error", "message"),
    [
        (0, lambda x: x[0], ValueError, r"x must have shape \(B, T, Cin\)"),
        (0, lambda x: x[:, :0], ValueError, "must hold frames"),
        (0, lambda x: x.int(), TypeError, "x must have a float dtype, got torch.int32"),
        (1, lambda w: w[:, 1:], ValueError, r"w_ih must have shape \(148, 20\), got \(148, 19\)"),
        (1, lambda w: w.half(), TypeError, "w_ih must have x's dtype torch.float32"),
        (2, lambda w: w[1:], ValueError, r"w_hh \(4C, C\), got .* and \(147, 37\)"),
        (3, lambda b: b[1:], ValueError, r"b_ih must have shape \(148,\), got \(147,\)"),
        (4, lambda b: b.double(), TypeError, "b_hh must have x's dtype"),
        (5, lambda h: h[:2], ValueError, r"h0 must have shape \(3, 37\), got \(2, 37\)"),
        (6, lambda c: c.half(), TypeError, "c0 must be torch.float32, got torch.float16"),
    ],
)
def test_bad_arguments(index: int, change: object, error: type[Exception], message: str) -> None:
    args = list(make("ragged", torch.float32, "cpu"))
    args[index] = change(args[index])  # type: ignore[operator]
    with pytest.raises(error, match=message):
        lstm(*args)
