"""The update of DPM-Solver as numbers, from the levels of the last steps."""

from collections.abc import Sequence
from math import exp, expm1, inf, sqrt

import numpy as np

ALGORITHMS = ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")


def dpm_step(
    algorithm: str,
    solver: str,
    target: tuple[float, float],
    source: tuple[float, float],
    log_snrs: Sequence[float],
) -> tuple[float, list[float], float]:
    """The factors of the sample, of the predictions from newest to oldest, and of new noise.

    target, source: (α, σ) after and before the step. log_snrs: λ of the target, the source and the
    steps before it; their number less one is the order, 1 to 3. solver: "midpoint" or "heun", the
    form of order 2. Orders 2 and 3 are not defined at σ = 0.
    """
    (alpha, sigma), (alpha0, sigma0) = target, source
    h = log_snrs[0] - log_snrs[1]
    order = len(log_snrs) - 1
    if h == 0.0:
        return 1.0, [0.0] * order, 0.0
    if order > 1 and h == inf:
        raise ValueError(f"dpm_step: order must be 1 at the noise-free sample, got {order}")
    fresh = 0.0
    if algorithm == "dpmsolver++":
        phi, own, scale = expm1(-h), sigma / sigma0, -alpha
        unit = -h
    elif algorithm == "dpmsolver":
        phi, own, scale = expm1(h), alpha / alpha0, -sigma
        unit = h
    elif algorithm == "sde-dpmsolver++":
        phi, own, scale = expm1(-2 * h), sigma / sigma0 * exp(-h), -alpha
        unit, fresh = -2 * h, sigma * sqrt(-phi)
    else:
        phi, own, scale = expm1(h), alpha / alpha0, -2 * sigma
        unit, fresh = h, sigma * sqrt(expm1(2 * h))
    differences = _differences(h, log_snrs)
    weights = scale * phi * np.eye(order)[0]
    if order == 2 and solver == "midpoint":
        weights = weights + 0.5 * scale * phi * differences[0]
    elif order > 1:
        # ∫ of the exponential against the first and second power: φ₂ and φ₃ of the paper.
        weights = weights + scale * (phi / unit - 1) * differences[0]
    if order == 3:
        # −1/2 would be right for all; these are the numbers of diffusers.
        half = 0.5 if algorithm == "sde-dpmsolver++" else -0.5
        weights = weights + scale * ((phi - unit) / unit**2 + half) * differences[1]
    return own, weights.tolist(), fresh


def _differences(h: float, log_snrs: Sequence[float]) -> list[np.ndarray]:
    """The first and second derivative of the prediction, in units of h, as weights."""
    order = len(log_snrs) - 1
    if order == 1:
        return []
    r0 = (log_snrs[1] - log_snrs[2]) / h
    if order == 2:
        return [np.array([1.0, -1.0]) / r0]
    r1 = (log_snrs[2] - log_snrs[3]) / h
    newer, older = np.array([1.0, -1.0, 0.0]) / r0, np.array([0.0, 1.0, -1.0]) / r1
    second = (newer - older) / (r0 + r1)
    return [newer + r0 * second, second]
