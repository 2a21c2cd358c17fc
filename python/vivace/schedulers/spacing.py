"""Which of the training's timesteps a run visits (table 2 of Lin et al. 2023, arXiv:2305.08891)."""

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Timesteps = NDArray[np.float64]

SPACINGS = ("linspace", "leading", "trailing")


def check_steps(steps: Any, largest: int, name: str) -> int:
    """`steps` as an int. Raises TypeError if it is none, ValueError if not in 1 … largest."""
    try:
        count = operator.index(steps)
    except TypeError:
        raise TypeError(
            f"{name}.set_timesteps: num_inference_steps must be an integer, "
            f"got {steps!r} ({type(steps).__name__})"
        ) from None
    if not 1 <= count <= largest:
        raise ValueError(
            f"{name}.set_timesteps: num_inference_steps must be between 1 and the number of "
            f"training steps {largest}, got {count}"
        )
    return count


def check_spacing(spacing: str) -> str:
    """`spacing`. Raises ValueError if it is not one of SPACINGS."""
    if spacing not in SPACINGS:
        raise ValueError(f"timestep_spacing must be one of {SPACINGS}, got {spacing!r}")
    return spacing


def spaced(spacing: str, train: int, steps: int, offset: int, whole: bool) -> Timesteps:
    """`steps` descending timesteps of 0 … train − 1; `whole`: "linspace" rounds to integers.

    "leading" adds `offset`, less of it where the first timestep would pass train − 1: with
    steps == train and offset 1 diffusers asks for a timestep that the model was not trained on.
    """
    ascending: Timesteps
    if check_spacing(spacing) == "trailing":
        return _trailing(train, train / steps, steps)
    if spacing == "leading":
        ascending = _leading(train // steps, steps, train, offset)
    elif whole:
        ascending = np.linspace(0, train - 1, steps).round()
    else:
        ascending = np.linspace(0, train - 1, steps, dtype=np.float32).astype(np.float64)
    return ascending[::-1]


def spaced_between(spacing: str, train: int, last: int, steps: int, offset: int) -> Timesteps:
    """`steps` descending timesteps for solvers that end at the noise-free sample.

    The grid has one point more than there are steps, and its lowest is left out. last: the training
    steps that take part, fewer than `train` if the noisiest are cut. If they are too few for that
    grid, every one is visited.
    """
    ascending: Timesteps
    if check_spacing(spacing) == "trailing":
        return _trailing(last, train / steps, steps)
    if steps + 1 > last:
        ascending = np.linspace(0, last - 1, steps).round()
    elif spacing == "linspace":
        ascending = np.linspace(0, last - 1, steps + 1).round()[1:]
    else:
        ascending = _leading(last // (steps + 1), steps + 1, train, offset)[1:]
    return ascending[::-1]


def _leading(stride: int, count: int, train: int, offset: int) -> Timesteps:
    grid: Timesteps = np.arange(count, dtype=np.float64) * stride
    return grid + min(offset, train - 1 - int(grid[-1]))


def _trailing(last: int, stride: float, count: int) -> Timesteps:
    # Rounding may put one point too many at the end of the range.
    grid: Timesteps = np.arange(last, 0, -stride)[:count].round() - 1.0
    return grid
