"""Ancestral sampling with Euler steps: down to less noise than due, then new noise on top."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import Generators, combine, draw_noise
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.exploding import SigmaScheduler
from vivace.schedulers.outputs import SchedulerOutput, StepCoefficients
from vivace.schedulers.prediction import check_prediction


class EulerAncestralDiscreteScheduler(SigmaScheduler):
    """Ancestral Euler. Arguments, timesteps and numbers as in diffusers.

    prediction_type "sample" works too.
    """

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        check_prediction(prediction_type)
        self._set_betas()
        timesteps = np.arange(num_train_timesteps, dtype=float)[::-1]
        self._set_levels(timesteps, np.append(self._table[::-1], 0.0), None)

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Chooses `timesteps`, (num_inference_steps,) float32, and `sigmas`, one more.

        Raises ValueError if the number is not in 1 … num_train_timesteps, TypeError if no integer.
        """
        steps = self._check_count(num_inference_steps)
        timesteps = self._spaced(steps)
        self.num_inference_steps = steps
        self._set_levels(timesteps, np.append(levels.at(timesteps, self._table), 0.0), device)

    def coefficients(self, index: int) -> StepCoefficients:
        """Step `index` of the run as one linear function."""
        sigma, after = self._sigmas[index], self._sigmas[index + 1]
        up = after * sqrt(max(sigma**2 - after**2, 0.0)) / sigma
        down = after**2 / sigma
        clean = self._clean_of(sigma)
        rate = (down - sigma) / sigma
        return StepCoefficients(1 + rate * (1 - clean.sample), -rate * clean.model_output, up)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Any:
        """The sample one step on: SchedulerOutput, or the tuple of its fields.

        model_output, sample: (batch, …). generator: draws the new noise, in every step.
        """
        index = self._step_at(timestep)
        c, clean = self.coefficients(index), self._clean_of(self._sigmas[index])
        noise = draw_noise(model_output, generator)
        terms = [(c.sample, sample), (c.model_output, model_output), (c.noise, noise)]
        predicted = [(clean.sample, sample), (clean.model_output, model_output)]
        previous = combine(terms).to(sample.dtype)
        original = combine(predicted).to(sample.dtype)
        self._advance()
        return SchedulerOutput(previous, original) if return_dict else (previous, original)
