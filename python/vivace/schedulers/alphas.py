"""Schedulers that keep the sample's variance: x = √ᾱ·x₀ + √(1 − ᾱ)·ε."""

from math import sqrt

import torch
from torch import Tensor

from vivace.schedulers.arithmetic import broadcast, combine, threshold
from vivace.schedulers.base import SchedulerMixin, Timestep
from vivace.schedulers.betas import betas_of
from vivace.schedulers.outputs import Affine
from vivace.schedulers.prediction import clean_of, noise_of


class AlphaScheduler(SchedulerMixin):
    """Base of DDIM, DDPM and PNDM: one step goes from ᾱ of a timestep to ᾱ of another.

    alphas_cumprod: ᾱ, (num_train_timesteps,) float32 on the CPU.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor
    final_alpha_cumprod: Tensor

    def _set_betas(self, set_alpha_to_one: bool = True) -> None:
        config = self.config
        self.betas = betas_of(
            config.beta_schedule,
            config.beta_start,
            config.beta_end,
            config.num_train_timesteps,
            config.trained_betas,
            config.get("rescale_betas_zero_snr", False),
        )
        self.alphas = 1.0 - self.betas
        self.alphas_cumprod = torch.cumprod(self.alphas, dim=0)
        last = self.alphas_cumprod[0]
        self.final_alpha_cumprod = torch.ones_like(last) if set_alpha_to_one else last
        self._alpha_bars: list[float] = self.alphas_cumprod.tolist()
        self._final_alpha_bar = float(self.final_alpha_cumprod)

    def _timestep(self, timestep: Timestep) -> int:
        """The timestep as a number; any that the model was trained on, not only those of the run.

        Raises ValueError for other numbers.
        """
        if isinstance(timestep, Tensor) and timestep.device.type != "cpu":
            return int(self._schedule[self._index(timestep)])
        value = float(timestep)
        if not (value.is_integer() and 0 <= value < len(self._alpha_bars)):
            raise ValueError(
                f"{type(self).__name__}.step: timestep must be an integer of "
                f"0 … {len(self._alpha_bars) - 1}, got {value:g}"
            )
        if value in self._schedule:
            self._index(value)
        return int(value)

    def _alpha_bar(self, timestep: int) -> float:
        return self._alpha_bars[timestep] if timestep >= 0 else self._final_alpha_bar

    def _clean_of(self, alpha_bar: float) -> Affine:
        return clean_of(self.config.prediction_type, sqrt(alpha_bar), sqrt(1 - alpha_bar))

    def _noise_of(self, alpha_bar: float) -> Affine:
        return noise_of(self.config.prediction_type, sqrt(alpha_bar), sqrt(1 - alpha_bar))

    def _check_signal(self) -> None:
        """Raises ValueError if the run begins where nothing of x₀ is left to predict it from."""
        hidden = self._alpha_bars[int(self._schedule[0])] == 0.0 and not self._bounded()
        if hidden and self.config.prediction_type == "epsilon":
            raise ValueError(
                f"{type(self).__name__}.set_timesteps: with rescale_betas_zero_snr, timestep "
                f"{self._schedule[0]:g} is noise alone, and prediction_type 'epsilon' says nothing "
                "about the sample there; use v_prediction or sample, or clip_sample"
            )

    def _bounded(self) -> bool:
        return bool(self.config.thresholding or self.config.clip_sample)

    def _clean(self, alpha_bar: float, sample: Tensor, model_output: Tensor) -> Tensor:
        """The prediction of x₀, thresholded or clipped if so configured."""
        config = self.config
        if alpha_bar == 0.0 and config.prediction_type == "epsilon":
            # No signal is left: the difference of sample and noise tells its sign at best.
            clean = combine([(1.0, sample), (-1.0, model_output)]) / 0.0
        else:
            c = self._clean_of(alpha_bar)
            clean = combine([(c.sample, sample), (c.model_output, model_output)])
        if config.thresholding:
            ratio, largest = config.dynamic_thresholding_ratio, config.sample_max_value
            return threshold(clean, ratio, largest)
        if config.clip_sample:
            return clean.clamp(-config.clip_sample_range, config.clip_sample_range)
        return clean

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """√ᾱ·x₀ + √(1 − ᾱ)·ε.

        original_samples, noise: (batch, …). timesteps: (batch,) or () integers. Computed in float32
        at least, where diffusers rounds ᾱ to the dtype of half-precision samples.
        """
        alpha, sigma = self._rows(original_samples, timesteps)
        noisy: Tensor = alpha * original_samples + sigma * noise
        return noisy.to(original_samples.dtype)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v = √ᾱ·ε − √(1 − ᾱ)·x₀, what a model with v_prediction learns; arguments as add_noise."""
        alpha, sigma = self._rows(sample, timesteps)
        velocity: Tensor = alpha * noise - sigma * sample
        return velocity.to(sample.dtype)

    def _rows(self, like: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(torch.float32, like.dtype)
        table = self.alphas_cumprod.to(timesteps.device)
        alpha_bar = table[timesteps].to(like.device, dtype)
        return broadcast(alpha_bar.sqrt(), like), broadcast((1 - alpha_bar).sqrt(), like)
