"""DDPM (Ho, Jain & Abbeel 2020, arXiv:2006.11239), equation 7."""

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
from vivace.schedulers.outputs import SchedulerOutput
from vivace.schedulers.prediction import check_prediction
from vivace.schedulers.spacing import check_spacing, check_steps, spaced

_VARIANCES = (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")


class DDPMScheduler(AlphaScheduler):
    """DDPM. Arguments, timesteps and numbers as in diffusers, without learned variances.

    variance_type None is "fixed_small", and "fixed_large_log" is "fixed_large", as in the original;
    diffusers takes the root of a logarithm there, NaN.
    """

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        variance_type: str | None = "fixed_small",
        clip_sample: bool = True,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        check_prediction(prediction_type)
        check_spacing(timestep_spacing)
        if variance_type not in _VARIANCES:
            raise NotImplementedError(
                f"DDPMScheduler: variance_type must be one of {_VARIANCES}, got {variance_type!r}"
            )
        self._set_betas()
        self._set_schedule(np.arange(num_train_timesteps)[::-1], None, torch.int64)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Chooses `timesteps`, int64: so many, or these, which must descend.

        Raises ValueError if not exactly one is given, the number is not in 1 …
        num_train_timesteps, or a timestep is none of the training; TypeError if it is no integer.
        """
        name, config, train = "DDPMScheduler.set_timesteps", self.config, len(self)
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError(f"{name}: expected one of num_inference_steps and timesteps")
        if timesteps is None:
            steps = check_steps(num_inference_steps, train, type(self).__name__)
            visited = spaced(config.timestep_spacing, train, steps, config.steps_offset, whole=True)
        else:
            visited = np.asarray(timesteps, dtype=np.float64)
            descends = visited.size > 0 and bool((np.diff(visited) < 0).all())
            if not (descends and visited[0] < train and visited[-1] >= 0):
                raise ValueError(
                    f"{name}: timesteps must descend within 0 … {train - 1}, got {timesteps}"
                )
        self.num_inference_steps = len(visited)
        self._set_schedule(visited, device, torch.int64)
        self._check_signal()

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Any:
        """The sample one step on: SchedulerOutput, or the tuple of its fields.

        model_output, sample: (batch, …). generator: draws the new noise, in every step but the one
        at timestep 0.
        """
        index = self._index(timestep)
        t = int(self._schedule[index])
        last = index + 1 == len(self._schedule)
        here = self._alpha_bar(t)
        after = self._alpha_bar(-1 if last else int(self._schedule[index + 1]))
        beta = 1 - here / after
        clean = self._clean(here, sample, model_output)
        terms = [
            (sqrt(after) * beta / (1 - here), clean),
            (sqrt(1 - beta) * (1 - after) / (1 - here), sample),
        ]
        if t > 0:
            small = max((1 - after) / (1 - here) * beta, 1e-20)
            large = self.config.variance_type in ("fixed_large", "fixed_large_log")
            variance = beta if large else small
            terms.append((sqrt(variance), draw_noise(model_output, generator)))
        previous = combine(terms).to(sample.dtype)
        self._advance()
        original = clean.to(sample.dtype)
        return SchedulerOutput(previous, original) if return_dict else (previous, original)
