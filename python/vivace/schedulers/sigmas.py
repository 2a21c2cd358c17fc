"""Noise levels σ = √((1 − ᾱ)/ᾱ) of a run, and the timesteps that they belong to."""

from math import exp, lgamma, log

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Levels = NDArray[np.float64]

FINAL_SIGMAS = ("zero", "sigma_min")
_RHO = 7.0


def sigma_table(alphas_cumprod: Tensor) -> Levels:
    """σ of every training timestep, (train,) ascending; rounded to float32 as diffusers does."""
    sigmas: Levels = (((1 - alphas_cumprod) / alphas_cumprod) ** 0.5).double().numpy()
    return sigmas


def check_sigma_options(**chosen: bool | None) -> None:
    """Raises ValueError if more than one of the options `use_…_sigmas` is on."""
    used = [name for name, value in chosen.items() if value]
    if len(used) > 1:
        raise ValueError(f"only one of {sorted(chosen)} can be used, got {used}")


def at(timesteps: Levels, table: Levels) -> Levels:
    """σ at timesteps that may lie between those of the table (linear interpolation)."""
    return np.interp(timesteps, np.arange(len(table)), table)


def karras(low: float, high: float, steps: int) -> Levels:
    """Karras et al. 2022, arXiv:2206.00364, equation 5, without the final zero."""
    ramp = np.linspace(0, 1, steps)
    first, last = high ** (1 / _RHO), low ** (1 / _RHO)
    sigmas: Levels = (first + ramp * (last - first)) ** _RHO
    return sigmas


def exponential(low: float, high: float, steps: int) -> Levels:
    """Equal ratios between neighbours."""
    return np.exp(np.linspace(log(high), log(low), steps))


def beta_spaced(low: float, high: float, steps: int) -> Levels:
    """At quantiles of the beta distribution (0.6, 0.6): Lee et al. 2024, arXiv:2407.12173."""
    return np.array([low + (high - low) * beta_quantile(q) for q in 1 - np.linspace(0, 1, steps)])


def beta_quantile(q: float, shape: float = 0.6) -> float:
    """x with I_x(shape, shape) = q, by bisection; q in [0, 1]."""
    if q > 0.5:
        return 1.0 - beta_quantile(1.0 - q, shape)
    low, high = 0.0, 0.5
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _beta_cdf(middle, shape) < q else (low, middle)
    return high if q > 0.0 else 0.0


def _beta_cdf(x: float, shape: float) -> float:
    """I_x(a, a) for x ≤ 1/2: its power series in x, whose terms at least halve."""
    term, total = 1.0, 1.0 / shape
    for n in range(1, 64):
        term *= (n - shape) / n * x
        total += term / (shape + n)
    return exp(shape * log(x) + lgamma(2 * shape) - 2 * lgamma(shape)) * total


def timesteps_of(sigmas: Levels, table: Levels) -> Levels:
    """The fractional timesteps of noise levels: linear in log σ, clipped to those of the table."""
    # In float32 as in diffusers: a last place of log σ moves a timestep by 1e-4.
    known = np.log(table.astype(np.float32)).astype(np.float64)
    return np.interp(np.log(np.maximum(sigmas, 1e-10)), known, np.arange(len(table)))


def final_sigma(kind: str, table: Levels) -> float:
    """The level after the last step: 0, or that of timestep 0."""
    if kind not in FINAL_SIGMAS:
        raise ValueError(f"final_sigmas_type must be one of {FINAL_SIGMAS}, got {kind!r}")
    return 0.0 if kind == "zero" else float(table[0])
