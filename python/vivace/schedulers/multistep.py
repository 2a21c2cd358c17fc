"""Solvers in the logarithm of the signal-to-noise ratio, λ = log(α/σ): what DPM and UniPC share."""

from math import inf, log, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import broadcast, combine, threshold
from vivace.schedulers.base import SchedulerMixin
from vivace.schedulers.betas import betas_of
from vivace.schedulers.outputs import Affine
from vivace.schedulers.prediction import check_prediction, clean_of, noise_of
from vivace.schedulers.spacing import check_spacing


class MultistepScheduler(SchedulerMixin):
    """Base of DPM-Solver and UniPC. The sample keeps its variance: x = α·x₀ + σ·ε, α² + σ² = 1.

    sigmas: σ/α of every step and the final one, float32 on the CPU.
    """

    sigmas: Tensor

    def _set_betas(self) -> None:
        config = self.config
        check_prediction(config.prediction_type)
        check_spacing(config.timestep_spacing)
        levels.check_sigma_options(
            use_karras_sigmas=config.use_karras_sigmas,
            use_exponential_sigmas=config.use_exponential_sigmas,
            use_beta_sigmas=config.use_beta_sigmas,
        )
        for name in ("use_flow_sigmas", "use_dynamic_shifting"):
            if config[name]:
                raise NotImplementedError(
                    f"{type(self).__name__}: {name} is for flow matching models, which are not here"
                )
        self.betas = betas_of(
            config.beta_schedule,
            config.beta_start,
            config.beta_end,
            config.num_train_timesteps,
            config.trained_betas,
            config.rescale_betas_zero_snr,
        )
        self.alphas = 1.0 - self.betas
        self.alphas_cumprod = torch.cumprod(self.alphas, dim=0)
        if config.rescale_betas_zero_snr:
            self.alphas_cumprod[-1] = 2**-24  # σ would be infinite
        self._table = levels.sigma_table(self.alphas_cumprod)
        timesteps = np.arange(len(self), dtype=float)[::-1]
        self._set_levels(timesteps, np.append(self._table[::-1], 0.0), None)
        self.num_inference_steps = None

    def _respaced(
        self, kind: str, steps: int, whole: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Timesteps and levels of an option `use_…_sigmas`; `whole` rounds the timesteps."""
        curve = {
            "karras": levels.karras,
            "exponential": levels.exponential,
            "beta": levels.beta_spaced,
        }[kind]
        low, high = self.config.get("sigma_min"), self.config.get("sigma_max")
        low = self._table[0] if low is None else low
        high = self._table[-1] if high is None else high
        sigmas = curve(float(low), float(high), steps)
        timesteps = levels.timesteps_of(sigmas, self._table)
        return (timesteps.round() if whole else timesteps), sigmas

    def _set_levels(
        self,
        timesteps: NDArray[np.float64],
        sigmas: NDArray[np.float64],
        device: str | torch.device | None,
    ) -> None:
        """Starts a run; `sigmas` has the final level, one more than there are timesteps."""
        self.num_inference_steps = len(timesteps)
        self.sigmas = torch.from_numpy(sigmas.astype(np.float32))
        self._sigmas: list[float] = self.sigmas.tolist()
        self._set_schedule(timesteps, device, torch.int64)

    def _forget(self) -> None:
        self._outputs: list[Tensor] = []  # the predictions of the last steps, the newest last

    def _alpha_sigma(self, index: int) -> tuple[float, float]:
        ratio = self._sigmas[index]
        alpha = 1 / sqrt(ratio**2 + 1)
        return alpha, ratio * alpha

    def _log_snr(self, index: int) -> float:
        ratio = self._sigmas[index]
        return -log(ratio) if ratio > 0 else inf

    def _predict(self, index: int, model_output: Tensor, sample: Tensor, clean: bool) -> Tensor:
        """The prediction of x₀ (`clean`) or of ε, thresholded if so configured."""
        alpha, sigma = self._alpha_sigma(index)
        config = self.config
        kind = clean_of if clean or config.thresholding else noise_of
        c: Affine = kind(config.prediction_type, alpha, sigma)
        prediction = combine([(c.sample, sample), (c.model_output, model_output)])
        if config.thresholding:
            ratio, largest = config.dynamic_thresholding_ratio, config.sample_max_value
            prediction = threshold(prediction, ratio, largest)
            if not clean:
                prediction = combine([(1 / sigma, sample), (-alpha / sigma, prediction)])
        return prediction

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """α·x₀ + σ·ε.

        original_samples, noise: (batch, …). timesteps: (batch,), each one of `timesteps`, others
        count as the last; reading them waits for their device, unless `set_begin_index` was called:
        then the level is that of the running step for all.
        """
        if self._begin_index is None:
            wanted = [float(t) for t in timesteps.reshape(-1).tolist()]
            known, last = set(self._schedule), len(self._schedule) - 1
            indices = [self._look_up(t) if t in known else last for t in wanted]
        else:
            running = self._begin_index if self._step_index is None else self._step_index
            indices = [running] * timesteps.numel()
        dtype = torch.promote_types(torch.float32, original_samples.dtype)
        rows: Any = torch.tensor([self._alpha_sigma(i) for i in indices], dtype=dtype)
        rows = rows.to(original_samples.device, non_blocking=True)
        alpha, sigma = (broadcast(column, original_samples) for column in rows.unbind(-1))
        noisy: Tensor = alpha * original_samples + sigma * noise
        return noisy.to(original_samples.dtype)
