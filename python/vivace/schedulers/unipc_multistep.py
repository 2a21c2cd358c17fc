"""UniPC (Zhao et al. 2023, arXiv:2302.04867): multistep predictor and corrector of any order."""

from collections.abc import Sequence
from math import expm1, factorial, inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import combine
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.multistep import MultistepScheduler
from vivace.schedulers.outputs import SchedulerOutput
from vivace.schedulers.spacing import check_steps, spaced_between


class UniPCMultistepScheduler(MultistepScheduler):
    """UniPC. Arguments, timesteps and numbers as in diffusers, without flow matching and solver_p.

    The step to σ = 0 is of order 1, the limit of the formula; diffusers returns NaN there with
    "bh1", predict_x0=False or lower_order_final=False. With as many steps as the model was trained
    on every timestep is visited once.
    """

    @registers_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        predict_x0: bool = True,
        solver_type: str = "bh2",
        lower_order_final: bool = True,
        disable_corrector: Sequence[int] = (),
        solver_p: Any = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        final_sigmas_type: str | None = "zero",
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        shift_terminal: float | None = None,
    ) -> None:
        name = type(self).__name__
        if solver_type in ("midpoint", "heun", "logrho"):  # names of other schedulers
            self.register_to_config(solver_type="bh2")
        elif solver_type not in ("bh1", "bh2"):
            raise NotImplementedError(
                f"{name}: solver_type must be 'bh1' or 'bh2', got {solver_type!r}"
            )
        if solver_p is not None or shift_terminal is not None:
            raise NotImplementedError(f"{name}: solver_p and shift_terminal must be None")
        if solver_order < 1:
            raise ValueError(f"{name}: solver_order must be at least 1, got {solver_order}")
        self._set_betas()

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """Chooses `timesteps`, (num_inference_steps,) int64, and `sigmas`, one more.

        Raises ValueError if the number is not in 1 … num_train_timesteps, TypeError if no integer.
        """
        config, train, table = self.config, len(self), self._table
        steps = check_steps(num_inference_steps, train, type(self).__name__)
        final = levels.final_sigma(config.final_sigmas_type, table)
        kinds = [k for k in ("karras", "exponential", "beta") if config[f"use_{k}_sigmas"]]
        if kinds:
            visited, sigmas = self._respaced(kinds[0], steps, whole=kinds[0] == "karras")
            final = float(sigmas[-1]) if final > 0 else 0.0
        else:
            offset = config.steps_offset
            visited = spaced_between(config.timestep_spacing, train, train, steps, offset)
            sigmas = levels.at(visited, table)
        self._set_levels(visited, np.append(sigmas, final), device)

    def _forget(self) -> None:
        super()._forget()
        self._last: Tensor | None = None  # the corrected sample of the last step
        self._order = 0  # the order of the last step

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """The sample one step on: SchedulerOutput, or (prev_sample,).

        model_output, sample: (batch, …). Raises ValueError before set_timesteps.
        """
        self._require_timesteps()
        index, config = self._index(timestep), self.config
        prediction = self._predict(index, model_output, sample, config.predict_x0)
        corrected = sample
        if self._last is not None and index - 1 not in config.disable_corrector:
            own, weights = self._weights(index, self._order, corrects=True)
            outputs = [prediction, *reversed(self._outputs)]
            corrected = combine([(own, self._last), *zip(weights, outputs, strict=False)])
        self._outputs = [*self._outputs, prediction][-config.solver_order :]
        left = len(self._schedule) - index
        order = min(left, config.solver_order) if config.lower_order_final else config.solver_order
        self._order = min(order, len(self._outputs))
        self._last = corrected
        own, weights = self._weights(index + 1, self._order, corrects=False)
        outputs = list(reversed(self._outputs))
        previous = combine([(own, corrected), *zip(weights, outputs, strict=False)])
        self._advance()
        previous = previous.to(sample.dtype)
        return SchedulerOutput(previous) if return_dict else (previous,)

    def _weights(self, index: int, order: int, corrects: bool) -> tuple[float, list[float]]:
        """The factors of the sample and the predictions, newest first, of a step to level `index`.

        The corrector has the prediction at that level too, and its weight comes first. The step to
        σ = 0 has order 1 whatever `order` is.
        """
        clean = self.config.predict_x0
        (alpha, sigma), (alpha0, sigma0) = self._alpha_sigma(index), self._alpha_sigma(index - 1)
        source = self._log_snr(index - 1)
        h = self._log_snr(index) - source
        if h == 0.0:
            return 1.0, []
        if h == inf:
            return (0.0, [1.0]) if clean else (1 / alpha0, [-sigma0 / alpha0])
        signed = -h if clean else h
        phi = expm1(signed)
        own, scale = (sigma / sigma0, alpha) if clean else (alpha / alpha0, sigma)
        ratios = [(self._log_snr(index - 1 - k) - source) / h for k in range(1, order)]
        bh = signed if self.config.solver_type == "bh1" else phi
        rhos = _rhos(signed, phi, bh, ratios, corrects)
        # Of the differences to the newest of the old predictions, which is weight 0 of `weights`.
        weights = np.array([-scale * phi, *[0.0] * len(ratios)])
        for k, (rho, ratio) in enumerate(zip(rhos, ratios, strict=False), start=1):
            weights[k] -= scale * bh * rho / ratio
            weights[0] += scale * bh * rho / ratio
        if corrects:
            weights[0] += scale * bh * rhos[-1]
            return own, [-scale * bh * rhos[-1], *weights.tolist()]
        return own, weights.tolist()


def _rhos(signed: float, phi: float, bh: float, ratios: list[float], corrects: bool) -> list[float]:
    """The weights of the differences: equation 3.2 of the paper, the corrector's own one last.

    The two smallest systems have the solution 1/2 as in diffusers, which the paper allows.
    """
    points = np.array([*ratios, 1.0])
    order = len(points) if corrects else len(ratios)
    if order == 0:
        return []
    if order == 1:
        return [0.5]
    rows, right, phi_k = [], [], phi / signed - 1
    for k in range(1, order + 1):
        rows.append((points if corrects else points[:-1]) ** (k - 1))
        right.append(phi_k * factorial(k) / bh)
        phi_k = phi_k / signed - 1 / factorial(k + 1)
    solution: list[float] = np.linalg.solve(np.array(rows), np.array(right)).tolist()
    return solution
