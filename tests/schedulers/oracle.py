"""Runs of our schedulers beside those of diffusers, with the same stand-in for a model."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import diffusers
import torch
from torch import Tensor

from vivace import schedulers

NAMES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)
# scheduler_config.json of cvssp/audioldm-s-full-v2
AUDIOLDM: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.15.0.dev0",
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "thresholding": False,
    "trained_betas": None,
}
SHAPE = (2, 3, 5, 4)


def make(name: str, **options: Any) -> Any:
    """Our scheduler from AudioLDM's configuration with these options."""
    return getattr(schedulers, name).from_config(AUDIOLDM, **options)


def reference(name: str, **options: Any) -> Any:
    """The same of diffusers."""
    return getattr(diffusers, name).from_config(AUDIOLDM, **options)


def model(sample: Tensor, timestep: Any) -> Tensor:
    """A smooth function of both that mixes neighbours."""
    t = float(timestep) / 1000
    near = 0.6 * sample + 0.3 * sample.roll(1, dims=-1)
    return torch.sin(near + t) + 0.2 * torch.cos(3 * near - t)


def noise(seed: int = 7, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return drawn.to(dtype)


def trajectory(scheduler: Any, start: Tensor, **options: Any) -> list[Tensor]:
    """Every prev_sample and pred_original_sample of a run over `timesteps`.

    Options that the scheduler's `step` does not know are left out; functions are called for each.
    """
    sample, seen = start * scheduler.init_noise_sigma, []
    known = inspect.signature(scheduler.step).parameters
    for t in scheduler.timesteps:
        output = model(scheduler.scale_model_input(sample, t), t)
        given = {k: v() if callable(v) else v for k, v in options.items() if k in known}
        stepped = scheduler.step(output, t, sample, **given)
        sample = stepped.prev_sample
        seen.append(sample)
        if stepped.get("pred_original_sample") is not None:
            seen.append(stepped.pred_original_sample)
    return seen


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest |ours − theirs| of a run, relative to the largest value of that tensor."""
    assert len(ours) == len(theirs)
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert bool(torch.isfinite(other).all()), "the oracle has no number here"
        scale = float(other.abs().max())
        assert scale > 0
        worst = max(worst, float((one.double() - other.double()).abs().max()) / scale)
    return worst


@contextlib.contextmanager
def exact(theirs: Any) -> Iterator[None]:
    """Steps of diffusers' scheduler in float64, from the float32 tables that it has now.

    Where its code casts to float32, "float32" is float64 for the time being.
    """
    for table in ("alphas_cumprod", "final_alpha_cumprod", "sigmas", "one"):
        if isinstance(getattr(theirs, table, None), Tensor):
            setattr(theirs, table, getattr(theirs, table).double())
    module = sys.modules[type(theirs).__module__]
    with mock.patch.object(module, "torch", _Double()):
        yield


class _Double:
    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def single_draws() -> Iterator[None]:
    """torch.randn draws float32 whatever dtype is asked for, so that runs see the same noise."""
    real: Callable[..., Tensor] = torch.randn

    def randn(*args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        return real(*args, dtype=torch.float32, **kwargs).to(dtype)

    with mock.patch.object(torch, "randn", randn):
        yield


def agree(name: str, steps: int, options: dict[str, Any], **given: Any) -> None:
    """Asserts that whole runs are diffusers' in float64, and within 1e-5 of them in float32.

    Where float32 alone takes diffusers further from its own float64 run (a step from σ = 84 to
    0.04 cancels), the bound is three times as far as that. given: options of `step`; "seed" makes
    its generators, a list of them if it is a list.
    """
    ours, theirs = make(name, **options), reference(name, **options)
    seed = given.pop("seed", None)

    def run(scheduler: Any, dtype: torch.dtype) -> list[Tensor]:
        fresh = dict(given)
        if isinstance(seed, list):
            fresh["generator"] = [torch.Generator().manual_seed(s) for s in seed]
        elif seed is not None:
            fresh["generator"] = torch.Generator().manual_seed(seed)
        return trajectory(scheduler, noise(dtype=dtype), **fresh)

    def start(scheduler: Any) -> None:
        scheduler.set_timesteps(steps)
        if len(scheduler.timesteps) > 1 and scheduler.timesteps[0] == scheduler.timesteps[1]:
            # Of two equal timesteps diffusers begins at the second, and runs over the end.
            scheduler.set_begin_index(0)

    with single_draws():
        start(ours)
        start(theirs)
        assert ours.timesteps.dtype == theirs.timesteps.dtype
        torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=1e-6, atol=1e-6)
        single = run(ours, torch.float32), run(theirs, torch.float32)
        start(ours)
        start(theirs)
        double = run(ours, torch.float64)
        if hasattr(theirs, "sigmas"):
            torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-6, atol=0.0)
            theirs.sigmas = ours.sigmas
        with exact(theirs):
            truth = run(theirs, torch.float64)
    assert all(tensor.dtype == torch.float32 for tensor in single[0])
    assert all(tensor.dtype == torch.float64 for tensor in double)
    assert difference(double, truth) < 1e-9
    assert difference(*single) <= max(1e-5, 3 * difference(single[1], truth))
