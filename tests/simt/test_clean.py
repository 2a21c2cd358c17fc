"""Right kernels give right results in every schedule, and no check reports them."""

import numpy as np
import pytest

from tests.simt.build import SCHEDULES, Library, Schedule
from tests.simt.clean_cases import CASES


@pytest.mark.parametrize("case", CASES)
def test_plain(plain: Library, schedule: Schedule, case: str, rng: np.random.Generator) -> None:
    CASES[case](plain, schedule, rng)


@pytest.mark.parametrize("case", CASES)
def test_race_detector_is_silent(
    race: Library, schedule: Schedule, case: str, rng: np.random.Generator
) -> None:
    CASES[case](race, schedule, rng)


@pytest.mark.parametrize("case", CASES)
def test_ucontext_fallback(ucontext: Library, case: str, rng: np.random.Generator) -> None:
    """The fibers of other processors, and kernels without optimisation, as one debugs them."""
    for schedule in (SCHEDULES[0], SCHEDULES[-1]):
        CASES[case](ucontext, schedule, rng)
