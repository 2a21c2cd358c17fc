"""gpt_decode_step: a whole stack against float64 on the rounded weights, and its cache."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

import vivace
from tests.conftest import Backend
from tests.tolerances import TOLERANCES
from vivace.nn.quantize import round_to_int8_
from vivace.ops.gpt_decode_step import ABSENT, DecodeWeights, gpt_decode_step

# (layers, heads, head dimension, inner width, head's vocabulary, capacity, tokens in the cache of
# each row, first, rows, int8, biases)
CASES = {
    "one_head": (1, 1, 64, 256, 40, 9, (0,), 0, 40, False, True),  # an empty cache
    "no_biases": (2, 2, 64, 512, 100, 20, (7,), 3, 50, False, False),  # suno's GPTs
    "head_of_8": (1, 4, 8, 100, 33, 40, (39, 4), 32, 1, False, True),  # the last that fits
    "odd_eighths": (2, 2, 24, 192, 70, 30, (11, 0, 29), 31, 34, False, True),
    "odd_sixteenths": (1, 6, 40, 77, 65, 50, (30, 41), 7, 58, False, False),  # odd inner width
    "wide_heads": (1, 2, 128, 300, 130, 80, (64, 79), 5, 120, False, True),
    "rows_4": (2, 3, 64, 768, 100, 64, (63, 16, 1, 0), 0, 100, False, True),
    "rows_5": (2, 3, 64, 768, 100, 64, (63, 16, 1, 0, 40), 10, 64, False, True),
    "rows_8": (2, 1, 64, 256, 100, 300, (256, 255, 3, 0, 128, 299, 1, 2), 33, 33, False, True),
    # The inner activations of five rows do not fit into a GPU's shared memory at once.
    "rows_in_groups": (1, 2, 8, 8000, 20, 9, (5, 2, 1, 0, 3), 0, 20, False, True),
    "no_layers": (0, 1, 64, 64, 90, 4, (1,), 50, 40, False, True),  # the last norm and the head
    "int8": (2, 3, 64, 768, 100, 64, (63,), 5, 90, True, False),
    "int8_rows": (2, 2, 40, 111, 100, 33, (32, 4, 0, 17, 5, 6, 7), 31, 40, True, True),
}
_SMALL = (12, 12, 64, 3072, 10048, 1024)
_LARGE = (24, 16, 64, 4096, 10048, 1024)
# Of production size: a step in the middle of a semantic generation. The weights take seconds to
# make and gigabytes to hold, so that only the benchmarks ask for all.
PRODUCTION = {
    "bark_small.semantic": (*_SMALL, (640,), 0, 10001, False, False),
    "bark_small.semantic.int8": (*_SMALL, (640,), 0, 10001, True, False),
    "bark_small.semantic.batch": (*_SMALL, (640,) * 4, 0, 10001, False, False),
    "bark_large.semantic": (*_LARGE, (640,), 0, 10001, False, False),
    "bark_large.semantic.int8": (*_LARGE, (640,), 0, 10001, True, False),
}
PERF = tuple(PRODUCTION)

Arguments = tuple[Any, ...]


def shape_of(name: str) -> tuple[Any, ...]:
    return CASES[name] if name in CASES else PRODUCTION[name]


def make(name: str, dtype: torch.dtype, device: str) -> Arguments:
    layers, heads, dim, inner, vocabulary, capacity, lengths, first, rows, int8, biases = shape_of(
        name
    )
    width, batch, longest = heads * dim, len(lengths), max(lengths)

    def matrix(out: int, into: int) -> Tensor:
        weight = torch.randn(out, into, device=device) * into**-0.5
        return (round_to_int8_(weight) if int8 else weight).to(dtype)

    def vector(size: int, center: float = 0.0) -> Tensor:
        if not biases and center == 0.0:
            return ABSENT.to(device, dtype)
        return (center + 0.2 * torch.randn(size, device=device)).to(dtype)

    weights = []
    for _ in range(layers):
        weights += [vector(width, 1.0), vector(width), matrix(3 * width, width), vector(3 * width)]
        weights += [matrix(width, width), vector(width), vector(width, 1.0), vector(width)]
        weights += [matrix(inner, width), vector(inner), matrix(width, inner), vector(width)]
    weights += [vector(width, 1.0), vector(width), matrix(vocabulary, width)]
    cache = torch.randn(2, layers, batch, heads, capacity, dim, device=device)
    for row, length in enumerate(lengths):
        cache[:, :, row, :, length:] = 1e4  # large, as a token that must not be seen
    keys, values = cache.to(dtype)
    x = torch.randn(batch, width, device=device).to(dtype)
    # As a generation holds them: packed at the first call, not compared at every one.
    held = DecodeWeights(weights) if name in PRODUCTION else weights
    return x, held, keys, values, torch.tensor(lengths, device=device), longest, first, rows, int8


def cost(name: str, dtype: torch.dtype) -> tuple[int, int]:
    """(bytes, FLOPs) that any implementation must move and do."""
    layers, heads, dim, inner, _, _, lengths, _, rows, int8, _ = shape_of(name)
    width = heads * dim
    weights = layers * width * (4 * width + 2 * inner) + rows * width
    seen = layers * sum(2 * width * (length + 1) for length in lengths)
    moved = weights * (1 if int8 else dtype.itemsize) + seen * dtype.itemsize
    return moved + 4 * rows * len(lengths), 2 * (len(lengths) * weights + seen)


def wide(args: Arguments) -> Arguments:
    """The arguments in float64: what the roundings of weights, x and cache leave of them."""

    def double(a: Any) -> Any:
        return a.double() if isinstance(a, Tensor) and a.is_floating_point() else a

    return tree_map(double, (args[0], list(args[1]), *args[2:]))


def assert_near(actual: Tensor, truth: Tensor, backend: str, dtype: torch.dtype, name: str) -> None:
    """Within the tolerance of a sum of as many products as a layer has in a row, in the norm: what
    a stack rounds in one place, the next layers spread over all others.

    Kernels keep x, norms and sums in float32, so that only what is stored in 16 bits (the new keys
    and values, with int8 the weights) is rounded; torch rounds every intermediate result.
    """
    layers, heads, dim, inner, *_ = shape_of(name)
    rtol, _ = TOLERANCES[dtype]
    roundings = max(1, layers) * (8 if backend == "torch" else 2)
    error = (actual.double() - truth).norm() / truth.norm()
    assert error < rtol * roundings**0.5, f"{float(error):.2e}"
    if dtype == torch.float32:
        terms = max(heads * dim, inner) * max(1, layers)
        largest = (actual.double() - truth).abs().max()
        assert largest < TOLERANCES[dtype][1] * terms**0.5, f"{float(largest):.2e}"


def verify(name: str, args: Arguments, result: Tensor) -> dict[str, float]:
    """The errors of a result by name; raises AssertionError for one that is wrong."""
    with vivace.backend("torch"):
        truth = gpt_decode_step.reference(*wide(args))
    assert result.shape == truth.shape
    assert_near(result, truth, "torch", args[0].dtype, name)
    error = result.double() - truth
    return {
        "max_abs": float(error.abs().max()),
        "rel_l2": float(error.norm() / truth.norm()),
    }


@pytest.mark.parametrize("name", CASES)
def test_matches_reference(backend: Backend, dtype: torch.dtype, name: str) -> None:
    args = make(name, dtype, backend.device)
    truth_args = wide(args)
    before = [a.clone() for a in args[2:5]]
    logits = gpt_decode_step(*args)
    truth = gpt_decode_step.reference(*truth_args)
    assert logits.dtype == torch.float32
    assert logits.shape == (args[0].shape[0], args[7])
    assert_near(logits, truth, backend.name, dtype, name)
    assert args[4].equal(before[2]), "lengths are the caller's"
    rtol, atol = TOLERANCES[dtype]
    for cache, old, expected in zip(args[2:4], before, truth_args[2:4], strict=False):
        new = torch.zeros(cache.shape, dtype=torch.bool, device=cache.device)
        for row, length in enumerate(args[4].tolist()):
            new[:, row, :, length] = True
        assert cache[~new].equal(old[~new]), "only the new tokens are written"
        if cache.numel() > 0:
            error = cache[new].double() - expected[new]
            assert error.norm() <= 4 * rtol * expected[new].norm()
            assert error.abs().max() < 32 * atol


@pytest.mark.parametrize("name", ["bark_small.semantic", "bark_small.semantic.int8"])
def test_production_size(backend: Backend, name: str) -> None:
    if backend.name not in ("cpu", "cuda"):
        pytest.skip("0.2 GFLOP take minutes under emulation, and torch is the reference")
    if backend.isa == "amx":
        pytest.skip("the loops of AVX-512")
    args = make(name, torch.float32, backend.device)
    truth = gpt_decode_step.reference(*wide(args))
    assert_near(gpt_decode_step(*args), truth, backend.name, torch.float32, name)


@pytest.mark.parametrize("name", ["rows_8", "int8_rows"])
def test_a_row_does_not_depend_on_the_others(
    backend: Backend, dtype: torch.dtype, name: str
) -> None:
    if backend.name == "torch":
        pytest.skip("torch's products sum in another order for another number of rows")
    x, weights, keys, values, lengths, longest, *rest = make(name, dtype, backend.device)
    together = gpt_decode_step(x, weights, keys.clone(), values.clone(), lengths, longest, *rest)
    for part in (slice(0, 1), slice(3, 4), slice(2, 5), slice(1, 7)):
        some = [a[:, part].contiguous() for a in (keys, values)]
        logits = gpt_decode_step(x[part], weights, *some, lengths[part], longest, *rest)
        if backend.name == "cpu":
            assert torch.equal(logits, together[part])
        else:
            rtol, atol = TOLERANCES[dtype]  # sums may be split otherwise, and round keys otherwise
            torch.testing.assert_close(logits, together[part], rtol=8 * rtol, atol=8 * atol)


@pytest.mark.parametrize("name", ["rows_5", "int8"])
def test_longest_is_a_bound_only(backend: Backend, name: str) -> None:
    """A larger `longest`, as a captured graph has, gives the same numbers."""
    x, weights, keys, values, lengths, longest, *rest = make(name, torch.float32, backend.device)
    lengths = (lengths - 1).clamp(min=0)
    exact = (int(lengths.max()), *rest)
    expected = gpt_decode_step(x, weights, keys.clone(), values.clone(), lengths, *exact)
    loose = gpt_decode_step(x, weights, keys, values, lengths, longest, *rest)
    torch.testing.assert_close(loose, expected, rtol=1e-5, atol=1e-5)


def test_the_rows_of_the_head_that_are_asked_for(backend: Backend) -> None:
    x, weights, keys, values, lengths, longest, _, _, int8 = make(
        "rows_4", torch.float32, backend.device
    )
    call = (x, weights, keys, values, lengths, longest)
    whole = gpt_decode_step(*call, 0, 100, int8)
    for first, rows in ((0, 1), (31, 1), (31, 2), (32, 32), (33, 67), (99, 1), (5, 90)):
        logits = gpt_decode_step(*call, first, rows, int8)
        torch.testing.assert_close(logits, whole[:, first : first + rows], rtol=1e-5, atol=1e-5)


def test_step_by_step(backend: Backend) -> None:
    """Six tokens from an empty cache, each seeing those before: as the reference's six."""
    x, weights, keys, values, lengths, _, *rest = make("rows_4", torch.float32, backend.device)
    wide_caches = [a.double().zero_() for a in (keys, values)]
    keys.zero_(), values.zero_(), lengths.zero_()
    wide_weights = [w.double() for w in weights]
    for step in range(6):
        x = torch.randn_like(x)
        args = (lengths + step, step, *rest)
        logits = gpt_decode_step(x, weights, keys, values, *args)
        truth = gpt_decode_step.reference(x.double(), wide_weights, *wide_caches, *args)
        assert_near(logits, truth, backend.name, torch.float32, "rows_4")


def test_changed_weights_are_packed_anew(backend: Backend) -> None:
    """Of a plain list, at every call; `DecodeWeights` promises that they stay."""
    args = make("odd_eighths", torch.float32, backend.device)
    gpt_decode_step(*args)
    for index in (2, 13, -1):
        args[1][index].mul_(-0.5)
        truth = gpt_decode_step.reference(*wide(args))
        assert_near(gpt_decode_step(*args), truth, backend.name, torch.float32, "odd_eighths")
    args[1][10] = torch.randn_like(args[1][10])
    truth = gpt_decode_step.reference(*wide(args))
    assert_near(gpt_decode_step(*args), truth, backend.name, torch.float32, "odd_eighths")


def test_held_weights_are_packed_once(backend: Backend) -> None:
    x, weights, *rest = make("no_biases", torch.bfloat16, backend.device)
    held = DecodeWeights(weights)
    expected = gpt_decode_step(x, weights, *rest)
    for _ in range(3):
        assert gpt_decode_step(x, held, *rest).equal(expected)
    assert len(held.stored) == (0 if backend.name == "torch" else 1)


def test_large_scores_and_outliers(backend: Backend) -> None:
    """Scores of some hundreds, GELU arguments on both sides of where its tails end."""
    args = make("wide_heads", torch.float32, backend.device)
    for index in (2, 8):
        args[1][index].mul_(12)
    truth = gpt_decode_step.reference(*wide(args))
    logits = gpt_decode_step(*args)
    assert float((logits.double() - truth).norm() / truth.norm()) < 2e-4  # scores of 1e2 · 2⁻²⁴


@pytest.mark.parametrize("threads", [1, 2])
def test_two_callers_at_once(backend: Backend, threads: int) -> None:
    if backend.name != "cpu":
        pytest.skip("kernels on GPUs take turns")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        calls: list[Callable[[], Tensor]] = []
        expected = []
        for name in ("rows_5", "int8"):
            args = make(name, torch.float32, backend.device)
            calls.append(lambda args=args: gpt_decode_step(*args))  # type: ignore[misc]
            expected.append(gpt_decode_step(*args))

        def work(index: int) -> bool:
            with vivace.backend("cpu"), torch.no_grad():
                return all(torch.equal(calls[index](), expected[index]) for _ in range(50))

        with ThreadPoolExecutor(2) as pool:
            assert all(pool.map(work, range(2)))
    finally:
        torch.set_num_threads(before)


def test_lengths_beyond_the_bound_are_refused() -> None:
    """The kernel on the CPU looks at them before it writes."""
    args = list(make("no_biases", torch.float32, "cpu"))
    args[4] = torch.tensor([20])
    with vivace.backend("cpu"), torch.no_grad(), pytest.raises(ValueError, match="lengths must be"):
        gpt_decode_step(*args)


@pytest.mark.parametrize(
    ("position", "value", "error", "message"),
    [
        (0, torch.zeros(1, 2, 3), ValueError, r"x must be \(B, C\)"),
        (0, torch.zeros(2, 128), ValueError, r"keys must be \(L, 2, H, S, D\)"),
        (1, [torch.zeros(1)] * 5, ValueError, "2 layers and a head have 27 weights, got 5"),
        (2, torch.zeros(2, 1, 2, 21, 64), ValueError, r"keys and values \(L, B, H, S, D\), got"),
        (4, torch.zeros(1), TypeError, "lengths be int64"),
        (4, torch.zeros(2).long(), ValueError, r"lengths \(1,\)"),
        (0, torch.zeros(1, 128).half(), TypeError, "must share a dtype"),
        (5, 20, ValueError, "a token after 20 does not fit a cache of 20"),
        (6, 60, ValueError, "the head has 100 rows, got first 60 and rows 50"),
        (7, 0, ValueError, "rows 0"),
    ],
)
def test_bad_arguments(position: int, value: Any, error: type[Exception], message: str) -> None:
    args = list(make("no_biases", torch.float32, "cpu"))
    args[position] = value
    with pytest.raises(error, match=message):
        gpt_decode_step(*args)
