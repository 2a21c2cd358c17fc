"""causal_attention: float64 truth, the cache afterwards bit by bit, and what must not be read."""

import pytest
import torch
from torch import Tensor

import vivace
from tests.conftest import Backend
from tests.tolerances import assert_close
from vivace.ops import causal_attention

# (heads, head dimension, new tokens, capacity, tokens in the cache of each row)
CASES = {
    "one": (1, 8, 1, 1, (0,)),
    "first_token": (3, 16, 1, 5, (0, 0)),  # longest is 0: the reference's other branch
    "short_prefill": (2, 24, 8, 9, (0, 0)),
    "ragged": (2, 40, 3, 50, (0, 17, 41)),  # rows of very different lengths, one of them empty
    "full": (3, 64, 1, 70, (69, 33)),  # the new token is the last that fits
    "several": (2, 128, 8, 300, (292, 0, 100)),
    "tile": (1, 64, 1, 300, (127,)),  # around the lengths at which kernels change their loops
    "tile_and_one": (1, 64, 2, 300, (128,)),
    "long": (2, 72, 1, 1100, (1050, 3)),
    "bark.small": (12, 64, 1, 1280, (700,)),
    "bark.large": (16, 64, 1, 1280, (1200,)),
    "bark.large.batch": (16, 64, 1, 1280, (1200, 900, 600, 300, 1200, 900, 600, 300)),
}
PERF = tuple(name for name in CASES if "bark" in name)


def make(name: str, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Behind a row's tokens the cache holds large numbers, and NaN where nothing may be read."""
    heads, dim, time, capacity, lengths = CASES[name]
    batch, longest = len(lengths), max(lengths)
    qkv = torch.randn(batch, time, 3 * heads * dim, device=device).to(dtype)
    cache = torch.randn(2, batch, heads, capacity, dim, device=device)
    for row, length in enumerate(lengths):
        cache[:, row, :, length:] = 1e4
    cache[..., longest + time :, :] = float("nan")
    keys, values = cache.to(dtype)
    return qkv, keys, values, torch.tensor(lengths, device=device), longest


def cost(name: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    heads, dim, time, _, lengths = CASES[name]
    rows = len(lengths) * time
    seen = sum(2 * heads * dim * (length + time) for length in lengths)
    flops = sum(4 * heads * dim * time * (length + time) for length in lengths)
    return (seen + 4 * rows * heads * dim) * dtype.itemsize, flops


def check(
    qkv: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, longest: int, dtype: torch.dtype
) -> None:
    truth_keys, truth_values = keys.double(), values.double()
    expected = causal_attention.reference(qkv.double(), truth_keys, truth_values, lengths, longest)
    before = lengths.clone()
    y = causal_attention(qkv, keys, values, lengths, longest)
    assert y.dtype == dtype
    assert y.shape == (*qkv.shape[:2], qkv.shape[2] // 3)
    assert lengths.equal(before)
    assert_close(y, expected, dtype, terms=keys.shape[3])
    for cache, truth in ((keys, truth_keys), (values, truth_values)):  # copies are exact
        torch.testing.assert_close(cache.double(), truth, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", CASES)
def test_matches_reference(backend: Backend, dtype: torch.dtype, name: str) -> None:
    check(*make(name, dtype, backend.device), dtype)


@pytest.mark.parametrize("name", ["ragged", "several"])
def test_longest_is_a_bound_only(backend: Backend, name: str) -> None:
    """A larger `longest`, as a captured graph has, gives the same numbers."""
    qkv, keys, values, lengths, longest = make(name, torch.float32, backend.device)
    room = keys.shape[2] - qkv.shape[1]
    keys.nan_to_num_(1e4)
    values.nan_to_num_(1e4)
    exact = causal_attention(qkv, keys.clone(), values.clone(), lengths, longest)
    loose = causal_attention(qkv, keys, values, lengths, room)
    assert_close(loose, exact, torch.float32)


def test_views(backend: Backend, dtype: torch.dtype) -> None:
    """One layer of a cache of many, some of its rows; lengths and qkv with strides."""
    keys = torch.randn(6, 2, 2, 33, 24, device=backend.device).to(dtype)
    values = torch.randn(6, 2, 2, 33, 24, device=backend.device).to(dtype)
    qkv = torch.randn(6, 5, 288, device=backend.device).to(dtype)
    lengths = torch.tensor([4, 0, 30, 0, 9, 0], device=backend.device)
    check(qkv[::2, 1:3, ::2], keys[::2, 1], values[::2, 1], lengths[::2], 30, dtype)


def test_rows_off_16_bytes(backend: Backend, dtype: torch.dtype) -> None:
    """Tensors whose first element is at no multiple of 16 bytes."""
    qkv, keys, values, lengths, longest = make("ragged", dtype, backend.device)
    off = [torch.cat((t.new_zeros(1), t.flatten()))[1:].view(t.shape) for t in (qkv, keys, values)]
    check(*off, lengths, longest, dtype)


def test_large_scores(backend: Backend, dtype: torch.dtype) -> None:
    """Scores of some hundreds: the exponentials need the maximum, and one token takes everything.

    Only the signs of the numbers decide which: rounding does not.
    """
    qkv, keys, values, lengths, longest = make("ragged", dtype, backend.device)
    qkv[:, :, :80] = qkv[:, :, :80].sign() * 16
    keys[:] = keys.sign() * 16
    keys[0] = 0  # a row whose scores are all alike
    check(qkv, keys, values, lengths, longest, dtype)


def test_step_by_step_equals_at_once(backend: Backend, dtype: torch.dtype) -> None:
    """Five tokens one after the other see what five together see."""
    qkv, keys, values, _, _ = make("short_prefill", dtype, backend.device)
    qkv, keys, values = qkv[:, :5].contiguous(), keys.zero_(), values.zero_()
    start = torch.zeros(2, dtype=torch.int64, device=backend.device)
    together = causal_attention(qkv, keys.clone(), values.clone(), start, 0)
    steps = [
        causal_attention(qkv[:, t : t + 1], keys, values, start + t, t) for t in range(qkv.shape[1])
    ]
    assert_close(torch.cat(steps, 1), together, dtype, terms=keys.shape[3])


@pytest.mark.parametrize("time", [1, 2, 3, 4, 5, 6, 7, 8])
def test_every_number_of_new_tokens(backend: Backend, time: int) -> None:
    qkv = torch.randn(2, time, 96, device=backend.device)
    keys, values = torch.randn(2, 2, 2, 30, 16, device=backend.device)
    lengths = torch.tensor([21, 2], device=backend.device)
    check(qkv, keys, values, lengths, 21, torch.float32)


def test_nothing_behind_a_row_is_read(backend: Backend) -> None:
    """Kernels stop at a row's own tokens; torch masks what is behind, and NaN survives a mask."""
    if backend.name == "torch":
        pytest.skip("torch multiplies what it masks by zero")
    qkv, keys, values, lengths, longest = make("ragged", torch.float32, backend.device)
    clean = causal_attention(qkv, keys.clone(), values.clone(), lengths, longest)
    for row, length in enumerate(lengths.tolist()):
        keys[row, :, length:] = float("nan")
        values[row, :, length:] = float("nan")
    torch.testing.assert_close(
        causal_attention(qkv, keys, values, lengths, longest), clean, rtol=0, atol=0
    )


def test_large_prefills_are_torchs(backend: Backend) -> None:
    args = (torch.zeros(1, 9, 24), *torch.zeros(2, 1, 1, 9, 8), torch.zeros(1).long(), 0)
    args = tuple(a.to(backend.device) if isinstance(a, Tensor) else a for a in args)
    if backend.name != "torch":
        with pytest.raises(RuntimeError, match="more than 8 new tokens are torch's"):
            causal_attention(*args)
    with vivace.backend("auto"):
        assert causal_attention(*args).shape == (1, 9, 8)


@pytest.mark.parametrize(
    ("position", "value", "error", "message"),
    [
        (0, torch.zeros(2, 24), ValueError, r"qkv must be \(B, T, 3·H·D\)"),
        (0, torch.zeros(2, 1, 25), ValueError, r"3·H·D = 25"),
        (1, torch.zeros(2, 1, 5, 8), ValueError, r"keys and values \(B, H, S, D\), got"),
        (3, torch.zeros(3).long(), ValueError, r"lengths \(2,\)"),
        (3, torch.zeros(2), TypeError, "lengths be int64"),
        (0, torch.zeros(2, 1, 24).half(), TypeError, "must share a dtype"),
        (4, 4, ValueError, "do not fit a cache of 4"),
        (4, -1, ValueError, "1 new tokens after -1"),
    ],
)
def test_bad_arguments(
    position: int, value: Tensor | int, error: type[Exception], message: str
) -> None:
    cache = torch.zeros(2, 2, 1, 4, 8)
    args = [torch.zeros(2, 1, 24), *cache, torch.zeros(2, dtype=torch.int64), 3]
    args[position] = value
    with pytest.raises(error, match=message):
        causal_attention(*args)
