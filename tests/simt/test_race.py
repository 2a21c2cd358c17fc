"""The race build judges by ordering: it reports a race in every schedule, right outcome or not."""

import numpy as np
import pytest

from tests.simt.build import Library, Schedule, marked

# case -> the two lines of the race
IN_BLOCK = {
    "combine_bug": ("combine write", "combine read"),
    "reuse_bug": ("reuse write", "reuse read"),
    "lock_step_bug": ("lock step write", "lock step read"),
    "shuffle_order_bug": ("shuffle order write", "shuffle order read"),
    "half_sync_bug": ("half sync write", "half sync read"),
    "broadcast_bug": ("broadcast write", "broadcast read"),
    "global_exchange_bug": ("global exchange write", "global exchange read"),
    "plain_atomic": ("plain atomic update", "plain atomic read"),
}


@pytest.mark.parametrize("case", IN_BLOCK)
def test_race_in_a_block(race: Library, schedule: Schedule, case: str) -> None:
    x = np.ones(256, np.float32)
    error = race.run(case, np.empty_like(x), x, numbers=(4,), at=schedule)
    assert error is not None
    # Read first, the shared memory may still be empty: then that is the report.
    if "which nobody has written" in error:
        assert marked(IN_BLOCK[case][1]) in error
        return
    assert "race: " in error
    assert "no barrier orders the two" in error
    for mark in IN_BLOCK[case]:
        assert f"tests/simt/{marked(mark)}" in error


def test_ring_without_the_second_barrier(race: Library, schedule: Schedule) -> None:
    x = np.ones((5, 256), np.float32)
    error = race.run("ring_no_barrier", np.empty(64, np.float32), x, numbers=(5,), at=schedule)
    assert error is not None
    assert marked("ring copy") in error
    assert marked("ring read") in error


def test_wait_behind_the_barrier(race: Library, schedule: Schedule) -> None:
    x = np.ones((5, 256), np.float32)
    error = race.run("ring_wait_late", np.empty(64, np.float32), x, numbers=(5,), at=schedule)
    assert error is not None
    assert marked("ring copy") in error
    assert marked("ring read") in error


def test_uninitialised_shared_memory(race: Library, schedule: Schedule) -> None:
    error = race.run("uninitialised", np.empty(32, np.float32), at=schedule)
    assert error is not None
    assert marked("uninitialised") in error
    assert "thread (31, 0, 0)" in error
    assert "which nobody has written" in error


def test_end_of_dynamic_shared_memory(race: Library, schedule: Schedule) -> None:
    """The race build sees the access itself, with its line; the plain build finds the damage."""
    assert race.run("dynamic_overflow", numbers=(32,), at=schedule) is None
    error = race.run("dynamic_overflow", numbers=(33,), at=schedule)
    assert error is not None
    assert marked("dynamic overflow") in error
    assert "outside the launch's 128 bytes of dynamic shared memory" in error


def test_blocks_that_overlap_by_one_element(race: Library, schedule: Schedule) -> None:
    y = np.empty(96, np.float32)
    assert race.run("overlap", y, numbers=(32,), at=schedule) is None
    error = race.run("overlap", y, numbers=(31,), at=schedule)
    assert error is not None
    assert error.count(marked("overlap")) == 2
    assert "of another block" in error


def test_in_place_with_a_halo(race: Library, schedule: Schedule) -> None:
    x = np.ones(80, np.float32)
    assert race.run("in_place_halo", x, numbers=(0,), at=schedule) is None
    error = race.run("in_place_halo", x, numbers=(1,), at=schedule)
    assert error is not None
    # Within a block the barrier orders them; between blocks nothing does.
    assert marked("halo read") in error
    assert marked("halo write") in error
    assert "of another block" in error


def test_ticket_without_a_fence(race: Library, schedule: Schedule) -> None:
    y, partial = np.empty(1, np.float32), np.empty(4, np.float32)
    ticket = np.zeros(1, np.uint32)
    error = race.run("ticket_bug", y, partial, ticket, at=schedule)
    assert error is not None
    assert marked("ticket read") in error
    assert marked("ticket write") in error
    assert "__threadfence" in error
