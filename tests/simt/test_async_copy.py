"""cp.async: the two modes of landing each show what the other hides, in the plain build."""

import numpy as np
import pytest

from tests.simt.build import SCHEDULES, Library, Schedule, marked
from tests.simt.clean_cases import ring_result


def test_copies_that_nobody_waits_for(plain: Library, schedule: Schedule) -> None:
    x = np.ones((4, 256), np.float32)
    error = plain.run("ring_no_wait", np.empty(64, np.float32), x, numbers=(4,), at=schedule)
    assert error is not None
    assert "asynchronous copies were never waited for" in error
    assert marked("ring copy") in error


def _wrong(library: Library, case: str, at: Schedule, x: np.ndarray) -> bool:
    y = np.empty(64, np.float32)
    assert library.run(case, y, x, numbers=(len(x),), at=at) is None
    return not np.allclose(y, ring_result(x), rtol=1e-5, atol=1e-4)


def test_late_copies_show_a_late_wait(plain: Library, rng: np.random.Generator) -> None:
    """A thread waits for its own copies behind the barrier: others may read before they land."""
    x = rng.standard_normal((5, 256)).astype(np.float32)
    late = {at: _wrong(plain, "ring_wait_late", at, x) for at in SCHEDULES if at.copies == 1}
    eager = {at: _wrong(plain, "ring_wait_late", at, x) for at in SCHEDULES if at.copies == 0}
    assert all(late.values())
    assert not any(eager.values())


def test_eager_copies_show_a_missing_barrier(plain: Library, rng: np.random.Generator) -> None:
    """A copy is issued into a stage that another warp still reads."""
    x = rng.standard_normal((5, 256)).astype(np.float32)
    eager = [at for at in SCHEDULES if at.copies == 0]
    assert any(_wrong(plain, "ring_no_barrier", at, x) for at in eager)


@pytest.mark.parametrize(
    ("case", "mark", "words"),
    [
        ("copy_overflow", "copy overflow", "16 bytes at offset 128 of dynamic shared memory"),
        ("copy_misaligned", "copy misaligned", "not a multiple of 16 bytes"),
        ("matrix_misaligned", "matrix misaligned", "ldmatrix: the shared-memory address"),
    ],
)
def test_addresses_are_checked(
    plain: Library, schedule: Schedule, case: str, mark: str, words: str
) -> None:
    x = np.zeros(64, np.float32)
    error = plain.run(case, np.empty_like(x), x, numbers=(1,), at=schedule)
    assert error is not None
    assert marked(mark) in error
    assert words in error
