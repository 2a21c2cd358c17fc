"""Linear multistep: the derivatives of the last steps, interpolated by a polynomial in σ."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import combine
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.exploding import SigmaScheduler
from vivace.schedulers.outputs import SchedulerOutput
from vivace.schedulers.prediction import check_prediction


class LMSDiscreteScheduler(SigmaScheduler):
    """Linear multistep (order 4). Arguments, timesteps and numbers as in diffusers.

    The polynomials are integrated in closed form, not by quadrature. A run that begins in the
    middle uses as many derivatives as there are.
    """

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        prediction_type: str = "epsilon",
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
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Chooses `timesteps`, (num_inference_steps,) float32, and `sigmas`, one more.

        Raises ValueError if the number is not in 1 … num_train_timesteps, TypeError if no integer.
        """
        steps = self._check_count(num_inference_steps)
        timesteps = self._spaced(steps)
        timesteps, run = self._respaced(timesteps, levels.at(timesteps, self._table), steps)
        self.num_inference_steps = steps
        self._set_levels(timesteps, np.append(run, 0.0), device)

    def _forget(self) -> None:
        self._derivatives: list[Tensor] = []

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        """The weight of the derivative of `current_order` steps ago in step t.

        ∫ Π_{k ≠ current_order} (τ − σ_{t−k}) / (σ_{t−current_order} − σ_{t−k}) dτ from σ_t to
        σ_{t+1}, k < order: the Lagrange polynomial of that derivative.
        """
        sigmas, own = self._sigmas, self._sigmas[t - current_order]
        others = [sigmas[t - k] for k in range(order) if k != current_order]
        # Powers of τ − σ_t: those of a large τ would cancel.
        powers, scale = [1.0], 1.0
        for other in others:
            root = sigmas[t] - other
            powers = [
                root * low + high for low, high in zip([*powers, 0.0], [0.0, *powers], strict=True)
            ]
            scale *= own - other
        width = sigmas[t + 1] - sigmas[t]
        return sum(c * width ** (n + 1) / (n + 1) for n, c in enumerate(powers)) / scale

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        order: int = 4,
        return_dict: bool = True,
    ) -> Any:
        """The sample one step on: SchedulerOutput, or the tuple of its fields.

        model_output, sample: (batch, …). order: derivatives to use, at least 1.
        """
        if order < 1:
            raise ValueError(f"LMSDiscreteScheduler.step: order must be at least 1, got {order}")
        index = self._step_at(timestep)
        sigma = self._sigmas[index]
        clean = self._clean_of(sigma)
        slope = [((1 - clean.sample) / sigma, sample), (-clean.model_output / sigma, model_output)]
        self._derivatives = [*self._derivatives, combine(slope)][-order:]
        used = len(self._derivatives)
        weights = [self.get_lms_coefficient(used, index, k) for k in range(used)]
        terms = [(1.0, sample), *zip(weights, reversed(self._derivatives), strict=True)]
        previous = combine(terms).to(sample.dtype)
        predicted = [(clean.sample, sample), (clean.model_output, model_output)]
        original = combine(predicted).to(sample.dtype)
        self._advance()
        return SchedulerOutput(previous, original) if return_dict else (previous, original)
