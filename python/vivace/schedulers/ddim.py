"""DDIM (Song, Meng & Ermon 2020, arXiv:2010.02502), equations 12 and 16."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivace.schedulers.alphas import AlphaScheduler
from vivace.schedulers.arithmetic import Generators, combine, draw_noise
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.outputs import SchedulerOutput, StepCoefficients
from vivace.schedulers.prediction import check_prediction
from vivace.schedulers.spacing import check_spacing, check_steps, spaced


class DDIMScheduler(AlphaScheduler):
    """DDIM, the scheduler of AudioLDM. Arguments, timesteps and numbers as in diffusers.

    With as many steps as the model was trained on, "leading" spacing uses as much of `steps_offset`
    as fits; diffusers fails there.
    """

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        check_prediction(prediction_type)
        check_spacing(timestep_spacing)
        self._set_betas(set_alpha_to_one)
        self._set_schedule(np.arange(num_train_timesteps)[::-1], None, torch.int64)

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Chooses `timesteps`, (num_inference_steps,) int64.

        Raises ValueError if the number is not in 1 … num_train_timesteps, TypeError if no integer.
        """
        config = self.config
        train = config.num_train_timesteps
        steps = check_steps(num_inference_steps, train, type(self).__name__)
        timesteps = spaced(config.timestep_spacing, train, steps, config.steps_offset, whole=True)
        self.num_inference_steps = steps
        self._set_schedule(timesteps, device, torch.int64)
        self._check_signal()

    def coefficients(self, index: int, eta: float = 0.0) -> StepCoefficients:
        """Step `index` of the run as one linear function, if nothing is clipped or thresholded."""
        self._require_timesteps()
        return self._coefficients(int(self._schedule[index]), eta)

    def _levels(self, timestep: int, eta: float) -> tuple[float, float, float, float]:
        """ᾱ here and after the step, the factor of ε, and that of the new noise."""
        assert self.num_inference_steps is not None
        here = self._alpha_bar(timestep)
        after = self._alpha_bar(timestep - len(self) // self.num_inference_steps)
        variance = (1 - after) / (1 - here) * (1 - here / after)
        fresh = eta * sqrt(max(variance, 0.0))
        direction = 1 - after - fresh**2
        if eta < 0 or direction < -1e-9:
            raise ValueError(
                f"DDIMScheduler.step: eta must be between 0 and 1 at timestep {timestep}, got {eta}"
            )
        return here, after, sqrt(max(direction, 0.0)), fresh

    def _coefficients(self, timestep: int, eta: float) -> StepCoefficients:
        here, after, direction, fresh = self._levels(timestep, eta)
        clean, noise = self._clean_of(here), self._noise_of(here)
        return StepCoefficients(
            sqrt(after) * clean.sample + direction * noise.sample,
            sqrt(after) * clean.model_output + direction * noise.model_output,
            fresh,
        )

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Generators = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """The sample one step on: SchedulerOutput, or the tuple of its fields.

        model_output, sample: (batch, …). eta: 0 for DDIM, 1 for as much new noise as DDPM, from
        `variance_noise` or drawn with `generator`. use_clipped_model_output: where x₀ is clipped,
        the noise is derived from it anew. Raises ValueError before set_timesteps.
        """
        self._require_timesteps()
        t = self._timestep(timestep)
        here, after, direction, fresh = self._levels(t, eta)
        clean = self._clean(here, sample, model_output)
        if self._bounded():
            noise = self._noise_of(here)
            if use_clipped_model_output:
                root = sqrt(1 - here)
                terms = [
                    (sqrt(after) - direction * sqrt(here) / root, clean),
                    (direction / root, sample),
                ]
            else:
                terms = [(sqrt(after), clean), (direction * noise.sample, sample)]
                terms.append((direction * noise.model_output, model_output))
        else:
            c = self._coefficients(t, eta)
            terms = [(c.sample, sample), (c.model_output, model_output)]
        if eta > 0:
            if variance_noise is None:
                variance_noise = draw_noise(model_output, generator)
            elif generator is not None:
                raise ValueError(
                    "DDIMScheduler.step: expected generator or variance_noise, got both"
                )
            terms.append((fresh, variance_noise))
        previous = combine(terms).to(sample.dtype)
        self._advance()
        if not return_dict:
            return previous, clean.to(sample.dtype)
        return SchedulerOutput(previous, clean.to(sample.dtype))
