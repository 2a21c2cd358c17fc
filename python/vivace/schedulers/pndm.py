"""PNDM (Liu et al. 2022, arXiv:2202.09778): Runge–Kutta warm-up, then linear multistep."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivace.schedulers.alphas import AlphaScheduler
from vivace.schedulers.arithmetic import combine
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.outputs import SchedulerOutput
from vivace.schedulers.prediction import check_prediction
from vivace.schedulers.spacing import check_spacing, check_steps, spaced

# Adams–Bashforth weights of the newest to the oldest output, by how many there are.
_ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
_RUNGE_KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)


class PNDMScheduler(AlphaScheduler):
    """PNDM. Arguments, timesteps and numbers as in diffusers.

    skip_prk_steps=False warms up with three Runge–Kutta steps of four calls of the model each, so
    n steps call it n + 9 times; with fewer than four steps there are n − 1 of them, where diffusers
    fails. True replaces them by one corrected step: n + 1 calls, 1 for n = 1.
    """

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        skip_prk_steps: bool = False,
        set_alpha_to_one: bool = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
    ) -> None:
        check_prediction(prediction_type, ("epsilon", "v_prediction"))
        check_spacing(timestep_spacing)
        self._set_betas(set_alpha_to_one)
        self._warm_up = 0
        self._set_schedule(np.arange(num_train_timesteps)[::-1], None, torch.int64)

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Chooses `timesteps`, int64, one for each call of the model.

        Raises ValueError if the number is not in 1 … num_train_timesteps, TypeError if no integer.
        """
        config = self.config
        train = config.num_train_timesteps
        steps = check_steps(num_inference_steps, train, type(self).__name__)
        grid = spaced(config.timestep_spacing, train, steps, config.steps_offset, whole=True)
        stride = train // steps
        self.num_inference_steps = steps
        if config.skip_prk_steps:
            self._warm_up = 0
            # The second timestep is visited twice: to correct the first step, then as itself.
            visited = np.concatenate([grid[:2], grid[1:]])
            here = visited.copy()
            after = visited - stride
            here[1:2], after[1:2] = visited[1:2] + stride, visited[1:2]
        else:
            rounds = min(3, steps - 1)
            self._warm_up = 4 * rounds
            start, end = grid[:rounds], grid[1 : rounds + 1]
            middle = end + stride // 2
            warm = np.stack([start, middle, middle, end], axis=1).reshape(-1)
            visited = np.concatenate([warm, grid[rounds:]])
            here = np.concatenate([np.repeat(start, 4), grid[rounds:]])
            half = stride // 2
            legs = np.stack([start - half, middle, middle - half, end], axis=1).reshape(-1)
            after = np.concatenate([legs, grid[rounds:] - stride])
        self._legs = [(min(int(a), train - 1), int(b)) for a, b in zip(here, after, strict=True)]
        self._set_schedule(visited, device, torch.int64)

    def _forget(self) -> None:
        self._outputs: list[Tensor] = []
        self._sum: Tensor | None = None
        self._start: Tensor | None = None

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """The sample one call on: SchedulerOutput, or (prev_sample,).

        model_output, sample: (batch, …). Raises ValueError before set_timesteps.
        """
        self._require_timesteps()
        index = self._index(timestep)
        if index < self._warm_up:
            output, start = self._runge_kutta(index % 4, model_output, sample)
        else:
            output, start = self._multistep(index, model_output, sample)
        previous = self._transfer(index, start, output).to(sample.dtype)
        self._advance()
        return SchedulerOutput(previous) if return_dict else (previous,)

    def _runge_kutta(
        self, stage: int, model_output: Tensor, sample: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The slope for this call and the sample that it starts from."""
        if stage == 0:
            self._start, self._sum = sample, None
            self._outputs = [*self._outputs, model_output][-3:]
        if self._start is None:
            return model_output, sample  # the run began between the stages of a step
        terms = [] if self._sum is None else [(1.0, self._sum)]
        self._sum = combine([*terms, (_RUNGE_KUTTA[stage], model_output)])
        return (self._sum if stage == 3 else model_output), self._start

    def _multistep(self, index: int, model_output: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        if index == 1 and self._warm_up == 0 and self._start is not None:
            start, self._start = self._start, None
            return combine([(0.5, model_output), (0.5, self._outputs[-1])]), start
        self._start = sample if index == 0 else None
        self._outputs = [*self._outputs, model_output][-4:]
        weights = _ADAMS_BASHFORTH[len(self._outputs) - 1]
        return combine(list(zip(weights, reversed(self._outputs), strict=True))), sample

    def _transfer(self, index: int, sample: Tensor, output: Tensor) -> Tensor:
        """Equation 11: from ᾱ to ᾱ′ along the predicted noise."""
        here, after = (self._alpha_bar(t) for t in self._legs[index])
        noise = self._noise_of(here)
        slope = (here - after) / (here * sqrt(1 - after) + sqrt(here * (1 - here) * after))
        own = sqrt(after / here) + slope * noise.sample
        return combine([(own, sample), (slope * noise.model_output, output)])
