"""Barriers and warp collectives that cannot complete are errors that name both sides."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.simt.build import SCHEDULES, Library, Schedule, marked

# case -> what the report must contain; a mark stands for its file:line.
REPORTS: dict[str, tuple[list[str], list[str]]] = {
    "foreign_mask": (["foreign mask"], ["is not in its own mask 0x0000ffff"]),
    "source_outside": (["source outside"], ["not in mask 0x0000ffff"]),
    "missing_lanes": (["missing lanes"], ["0xff000000", "do not exist or have exited"]),
    "exited_lanes": (["exited lanes"], ["0xffffffff", "exited"]),
    "bad_width": (["bad width"], ["width must be a power of two up to 32, got 12"]),
    "two_barriers": (["barrier one", "barrier two"], ["must reach the same barrier"]),
    "two_lines": (["two lines first", "two lines second"], ["must reach the same line"]),
}


@pytest.mark.parametrize("case", REPORTS)
def test_misuse_is_reported(plain: Library, schedule: Schedule, case: str) -> None:
    marks, words = REPORTS[case]
    error = plain.run(case, np.empty(64, np.int32), at=schedule)
    assert error is not None
    for expected in (f"{case}_kernel: block (0, 0, 0), thread (", *map(marked, marks), *words):
        assert expected in error


def test_barrier_in_a_divergent_branch(plain: Library, schedule: Schedule) -> None:
    error = plain.run("divergent_barrier", at=schedule)
    assert error is not None
    assert "deadlock" in error
    assert (
        f"8 from thread (0, 0, 0) on: __syncthreads at tests/simt/{marked('divergent barrier')}"
        in (error)
    )
    assert (
        f"24 from thread (8, 0, 0) on: __shfl_sync at tests/simt/{marked('divergent shuffle')} "
        "with mask 0xffffffff" in error
    )


def test_shuffle_by_half_a_warp(plain: Library, schedule: Schedule) -> None:
    """Either a lane has gone before the others ask for it, or it goes while they wait."""
    error = plain.run("half_shuffle", np.empty(32, np.int32), at=schedule)
    assert error is not None
    assert marked("half shuffle") in error
    assert "exited" in error


def test_trap_names_block_and_thread(plain: Library) -> None:
    error = plain.run("trap", numbers=(15,), at=Schedule())
    assert error == (
        f"trap_kernel: block (1, 0, 0), thread (7, 0, 0): tests/simt/{marked('trap')}: __trap"
    )


def test_assert_is_an_error_and_not_an_abort(plain: Library, schedule: Schedule) -> None:
    assert plain.run("assertion", numbers=(64,), at=schedule) is None
    error = plain.run("assertion", numbers=(5,), at=schedule)
    assert error is not None
    assert f"thread (5, 0, 0): tests/simt/{marked('assertion')}: assertion failed: " in error


def test_a_c_plus_plus_exception_reaches_the_caller(plain: Library, schedule: Schedule) -> None:
    assert plain.run("throwing", numbers=(40,), at=schedule) == "thrown in a kernel"
    assert plain.run("throwing", numbers=(64,), at=schedule) is None


def test_threads_of_the_caller_take_turns(plain: Library) -> None:
    """Static shared memory is thread-local: each OS thread has its own."""
    x = np.arange(512, dtype=np.float32)

    def launch(_: int) -> float:
        y = np.empty(1, np.float32)
        for _ in range(20):
            assert plain.run("reuse_fixed", y, x, numbers=(8,), at=SCHEDULES[-1]) is None
        return float(y[0])

    with ThreadPoolExecutor(max_workers=3) as pool:
        assert set(pool.map(launch, range(6))) == {float(x.sum())}


def test_an_error_leaves_the_engine_usable(plain: Library) -> None:
    x = np.arange(512, dtype=np.float32)
    y = np.empty(64, np.float32)
    for at in SCHEDULES:
        for case in ("two_barriers", "divergent_barrier", "exited_lanes", "ring_no_wait"):
            assert plain.run(case, y, x, numbers=(2,), at=at) is not None
        assert plain.run("reuse_fixed", y, x, numbers=(8,), at=at) is None
        assert y[0] == x.sum()
