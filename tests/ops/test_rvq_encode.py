"""rvq_encode: codes equal the reference but where two distances tie within rounding."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conftest import Backend
from vivace.ops.rvq_encode import rvq_encode

# (batch, frames, width D, codebooks N, rows K, dim d)
CASES = {
    "one": (1, 1, 8, 1, 2, 2),
    "ragged": (2, 37, 48, 3, 64, 8),
    "wide": (1, 19, 130, 5, 100, 8),  # neither D nor K a power of two
    "narrow": (1, 21, 24, 2, 32, 4),
    "many_books": (1, 9, 64, 32, 16, 8),
    "many_frames": (2, 67, 264, 2, 300, 8),  # frames share a block, the last one is half full
    "wide_latents": (1, 9, 300, 2, 20, 13),
    "dac_44khz": (1, 862, 1024, 9, 1024, 8),
    "dac_24khz": (1, 750, 1024, 32, 1024, 8),
    "dac_16khz.frame": (1, 1, 1024, 12, 1024, 8),
}
PERF = tuple(name for name in CASES if "khz" in name)


def make(name: str, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    batch, time, width, books, rows, dim = CASES[name]
    del dtype  # always float32

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    return (
        normal(batch, time, width),
        normal(books, dim, width) / width**0.5,
        normal(books, dim) * 0.1,
        normal(books, width, dim) * 0.3,
        normal(books, width) * 0.1,
        normal(books, rows, dim),
    )


def cost(name: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    batch, time, width, books, rows, dim = CASES[name]
    frames = batch * time
    weights = books * dim * (2 * width + rows)
    moved = 4 * (2 * frames * width + frames * books * dim + weights) + 8 * frames * books
    return moved, 2 * frames * books * dim * (2 * width + rows)


def follow(codes: Tensor, args: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The float64 truth along the codes that were chosen: (distance gaps, latents, quantized).

    The gap of a choice is how much nearer the nearest row is; it may be as large as the rounding.
    """
    z, in_weight, in_bias, out_weight, out_bias, books = (a.double() for a in args)
    residual, quantized = z, torch.zeros_like(z)
    gaps, latents = [], []
    for i in range(len(books)):
        projected = residual @ in_weight[i].T + in_bias[i]
        unit, book = F.normalize(projected, dim=-1), F.normalize(books[i], dim=-1)
        scores = unit @ book.T
        chosen = scores.gather(-1, codes[..., i : i + 1])
        gaps.append((scores.max(-1, keepdim=True).values - chosen).squeeze(-1))
        step = books[i][codes[..., i]] @ out_weight[i].T + out_bias[i]
        residual, quantized = residual - step, quantized + step
        latents.append(projected)
    return torch.stack(gaps, -1), torch.cat(latents, -1), quantized


def verify(
    name: str, args: tuple[Tensor, ...], result: tuple[Tensor, Tensor, Tensor]
) -> dict[str, float]:
    """The errors of a result by name; raises AssertionError for one that is wrong.

    Codes are judged by distance: two that tie within rounding are both right.
    """
    codes, latents, quantized = result
    batch, time, width, books, rows, dim = CASES[name]
    assert codes.dtype == torch.int64
    assert codes.shape == (batch, time, books)
    assert latents.shape == (batch, time, books * dim)
    assert quantized.shape == (batch, time, width)
    assert 0 <= codes.min() <= codes.max() < rows
    gaps, true_latents, true_quantized = follow(codes, args)
    assert gaps.max() < 2e-5  # float32 rounding of the residual after up to 32 subtractions
    torch.testing.assert_close(latents.double(), true_latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(quantized.double(), true_quantized, rtol=1e-4, atol=1e-4)
    return {
        "max_abs": float((quantized.double() - true_quantized).abs().max()),
        "gap": float(gaps.max()),
    }


@pytest.mark.parametrize("name", CASES)
def test_matches_reference(backend: Backend, name: str) -> None:
    if backend.name.startswith("simt") and name == "dac_24khz":
        pytest.skip("20 seconds under emulation; dac_44khz reaches the same code")
    args = make(name, torch.float32, backend.device)
    result = rvq_encode(*args)
    verify(name, args, result)
    same = (result[0] == rvq_encode.reference(*args)[0]).double().mean().item()
    print(f"codes equal to the reference: {100 * same:.3f} %")
    assert same > 0.995


def test_verify_catches_a_wrong_code() -> None:
    args = make("ragged", torch.float32, "cpu")
    codes, latents, quantized = rvq_encode.reference(*args)
    codes[1, 5, 2] = (codes[1, 5, 2] + 1) % 64
    with pytest.raises(AssertionError):
        verify("ragged", args, (codes, latents, quantized))


def test_pieces_equal_the_whole(backend: Backend) -> None:
    """A frame's result does not depend on the frames beside it."""
    z, *weights = make("many_frames", torch.float32, backend.device)
    whole = rvq_encode(z, *weights)
    pieces = [rvq_encode(part, *weights) for part in (z[:, :1], z[:, 1:50], z[:, 50:])]
    for full, parts in zip(whole, zip(*pieces, strict=True), strict=True):
        joined = torch.cat(parts, 1)
        if backend.name == "torch":
            torch.testing.assert_close(joined, full)
        else:
            assert torch.equal(joined, full)


def test_unaligned_weights(backend: Backend) -> None:
    args = make("ragged", torch.float32, backend.device)
    shifted = [torch.cat((a.new_zeros(1), a.flatten()))[1:].view(a.shape) for a in args]
    for actual, expected in zip(rvq_encode(*shifted), rvq_encode(*args), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_many_dimensions(backend: Backend) -> None:
    """A block of a GPU holds 32; the CPU takes any number."""
    weights = (1, 40, 24), (1, 40), (1, 24, 40), (1, 24), (1, 19, 40)
    args = tuple(torch.randn(shape, device=backend.device) for shape in ((1, 21, 24), *weights))
    if backend.name not in ("cpu", "torch"):
        with pytest.raises(RuntimeError, match="32 dimensions"):
            rvq_encode(*args)
        return
    codes, latents, quantized = rvq_encode(*args)
    gaps, true_latents, true_quantized = follow(codes, args)
    assert gaps.max() < 2e-5
    torch.testing.assert_close(latents.double(), true_latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(quantized.double(), true_quantized, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["ragged", "many_frames"])
def test_not_a_number_stays_in_its_frame(backend: Backend, name: str) -> None:
    z, *weights = make(name, torch.float32, backend.device)
    clean = rvq_encode(z, *weights)
    z[1, 3, 5] = float("nan")
    spoiled = rvq_encode(z, *weights)
    assert 0 <= spoiled[0].min() <= spoiled[0].max() < weights[-1].shape[1]
    assert spoiled[2][1, 3].isnan().any()
    for before, after in zip(clean, spoiled, strict=True):
        after[1, 3] = before[1, 3]
        torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "first_copy"),
    [("ragged", 32), ("many_frames", 150), ("many_frames", 256)],  # 256: of the same thread
)
def test_lowest_index_on_ties(backend: Backend, name: str, first_copy: int) -> None:
    args = list(make(name, torch.float32, backend.device))
    books = args[5] = args[5].clone()
    books[:, first_copy:] = books[:, : books.shape[1] - first_copy]
    codes = rvq_encode(*args)[0]
    assert codes.max() < first_copy


def test_zero_latent_has_a_code(backend: Backend) -> None:
    """Its scores are the squared lengths of the normalised rows: 1, or 0 for a row of zeros."""
    args = [torch.zeros_like(a) for a in make("ragged", torch.float32, backend.device)]
    args[5].normal_()
    args[5][:, 0] = 0
    codes, _, quantized = rvq_encode(*args)
    assert 1 <= codes.min() <= codes.max() < 64
    assert quantized.isfinite().all()


def test_a_row_of_zeros_can_be_nearest(backend: Backend) -> None:
    args = [torch.zeros_like(a) for a in make("ragged", torch.float32, backend.device)]
    args[2].fill_(1)
    args[5].fill_(-1)
    args[5][:, 5] = 0
    assert (rvq_encode(*args)[0] == 5).all()


@pytest.mark.parametrize(
    ("position", "value", "error", "message"),
    [
        (0, torch.zeros(2, 48), ValueError, r"z must have shape \(B, T, D\)"),
        (0, torch.zeros(2, 3, 48, dtype=torch.bfloat16), TypeError, "float32 or float64"),
        (1, torch.zeros(3, 8, 47), ValueError, r"in_weight must have shape \(3, 8, 48\)"),
        (4, torch.zeros(3, 8), ValueError, r"out_bias must have shape \(3, 48\)"),
    ],
)
def test_bad_arguments(position: int, value: Tensor, error: type[Exception], message: str) -> None:
    args = list(make("ragged", torch.float32, "cpu"))
    args[position] = value
    with pytest.raises(error, match=message):
        rvq_encode(*args)


def test_no_frames(backend: Backend) -> None:
    if backend.name == "torch":
        pytest.skip("torch's convolution refuses an input without frames")
    z, *weights = make("ragged", torch.float32, backend.device)
    codes, latents, quantized = rvq_encode(z[:, :0], *weights)
    assert codes.shape == (2, 0, 3)
    assert latents.shape == (2, 0, 24)
    assert quantized.shape == (2, 0, 48)
