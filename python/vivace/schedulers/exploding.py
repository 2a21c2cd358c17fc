"""Schedulers whose sample is x = x₀ + σ·ε, and whose model sees x / √(σ² + 1)."""

import logging
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import broadcast
from vivace.schedulers.base import SchedulerMixin, Timestep
from vivace.schedulers.betas import betas_of
from vivace.schedulers.outputs import Affine
from vivace.schedulers.prediction import clean_of_exploding
from vivace.schedulers.spacing import check_spacing, check_steps, spaced

logger = logging.getLogger(__name__)


class SigmaScheduler(SchedulerMixin):
    """Base of Euler, Euler ancestral, LMS and Heun.

    sigmas: σ of every step and the final one, float32 on the CPU. With "linspace" spacing a run of
    one step is, as in diffusers, the timestep 0 alone, where there is next to no noise left: choose
    "trailing" for one step.
    """

    sigmas: Tensor

    def _set_betas(self) -> None:
        config = self.config
        check_spacing(config.timestep_spacing)
        zero_snr = config.get("rescale_betas_zero_snr", False)
        self.betas = betas_of(
            config.beta_schedule,
            config.beta_start,
            config.beta_end,
            config.num_train_timesteps,
            config.trained_betas,
            zero_snr,
        )
        self.alphas = 1.0 - self.betas
        self.alphas_cumprod = torch.cumprod(self.alphas, dim=0)
        if zero_snr:
            self.alphas_cumprod[-1] = 2**-24  # σ would be infinite
        self._table = levels.sigma_table(self.alphas_cumprod)
        self.is_scale_input_called = False

    @property
    def init_noise_sigma(self) -> float:
        """The standard deviation of the sample that the run begins with."""
        largest = max(self._sigmas)
        if self.config.timestep_spacing == "leading":
            return sqrt(largest**2 + 1)
        return largest

    def _check_count(self, num_inference_steps: Any) -> int:
        return check_steps(num_inference_steps, len(self), type(self).__name__)

    def _spaced(self, steps: int) -> NDArray[np.float64]:
        config = self.config
        return spaced(config.timestep_spacing, len(self), steps, config.steps_offset, whole=False)

    def _respaced(
        self, timesteps: NDArray[np.float64], sigmas: NDArray[np.float64], steps: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`timesteps` and `sigmas`, or those that an option `use_…_sigmas` puts in their place."""
        config = self.config
        for option, curve in (
            ("use_karras_sigmas", levels.karras),
            ("use_exponential_sigmas", levels.exponential),
            ("use_beta_sigmas", levels.beta_spaced),
        ):
            if config.get(option):
                low, high = config.get("sigma_min"), config.get("sigma_max")
                low = sigmas[-1] if low is None else low
                high = sigmas[0] if high is None else high
                sigmas = curve(float(low), float(high), steps)
                return levels.timesteps_of(sigmas, self._table), sigmas
        return timesteps, sigmas

    def _set_levels(
        self,
        timesteps: NDArray[np.float64],
        sigmas: NDArray[np.float64],
        device: str | torch.device | None,
    ) -> None:
        """Starts a run; `sigmas` has the final level, one more than there are timesteps."""
        self.sigmas = torch.from_numpy(sigmas.astype(np.float32))
        self._sigmas: list[float] = self.sigmas.tolist()
        self._set_schedule(timesteps, device, torch.float32)

    def scale_model_input(self, sample: Tensor, timestep: Timestep | None = None) -> Tensor:
        """x / √(σ² + 1), in the sample's dtype."""
        if timestep is None:
            raise TypeError(f"{type(self).__name__}.scale_model_input: timestep is missing")
        sigma = self._sigmas[self._index(timestep)]
        self.is_scale_input_called = True
        return sample / sqrt(sigma**2 + 1)

    def _step_at(self, timestep: Timestep) -> int:
        if not self.is_scale_input_called:
            logger.warning(
                "%s.step without scale_model_input before it: the model's input must be scaled.",
                type(self).__name__,
            )
        return self._index(timestep)

    def _clean_of(self, sigma: float) -> Affine:
        return clean_of_exploding(self.config.prediction_type, sigma)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x₀ + σ·ε.

        original_samples, noise: (batch, …). timesteps: (batch,), each one of `timesteps`; reading
        them waits for their device, unless `set_begin_index` was called: then the level is that of
        the running step for all.
        """
        sigma = broadcast(self._rows(original_samples, timesteps), original_samples)
        noisy: Tensor = original_samples + noise * sigma
        return noisy.to(original_samples.dtype)

    def _rows(self, like: Tensor, timesteps: Tensor) -> Tensor:
        """σ for each of the timesteps, (batch,) float32 or float64 on the device of `like`."""
        if self._begin_index is None:
            indices = [self._look_up(float(t)) for t in timesteps.reshape(-1).tolist()]
        else:
            running = self._begin_index if self._step_index is None else self._step_index
            indices = [running] * timesteps.numel()
        dtype = torch.promote_types(torch.float32, like.dtype)
        values = torch.tensor([self._sigmas[i] for i in indices], dtype=dtype)
        return values.to(like.device, non_blocking=True)
