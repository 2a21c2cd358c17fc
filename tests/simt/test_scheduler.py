"""Schedules are different, repeatable and complete; launches that no GPU accepts are refused."""

import numpy as np
import pytest

from tests.simt.build import SCHEDULES, Library, Schedule, marked


def test_missing_barrier_is_wrong_in_some_schedules_only(plain: Library) -> None:
    """The reason for having several: one that is right proves nothing."""
    x = np.arange(256, dtype=np.float32)
    y = np.empty(1, np.float32)
    right = []
    for at in SCHEDULES:
        assert plain.run("reuse_bug", y, x, numbers=(4,), at=at) is None
        right.append(bool(y[0] == x.sum()))
    assert True in right
    assert False in right


def test_missing_barrier_reads_poison(plain: Library, schedule: Schedule) -> None:
    """Shared memory starts as NaN, so that what nobody has written shows up in the result."""
    x = np.ones(128, np.float32)
    y = np.empty_like(x)
    assert plain.run("combine_bug", y, x, at=schedule) is None
    assert np.isnan(y).any()


def test_each_block_starts_with_poison(plain: Library) -> None:
    y = np.empty(32, np.float32)
    for _ in range(2):
        assert plain.run("uninitialised", y, at=Schedule()) is None
        np.testing.assert_array_equal(np.isnan(y), np.arange(32) == 31)


def test_dynamic_shared_memory_has_guards(plain: Library, schedule: Schedule) -> None:
    assert plain.run("dynamic_overflow", numbers=(32,), at=schedule) is None
    error = plain.run("dynamic_overflow", numbers=(33,), at=schedule)
    assert error is not None
    assert "dynamic_overflow_kernel: block (0, 0, 0)" in error
    assert "wrote past the end of the launch's 128 bytes" in error


def test_a_seed_repeats_its_schedules(plain: Library) -> None:
    def outcome(seed: int) -> float:
        x = np.arange(1024, dtype=np.float32) ** 2
        y = np.empty(1, np.float32)
        assert plain.run("reuse_bug", y, x, numbers=(16,), at=Schedule(2, True, 2, seed)) is None
        return float(y[0])

    assert outcome(5) == outcome(5)
    assert len({outcome(seed) for seed in range(8)}) > 4


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((0, 1, 1, 32, 1, 1, 0), "the grid is empty"),
        ((1, 65536, 1, 32, 1, 1, 0), "more than 65535 blocks in y"),
        ((1, 1, 65536, 32, 1, 1, 0), "more than 65535 blocks in z"),
        ((2**31, 1, 1, 32, 1, 1, 0), "more than 2147483647 blocks in x"),
        ((1, 1, 1, 0, 1, 1, 0), "the block is empty"),
        ((1, 1, 1, 1, 1, 65, 0), "the block exceeds (1024, 1024, 64)"),
        ((1, 1, 1, 32, 33, 1, 0), "more than 1024 threads"),
        ((1, 1, 1, 32, 1, 1, 227 * 1024 + 1), "more than 227 KiB"),
    ],
)
def test_launch_limits(plain: Library, shape: tuple[int, ...], reason: str) -> None:
    error = plain.run("launch_shape", numbers=shape, at=Schedule())
    assert error is not None
    assert "kernels/planted_memory.cu:" in error
    assert "launch of empty_kernel with grid (" in error
    assert reason in error


@pytest.mark.parametrize("shape", [(3, 2, 2, 1024, 1, 1, 227 * 1024), (65535, 1, 1, 1, 1, 1, 0)])
def test_the_largest_launches(plain: Library, schedule: Schedule, shape: tuple[int, ...]) -> None:
    assert plain.run("launch_shape", numbers=shape, at=schedule) is None


def test_every_block_runs_once(plain: Library, schedule: Schedule) -> None:
    """A permutation of the blocks, also of one or two: each writes its own sum."""
    for rows in (1, 2, 3, 64, 257):
        x = np.ones((rows, 5), np.float32)
        y = np.zeros(rows, np.float32)
        assert plain.run("row_sum", y, x, numbers=(rows, 5, 32), at=schedule) is None
        np.testing.assert_array_equal(y, np.full(rows, 5))


def test_marks_exist() -> None:
    with pytest.raises(KeyError):
        marked("no such mark")
