"""What diffusers gets wrong or cannot do, and what is refused, with reasons in the message."""

import itertools
import logging
from typing import Any

import diffusers
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.schedulers.oracle import (
    NAMES,
    SHAPE,
    difference,
    make,
    model,
    noise,
    reference,
    trajectory,
)
from vivace import schedulers

DISCRETE = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler")
MULTISTEP = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")


def run(scheduler: Any, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return trajectory(scheduler, noise(dtype=dtype), generator=generator)


def finite(tensors: list[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", NAMES)
def test_as_many_steps_as_in_training(name: str, spacing: str) -> None:
    """diffusers: IndexError (DDIM, DDPM), a timestep of 1000 (Euler), NaN (DPM, UniPC)."""
    options = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
    scheduler = make(name, timestep_spacing=spacing, num_train_timesteps=60, **options)
    scheduler.set_timesteps(60)
    assert sorted({int(t) for t in scheduler.timesteps}) == list(range(60))
    assert finite(run(scheduler))


def test_a_thousand_steps_of_audioldm() -> None:
    scheduler = make("DDIMScheduler")
    theirs = reference("DDIMScheduler")
    theirs.set_timesteps(1000)
    with pytest.raises(IndexError):
        run(theirs)
    scheduler.set_timesteps(1000)
    assert scheduler.timesteps.tolist() == list(range(999, -1, -1))
    assert finite(run(scheduler))


@given(steps=st.integers(1, 1000), offset=st.integers(0, 4), spacing=st.sampled_from([0, 1, 2]))
def test_timesteps_are_of_the_training(steps: int, offset: int, spacing: int) -> None:
    kind = ("leading", "linspace", "trailing")[spacing]
    for name in ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"):
        scheduler = make(name, timestep_spacing=kind, steps_offset=offset)
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps.tolist()
        assert len(timesteps) == steps
        assert all(a > b for a, b in itertools.pairwise(timesteps))
        assert 0 <= timesteps[-1] <= timesteps[0] <= 999


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_pndm_with_few_steps(steps: int, prediction: str) -> None:
    """diffusers fails with fewer than four steps. A model whose x₀ is constant leads to it."""
    scheduler = make("PNDMScheduler", prediction_type=prediction, set_alpha_to_one=True)
    with pytest.raises(ValueError, match="broadcast"):
        reference("PNDMScheduler").set_timesteps(steps)
    scheduler.set_timesteps(steps)
    assert len(scheduler.timesteps) == 4 * (steps - 1) + 1
    assert finite(run(scheduler))
    scheduler.set_timesteps(steps)
    clean, sample = noise(1, torch.float64), noise(2, torch.float64)
    for t in scheduler.timesteps:
        bar = scheduler.alphas_cumprod[t].double()
        eps = (sample - bar.sqrt() * clean) / (1 - bar).sqrt()
        velocity = bar.sqrt() * eps - (1 - bar).sqrt() * clean
        output = eps if prediction == "epsilon" else velocity
        sample = scheduler.step(output, t, sample).prev_sample
    # One or two coarse steps, but not away from it.
    assert float((sample - clean).abs().max()) < float((noise(2) - clean).abs().max()) / 3


@pytest.mark.parametrize("steps", [0, -1, 1001])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_steps_out_of_range(name: str, steps: int) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*1000, got {steps}"):
        make(name).set_timesteps(steps)


@pytest.mark.parametrize("steps", [2.0, 2.5, "3", torch.tensor([1, 2])])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_steps_that_are_no_integers(name: str, steps: Any) -> None:
    with pytest.raises(TypeError, match=r"num_inference_steps must be an integer"):
        make(name).set_timesteps(steps)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "LMSDiscreteScheduler"])
def test_one_step_of_sigma(name: str) -> None:
    """Documented: one step of "linspace" is timestep 0 as in diffusers; "trailing" is the way."""
    scheduler = make(name)
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [0.0]
    assert scheduler.init_noise_sigma == pytest.approx(0.0388, abs=1e-4)
    scheduler = make(name, timestep_spacing="trailing")
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [999.0]
    assert scheduler.init_noise_sigma == pytest.approx(83.82, abs=1e-2)


def test_trailing_does_not_pass_the_end() -> None:
    """Rounding gave diffusers a timestep −1 after the last."""
    extra = [n for n in range(1, 1000) if len(timesteps_of_diffusers(n)) != n]
    assert extra
    for steps in extra:
        scheduler = make("DDIMScheduler", timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == timesteps_of_diffusers(steps)[:steps]


def timesteps_of_diffusers(steps: int) -> list[int]:
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    return scheduler.timesteps.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MULTISTEP)
def test_runs_whose_first_timesteps_are_equal(name: str) -> None:
    """Rounding: diffusers begins at the second, skips a step and fails at the end."""
    runs = []
    for begins in (False, True):
        scheduler = make(name, use_beta_sigmas=True)
        scheduler.set_timesteps(37)
        assert scheduler.timesteps[0] == scheduler.timesteps[1]
        if begins:
            scheduler.set_begin_index(0)
        runs.append([])
        sample = noise()
        for t in scheduler.timesteps.tolist():
            sample = scheduler.step(model(sample, t), t, sample).prev_sample
            runs[-1].append(sample)
    assert difference(*runs) == 0.0


@pytest.mark.parametrize(
    "options",
    [
        {"solver_type": "bh1"},
        {"predict_x0": False},
        {"lower_order_final": False},
    ],
    ids=str,
)
def test_unipc_ends_at_a_number(options: dict[str, Any]) -> None:
    """diffusers: NaN from 0·∞ at the last step."""
    theirs = reference("UniPCMultistepScheduler", **options)
    theirs.set_timesteps(8)
    assert not finite(run(theirs))
    ours = make("UniPCMultistepScheduler", **options)
    ours.set_timesteps(8)
    seen = run(ours)
    assert finite(seen)
    plain = make("UniPCMultistepScheduler")
    plain.set_timesteps(8)
    assert difference(seen[-1:], run(plain)[-1:]) < 0.3  # other solvers of one equation


def test_fixed_large_log_of_ddpm() -> None:
    theirs = reference("DDPMScheduler", variance_type="fixed_large_log")
    theirs.set_timesteps(4)
    assert not finite(run(theirs))
    runs = []
    for kind in ("fixed_large", "fixed_large_log"):
        ours = make("DDPMScheduler", variance_type=kind)
        ours.set_timesteps(4)
        runs.append(run(ours))
    assert difference(*runs) == 0.0


def test_ancestral_euler_predicts_samples() -> None:
    scheduler = make("EulerAncestralDiscreteScheduler", prediction_type="sample")
    scheduler.set_timesteps(6)
    sample, clean = noise() * scheduler.init_noise_sigma, noise(2)
    for t in scheduler.timesteps:
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(clean, t, sample).prev_sample
    torch.testing.assert_close(sample, clean)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
def test_no_signal_to_predict_from(name: str) -> None:
    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    with pytest.raises(ValueError, match=r"timestep 999 is noise alone"):
        make(name, **options).set_timesteps(5)
    for extra in ({"clip_sample": True}, {"prediction_type": "v_prediction"}):
        scheduler = make(name, **options, **extra)
        scheduler.set_timesteps(5)
        assert finite(run(scheduler))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("DDIMScheduler", {"prediction_type": "noise"}, ValueError, "prediction_type"),
        ("PNDMScheduler", {"prediction_type": "sample"}, ValueError, "prediction_type"),
        ("DDIMScheduler", {"timestep_spacing": "even"}, ValueError, "timestep_spacing"),
        ("DDIMScheduler", {"beta_schedule": "cubic"}, NotImplementedError, "beta_schedule"),
        ("DDPMScheduler", {"variance_type": "learned"}, NotImplementedError, "variance_type"),
        (MULTISTEP[0], {"variance_type": "learned_range"}, NotImplementedError, "variance_type"),
        (MULTISTEP[0], {"algorithm_type": "rk"}, NotImplementedError, "algorithm_type"),
        (MULTISTEP[0], {"algorithm_type": "dpmsolver"}, ValueError, "sigma_min"),
        (MULTISTEP[0], {"solver_order": 4}, ValueError, "solver_order"),
        (MULTISTEP[0], {"solver_type": "x"}, NotImplementedError, "solver_type"),
        (MULTISTEP[0], {"use_flow_sigmas": True}, NotImplementedError, "flow matching"),
        (MULTISTEP[1], {"use_flow_sigmas": True}, NotImplementedError, "flow matching"),
        (MULTISTEP[1], {"solver_type": "x"}, NotImplementedError, "solver_type"),
        (MULTISTEP[1], {"solver_order": 0}, ValueError, "solver_order"),
        (MULTISTEP[1], {"shift_terminal": 0.1}, NotImplementedError, "shift_terminal"),
        ("EulerDiscreteScheduler", {"interpolation_type": "x"}, ValueError, "interpolation_type"),
        (
            "EulerDiscreteScheduler",
            {"use_karras_sigmas": True, "use_beta_sigmas": True},
            ValueError,
            "only one of",
        ),
    ],
)
def test_refused_options(
    name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(name, **options)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", *MULTISTEP])
def test_unknown_final_sigma(name: str) -> None:
    with pytest.raises(ValueError, match="final_sigmas_type"):
        make(name, final_sigmas_type="one").set_timesteps(3)


@pytest.mark.parametrize("name", [*DISCRETE[::2], *MULTISTEP])
def test_step_before_set_timesteps(name: str) -> None:
    scheduler = make(name)
    with pytest.raises(ValueError, match=f"{name}.step: call set_timesteps first"):
        scheduler.step(noise(), 1, noise())


def test_generators_and_noise_that_do_not_fit() -> None:
    scheduler = make("DDIMScheduler")
    scheduler.set_timesteps(4)
    generators = [torch.Generator() for _ in range(SHAPE[0] + 1)]
    with pytest.raises(ValueError, match=r"a list of 2 \(the batch\), got a list of 3"):
        scheduler.step(noise(), 751, noise(), eta=1.0, generator=generators)
    with pytest.raises(ValueError, match="got both"):
        scheduler.step(
            noise(), 751, noise(), eta=1.0, generator=generators[0], variance_noise=noise()
        )
    for eta in (-0.5, 40.0):
        with pytest.raises(ValueError, match=f"eta must be between 0 and 1.*{eta}"):
            scheduler.step(noise(), 751, noise(), eta=eta)


def test_steps_without_scaled_input_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = make("EulerDiscreteScheduler")
    scheduler.set_timesteps(3)
    with caplog.at_level(logging.WARNING):
        scheduler.step(noise(), 999, noise())
    assert "scale_model_input" in caplog.text
    with pytest.raises(TypeError, match="timestep is missing"):
        scheduler.scale_model_input(noise())
    with pytest.raises(ValueError, match="order must be at least 1"):
        schedulers.LMSDiscreteScheduler().step(noise(), 999, noise(), order=0)
