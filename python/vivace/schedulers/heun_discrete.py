"""Heun's method of Karras et al. 2022, arXiv:2206.00364, algorithm 1: an Euler step, corrected."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import combine
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.exploding import SigmaScheduler
from vivace.schedulers.outputs import SchedulerOutput
from vivace.schedulers.prediction import check_prediction


class HeunDiscreteScheduler(SigmaScheduler):
    """Heun: two calls of the model per step, one in the last. Arguments and numbers as diffusers.

    timesteps: (2n − 1,); every one but the first occurs twice.
    """

    order = 2

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ) -> None:
        check_prediction(prediction_type)
        levels.check_sigma_options(
            use_karras_sigmas=use_karras_sigmas,
            use_exponential_sigmas=use_exponential_sigmas,
            use_beta_sigmas=use_beta_sigmas,
        )
        self._set_betas()
        self.set_timesteps(num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        num_train_timesteps: int | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Chooses `timesteps`, float32, and `sigmas`, one more: for n steps or for the timesteps.

        num_train_timesteps: taken for compatibility; must be that of the configuration. Raises
        ValueError if not, if not exactly one of n and timesteps is given or n is not in 1 …
        num_train_timesteps, TypeError if n is no integer.
        """
        name, config = "HeunDiscreteScheduler.set_timesteps", self.config
        if num_train_timesteps not in (None, len(self)):
            raise ValueError(
                f"{name}: num_train_timesteps must be {len(self)}, got {num_train_timesteps}"
            )
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError(f"{name}: expected one of num_inference_steps and timesteps")
        if timesteps is None:
            steps = self._check_count(num_inference_steps)
            visited = self._spaced(steps)
        else:
            if any(config[f"use_{kind}_sigmas"] for kind in ("karras", "exponential", "beta")):
                raise ValueError(f"{name}: timesteps do not go with use_…_sigmas")
            visited = np.asarray(timesteps, dtype=np.float64)
            steps = len(visited)
        visited, run = self._respaced(visited, levels.at(visited, self._table), steps)
        self.num_inference_steps = steps
        self._set_levels(_twice(visited), np.append(_twice(run), 0.0), device)

    def _forget(self) -> None:
        self._first: tuple[Tensor, Tensor] | None = None  # the step's sample and its derivative

    @property
    def state_in_first_order(self) -> bool:
        """Whether the next call makes an Euler step, not its correction."""
        return self._first is None

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """The sample one call on: SchedulerOutput, or the tuple of its fields.

        model_output, sample: (batch, …).
        """
        index = self._index(timestep)
        sigma = self._sigmas[index]
        clean = self._clean_of(sigma)
        original = combine([(clean.sample, sample), (clean.model_output, model_output)])
        if self.config.clip_sample:
            limit = self.config.clip_sample_range
            original = original.clamp(-limit, limit)
            derivative = combine([(1 / sigma, sample), (-1 / sigma, original)])
        else:
            # Not from x₀: with epsilon the sample, large where σ is, would cancel.
            derivative = combine(
                [
                    ((1 - clean.sample) / sigma, sample),
                    (-clean.model_output / sigma, model_output),
                ]
            )
        if self._first is None:
            change = self._sigmas[index + 1] - sigma
            previous = combine([(1.0, sample), (change, derivative)])
            self._first = (sample, derivative)
        else:
            begin, before = self._first
            half = (sigma - self._sigmas[index - 1]) / 2
            previous = combine([(1.0, begin), (half, before), (half, derivative)])
            self._first = None
        self._advance()
        previous, original = previous.to(sample.dtype), original.to(sample.dtype)
        return SchedulerOutput(previous, original) if return_dict else (previous, original)


def _twice(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every value but the first doubled."""
    return np.concatenate([values[:1], np.repeat(values[1:], 2)])
