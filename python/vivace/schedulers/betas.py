"""Noise schedules: β of the forward process, by name."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def betas_of(
    schedule: str,
    start: float,
    end: float,
    steps: int,
    trained: Sequence[float] | np.ndarray | None = None,
    zero_terminal_snr: bool = False,
) -> Tensor:
    """β, (steps,) float32 on the CPU; rounded as diffusers does it, because all numbers follow.

    `trained` takes the place of the schedule. Raises NotImplementedError for an unknown schedule.
    """
    if trained is not None:
        betas = torch.tensor(np.asarray(trained), dtype=torch.float32)
    elif schedule == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float32)
    elif schedule == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
    elif schedule == "sigmoid":
        ramp = torch.linspace(-6, 6, steps, dtype=torch.float32)
        betas = torch.sigmoid(ramp) * (end - start) + start
    elif schedule in _ALPHA_BAR:
        alpha_bar = _ALPHA_BAR[schedule]
        ratios = (alpha_bar((i + 1) / steps) / alpha_bar(i / steps) for i in range(steps))
        betas = torch.tensor([min(1 - ratio, 0.999) for ratio in ratios], dtype=torch.float32)
    else:
        names = ["linear", "scaled_linear", "sigmoid", *_ALPHA_BAR]
        raise NotImplementedError(f"beta_schedule must be one of {names}, got {schedule!r}")
    return _with_zero_terminal_snr(betas) if zero_terminal_snr else betas


def _cosine(t: float) -> float:
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def _laplace(t: float) -> float:
    snr = math.exp(-0.5 * math.copysign(1, 0.5 - t) * math.log(1 - 2 * abs(0.5 - t) + 1e-6))
    return math.sqrt(snr / (1 + snr))


def _exp(t: float) -> float:
    return math.exp(-12.0 * t)


# ᾱ as a function of t in [0, 1]; "squaredcos_cap_v2" is Nichol & Dhariwal 2021, arXiv:2102.09672.
_ALPHA_BAR: dict[str, Callable[[float], float]] = {
    "squaredcos_cap_v2": _cosine,
    "laplace": _laplace,
    "exp": _exp,
}


def _with_zero_terminal_snr(betas: Tensor) -> Tensor:
    """√ᾱ shifted to end at 0 and scaled to begin where it did (Lin et al. 2023, arXiv:2305.08891,
    algorithm 1)."""
    root = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    alphas_bar = ((root - last) * (first / (first - last))) ** 2
    alphas = torch.cat([alphas_bar[:1], alphas_bar[1:] / alphas_bar[:-1]])
    return 1 - alphas
