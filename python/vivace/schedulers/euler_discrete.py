"""Euler's method of Karras et al. 2022, arXiv:2206.00364, algorithm 2 without its correction."""

from collections.abc import Sequence
from math import inf, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import Generators, combine, draw_noise
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.exploding import SigmaScheduler
from vivace.schedulers.outputs import Affine, SchedulerOutput, StepCoefficients
from vivace.schedulers.prediction import check_prediction

_PREDICTIONS = ("epsilon", "sample", "original_sample", "v_prediction")


class EulerDiscreteScheduler(SigmaScheduler):
    """Euler. Arguments, timesteps and numbers as in diffusers; a timestep may be an int too."""

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        interpolation_type: str = "linear",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        timestep_spacing: str = "linspace",
        timestep_type: str = "discrete",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        final_sigmas_type: str = "zero",
    ) -> None:
        check_prediction(prediction_type, _PREDICTIONS)
        levels.check_sigma_options(
            use_karras_sigmas=use_karras_sigmas,
            use_exponential_sigmas=use_exponential_sigmas,
            use_beta_sigmas=use_beta_sigmas,
        )
        if interpolation_type not in ("linear", "log_linear"):
            raise ValueError(
                f"interpolation_type must be 'linear' or 'log_linear', got {interpolation_type!r}"
            )
        self._set_betas()
        sigmas = np.append(self._table[::-1], 0.0)
        self._set_run(np.arange(num_train_timesteps, dtype=float)[::-1], sigmas, None)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Chooses `timesteps`, (steps,) float32, and `sigmas`, (steps + 1,).

        Exactly one is given: a number of steps, descending timesteps, or descending noise levels
        with the final one. Raises ValueError if not, or if the number is not in 1 …
        num_train_timesteps, TypeError if it is no integer.
        """
        name = "EulerDiscreteScheduler.set_timesteps"
        given = [value for value in (num_inference_steps, timesteps, sigmas) if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"{name}: expected one of num_inference_steps, timesteps and sigmas, "
                f"got {len(given)}"
            )
        config, table = self.config, self._table
        if sigmas is not None:
            chosen = np.asarray(sigmas, dtype=np.float32).astype(np.float64)
            self.num_inference_steps = len(chosen) - 1
            self._set_run(levels.timesteps_of(chosen[:-1], table), chosen, device)
            return
        if timesteps is not None:
            if any(config[f"use_{kind}_sigmas"] for kind in ("karras", "exponential", "beta")):
                raise ValueError(f"{name}: timesteps do not go with use_…_sigmas")
            visited = np.asarray(timesteps, dtype=np.float64)
            steps = len(visited)
        else:
            steps = self._check_count(num_inference_steps)
            visited = self._spaced(steps)
        if config.interpolation_type == "linear":
            run = levels.at(visited, table)
        else:
            run = levels.exponential(table[0], table[-1], steps + 1)
        visited, run = self._respaced(visited, run, steps)
        run = np.append(run, levels.final_sigma(config.final_sigmas_type, table))
        self.num_inference_steps = steps
        self._set_run(visited, run, device)

    def _set_run(self, timesteps: Any, sigmas: Any, device: str | torch.device | None) -> None:
        if (self.config.timestep_type, self.config.prediction_type) == (
            "continuous",
            "v_prediction",
        ):
            timesteps = 0.25 * np.log(sigmas[: len(timesteps)])
        self._set_levels(timesteps, sigmas, device)

    def coefficients(self, index: int) -> StepCoefficients:
        """Step `index` of the run as one linear function, without churn."""
        sigma, after = self._sigmas[index], self._sigmas[index + 1]
        return _euler(self._clean_of(sigma), sigma, after)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = inf,
        s_noise: float = 1.0,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Any:
        """The sample one step on: SchedulerOutput, or the tuple of its fields.

        model_output, sample: (batch, …). s_churn: how much new noise, drawn with `generator` and
        scaled by s_noise, comes before each step whose σ is in s_tmin … s_tmax.
        """
        index = self._step_at(timestep)
        sigma = self._sigmas[index]
        churned = s_churn > 0 and s_tmin <= sigma <= s_tmax
        gamma = min(s_churn / (len(self._sigmas) - 1), sqrt(2) - 1) if churned else 0.0
        raised = sigma * (1 + gamma)
        # Of a sample whose noise was raised, diffusers still reads v at the level of before.
        clean = self._clean_of(raised if self.config.prediction_type == "epsilon" else sigma)
        c = _euler(clean, raised, self._sigmas[index + 1])
        terms = [(c.sample, sample), (c.model_output, model_output)]
        predicted = [(clean.sample, sample), (clean.model_output, model_output)]
        if gamma > 0:
            lift = s_noise * sqrt(raised**2 - sigma**2)
            noise = draw_noise(model_output, generator)
            terms.append((c.sample * lift, noise))
            predicted.append((clean.sample * lift, noise))
        previous = combine(terms).to(sample.dtype)
        original = combine(predicted).to(sample.dtype)
        self._advance()
        return SchedulerOutput(previous, original) if return_dict else (previous, original)


def _euler(clean: Affine, sigma: float, after: float) -> StepCoefficients:
    """x + (after − sigma)·(x − x₀)/sigma."""
    rate = (after - sigma) / sigma
    return StepCoefficients(1 + rate * (1 - clean.sample), -rate * clean.model_output)
