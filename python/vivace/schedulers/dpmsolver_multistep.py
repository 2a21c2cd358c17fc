"""DPM-Solver (Lu et al. 2022, arXiv:2206.00927) and DPM-Solver++ (arXiv:2211.01095), multistep."""

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivace.schedulers import sigmas as levels
from vivace.schedulers.arithmetic import Generators, combine, draw_noise
from vivace.schedulers.base import Timestep
from vivace.schedulers.configuration import registers_config
from vivace.schedulers.dpm_formulas import ALGORITHMS, dpm_step
from vivace.schedulers.multistep import MultistepScheduler
from vivace.schedulers.outputs import SchedulerOutput
from vivace.schedulers.spacing import check_steps, spaced_between


class DPMSolverMultistepScheduler(MultistepScheduler):
    """DPM-Solver++, DPM-Solver and their stochastic forms, of order 1 to 3.

    Arguments, timesteps and numbers as in diffusers, without flow matching and learned variances.
    With as many steps as the model was trained on every timestep is visited once; diffusers visits
    some twice and returns NaN.
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
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_lu_lambdas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        final_sigmas_type: str = "zero",
        lambda_min_clipped: float = -inf,
        variance_type: str | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ) -> None:
        name = type(self).__name__
        if algorithm_type == "deis":
            self.register_to_config(algorithm_type="dpmsolver++")
        elif algorithm_type not in ALGORITHMS:
            raise NotImplementedError(
                f"{name}: algorithm_type must be one of {ALGORITHMS}, got {algorithm_type!r}"
            )
        if solver_type in ("logrho", "bh1", "bh2"):  # names of other schedulers
            self.register_to_config(solver_type="midpoint")
        elif solver_type not in ("midpoint", "heun"):
            raise NotImplementedError(
                f"{name}: solver_type must be 'midpoint' or 'heun', got {solver_type!r}"
            )
        if variance_type in ("learned", "learned_range"):
            raise NotImplementedError(f"{name}: variance_type {variance_type!r} is not supported")
        if algorithm_type in ("dpmsolver", "sde-dpmsolver") and final_sigmas_type == "zero":
            raise ValueError(
                f"{name}: algorithm_type {algorithm_type!r} cannot end at final_sigmas_type "
                "'zero', choose 'sigma_min'"
            )
        orders = (1, 2) if algorithm_type == "sde-dpmsolver" else (1, 2, 3)
        if solver_order not in orders:
            raise ValueError(
                f"{name}: solver_order must be one of {orders} for algorithm_type "
                f"{algorithm_type!r}, got {solver_order}"
            )
        self._set_betas()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        mu: float | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Chooses `timesteps`, int64, and `sigmas`, one more: so many, or for these timesteps.

        mu: for flow matching, must be None. Raises ValueError if not exactly one of the number and
        timesteps is given, the number is not in 1 … the training steps with λ ≥ lambda_min_clipped,
        or timesteps do not descend; TypeError if the number is no integer.
        """
        name, config, table = "DPMSolverMultistepScheduler.set_timesteps", self.config, self._table
        if mu is not None:
            raise NotImplementedError(f"{name}: mu is for flow matching models, got {mu}")
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError(f"{name}: expected one of num_inference_steps and timesteps")
        kinds = [k for k in ("karras", "exponential", "beta") if config[f"use_{k}_sigmas"]]
        if timesteps is not None:
            visited = np.asarray(timesteps, dtype=np.int64).astype(np.float64)
            if kinds or config.use_lu_lambdas:
                raise ValueError(f"{name}: timesteps do not go with other spacings of the levels")
            if not (visited.size and (np.diff(visited) < 0).all()):
                raise ValueError(f"{name}: timesteps must descend, got {timesteps}")
            sigmas = levels.at(visited, table)
        else:
            last = int((-np.log(table) >= config.lambda_min_clipped).sum())
            steps = check_steps(num_inference_steps, last, type(self).__name__)
            spacing, offset = config.timestep_spacing, config.steps_offset
            visited = spaced_between(spacing, len(self), last, steps, offset)
            sigmas = levels.at(visited, table)
            whole = config.beta_schedule != "squaredcos_cap_v2"
            if "karras" in kinds:
                visited, sigmas = self._respaced("karras", steps, whole)
            elif config.use_lu_lambdas:
                sigmas = levels.exponential(table[0], table[-1], steps)
                visited = levels.timesteps_of(sigmas, table)
                visited = visited.round() if whole else visited
            elif kinds:
                visited, sigmas = self._respaced(kinds[0], steps, whole=False)
        final = levels.final_sigma(config.final_sigmas_type, table)
        self._set_levels(visited, np.append(sigmas, final), device)

    def _order_at(self, index: int) -> int:
        """The order that the end of the run allows."""
        config, left = self.config, len(self._schedule) - index
        short = config.lower_order_final and len(self._schedule) < 15
        if left == 1 and (short or config.euler_at_final or config.final_sigmas_type == "zero"):
            return 1
        return min(int(config.solver_order), 2) if left == 2 and short else int(config.solver_order)

    def step(
        self,
        model_output: Tensor,
        timestep: Timestep,
        sample: Tensor,
        generator: Generators = None,
        variance_noise: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """The sample one step on: SchedulerOutput, or (prev_sample,).

        model_output, sample: (batch, …). The stochastic algorithms add `variance_noise`, or float32
        noise drawn with `generator`. Raises ValueError before set_timesteps.
        """
        self._require_timesteps()
        index, algorithm = self._index(timestep), self.config.algorithm_type
        clean = algorithm.endswith("++")
        prediction = self._predict(index, model_output, sample, clean)
        self._outputs = [*self._outputs, prediction][-self.config.solver_order :]
        order = min(self._order_at(index), len(self._outputs))
        own, weights, fresh = dpm_step(
            algorithm,
            self.config.solver_type,
            self._alpha_sigma(index + 1),
            self._alpha_sigma(index),
            [self._log_snr(index + 1 - k) for k in range(order + 1)],
        )
        terms = [(own, sample), *zip(weights, reversed(self._outputs), strict=False)]
        if algorithm.startswith("sde"):
            if variance_noise is None:
                variance_noise = draw_noise(prediction, generator, torch.float32)
            terms.append((fresh, variance_noise.to(prediction.device)))
        previous = combine(terms).to(sample.dtype)
        self._advance()
        return SchedulerOutput(previous) if return_dict else (previous,)
