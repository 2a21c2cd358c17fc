"""Kernels without a mistake, each against numpy. Also run in a process of its own under ASan."""

from collections.abc import Callable

import numpy as np

from tests.simt.build import Library, Schedule

Check = Callable[[Library, Schedule, np.random.Generator], None]


def _bf16(x: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16, to nearest even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def row_sum(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    for rows, columns, threads in ((3, 1, 32), (2, 301, 128), (1, 1000, 256)):
        x = rng.standard_normal((rows, columns)).astype(np.float32)
        y = np.empty(rows, np.float32)
        assert library.run("row_sum", y, x, numbers=(rows, columns, threads), at=at) is None
        np.testing.assert_allclose(y, x.astype(np.float64).sum(1), rtol=1e-5, atol=1e-4)


def transpose(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    for shape in ((1, 1), (32, 32), (45, 70)):
        x = rng.standard_normal(shape).astype(np.float32)
        y = np.empty(shape[::-1], np.float32)
        assert library.run("transpose", y, x, numbers=shape, at=at) is None
        np.testing.assert_array_equal(y, x.T)


def scan(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    x = rng.integers(-100, 100, (5, 64), np.int32)
    y = np.empty_like(x)
    assert library.run("scan", y, x, numbers=(5,), at=at) is None
    np.testing.assert_array_equal(y, x.cumsum(1))


def uneven(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    y = np.empty(128, np.int32)
    assert library.run("uneven", y, at=at) is None
    lane = np.arange(32)
    for warp in range(4):
        total = (32 * warp + lane).sum()
        low = total + 3 + (lane ^ 1)
        want = np.where(lane < 16, low, total + 16 + 3)
        np.testing.assert_array_equal(y[32 * warp : 32 * warp + 32], want)


def compact(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    x = rng.integers(0, 1000, 500, np.int32)
    y = np.full(500, -1, np.int32)
    count = np.zeros(1, np.int32)
    assert library.run("compact", y, count, x, numbers=(500,), at=at) is None
    want = np.sort(x[x % 3 == 0])
    assert count[0] == len(want)
    np.testing.assert_array_equal(np.sort(y[: len(want)]), want)


def ticket_sum(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    x = rng.standard_normal(301).astype(np.float32)
    y, partial = np.empty(1, np.float32), np.empty(10, np.float32)
    ticket = np.zeros(1, np.uint32)
    for _ in range(2):  # the ticket resets itself
        assert library.run("ticket_sum", y, partial, ticket, x, numbers=(301,), at=at) is None
        np.testing.assert_allclose(y[0], x.astype(np.float64).sum(), atol=1e-4)
    assert ticket[0] == 0


def fence_all(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    x = rng.standard_normal(4 * 64).astype(np.float32)
    y, copy, ticket = np.empty_like(x), np.empty_like(x), np.zeros(1, np.uint32)
    assert library.run("fence_all", y, copy, ticket, x, numbers=(4,), at=at) is None
    np.testing.assert_array_equal(y, 2 * x[::-1])


def warp_exchange(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    x = rng.standard_normal(128).astype(np.float32)
    y = np.empty_like(x)
    assert library.run("warp_exchange", y, x, at=at) is None
    np.testing.assert_array_equal(y, np.roll(x.reshape(4, 32), -15, axis=1).ravel())


def ring(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 256)).astype(np.float32)
    y = np.empty(64, np.float32)
    assert library.run("ring_fixed", y, x, numbers=(5,), at=at) is None
    np.testing.assert_allclose(y, ring_result(x), rtol=1e-5, atol=1e-4)


def ring_result(x: np.ndarray) -> np.ndarray:
    """What planted_memory.cu's ring computes: each tile reversed, in fours, weighted 1 to 4."""
    weighted = x.astype(np.float64)[:, ::-1].reshape(-1, 64, 4) * np.arange(1, 5)
    total: np.ndarray = weighted.sum((0, 2))
    return total


def gemm(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    for rows, columns, depth in ((1, 1, 8), (33, 17, 40), (64, 16, 200)):
        a = rng.standard_normal((rows, depth)).astype(np.float32)
        b = rng.standard_normal((columns, depth)).astype(np.float32)
        y = np.empty((rows, columns), np.float32)
        a16, b16 = a.astype(np.float16), b.astype(np.float16)
        sizes = (rows, columns, depth)
        assert library.run("gemm_f16", y, a16, b16, numbers=sizes, at=at) is None
        np.testing.assert_allclose(y, a16.astype(float) @ b16.astype(float).T, atol=1e-4)
        a_bits, b_bits = _bf16(a), _bf16(b)
        assert library.run("gemm_bf16", y, a_bits, b_bits, numbers=sizes, at=at) is None
        wide = [(bits.astype(np.uint32) << 16).view(np.float32) for bits in (a_bits, b_bits)]
        np.testing.assert_allclose(y, wide[0].astype(float) @ wide[1].astype(float).T, atol=1e-4)


def gemm_tf32(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    a = rng.standard_normal((16, 24)).astype(np.float32)
    b = rng.standard_normal((8, 24)).astype(np.float32)
    y = np.empty((16, 8), np.float32)
    assert library.run("gemm_tf32", y, a, b, numbers=(24,), at=at) is None
    want = a.astype(float) @ b.astype(float).T
    assert 0 < np.abs(y - want).max() < 0.02  # rounded to 10 bits of mantissa, but no more


def fixed_twins(library: Library, at: Schedule, rng: np.random.Generator) -> None:
    """The repaired kernels of planted_*.cu."""
    x = rng.standard_normal(128).astype(np.float32)
    y = np.empty_like(x)
    assert library.run("combine_fixed", y, x, at=at) is None
    np.testing.assert_allclose(y, x.astype(np.float64).sum(), atol=1e-4)
    assert library.run("reuse_fixed", y, x, numbers=(2,), at=at) is None
    np.testing.assert_allclose(y[0], x.astype(np.float64).sum(), atol=1e-4)
    for case in ("lock_step_fixed", "half_sync_fixed"):
        assert library.run(case, y, x, at=at) is None
        np.testing.assert_array_equal(y[:32], x[31::-1])
    assert library.run("global_exchange_fixed", y, x, at=at) is None
    np.testing.assert_array_equal(y, np.concatenate([x[:64], x[63::-1]]))
    wide = np.empty(256, np.float32)
    assert library.run("broadcast_fixed", wide, x, at=at) is None
    np.testing.assert_array_equal(wide, np.full(256, 3 * x[0]))
    total, partial, ticket = y[:1], np.empty(4, np.float32), np.zeros(1, np.uint32)
    assert library.run("ticket_fixed", total, partial, ticket, at=at) is None
    assert total[0] == 10


CASES: dict[str, Check] = {
    check.__name__: check
    for check in (
        row_sum,
        transpose,
        scan,
        uneven,
        compact,
        ticket_sum,
        fence_all,
        warp_exchange,
        ring,
        gemm,
        gemm_tf32,
        fixed_twins,
    )
}
