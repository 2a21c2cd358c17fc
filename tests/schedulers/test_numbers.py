"""The parts that steps are made of: noise levels, coefficients, thresholds, added noise."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from tests.schedulers.oracle import NAMES, SHAPE, make, model, noise, reference
from vivace.schedulers import sigmas
from vivace.schedulers.arithmetic import combine, draw_noise, threshold

ALPHA = ("DDIMScheduler", "DDPMScheduler")
LINEAR = ("DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")


@given(q=st.floats(0.0, 1.0))
def test_beta_quantile(q: float) -> None:
    assert sigmas.beta_quantile(q) == pytest.approx(stats.beta.ppf(q, 0.6, 0.6), abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_lms_coefficients_are_the_integrals(order: int) -> None:
    scheduler = make("LMSDiscreteScheduler")
    scheduler.set_timesteps(12)
    levels = scheduler.sigmas.double().tolist()
    for t in range(order - 1, 12):
        total = 0.0
        for k in range(order):

            def basis(tau: float, t: int = t, k: int = k) -> float:
                others = [levels[t - j] for j in range(order) if j != k]
                return float(np.prod([(tau - o) / (levels[t - k] - o) for o in others]))

            expected = integrate.quad(basis, levels[t], levels[t + 1], epsabs=0.0, epsrel=1e-12)[0]
            got = scheduler.get_lms_coefficient(order, t, k)
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
            total += got
        assert total == pytest.approx(levels[t + 1] - levels[t])  # the basis sums to one


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", LINEAR)
def test_coefficients_are_the_step(name: str, prediction: str) -> None:
    scheduler = make(name, prediction_type=prediction)
    scheduler.set_timesteps(7)
    sample = noise(1, torch.float64) * scheduler.init_noise_sigma
    for i, t in enumerate(scheduler.timesteps):
        output = model(scheduler.scale_model_input(sample, t), t)
        options: dict[str, Any] = {"eta": 0.6} if name == "DDIMScheduler" else {}
        c = scheduler.coefficients(i, **options)
        assert all(isinstance(value, float) for value in c)
        generator = torch.Generator().manual_seed(2)
        fresh = torch.randn(SHAPE, generator=generator.clone_state(), dtype=torch.float64)
        expected = c.sample * sample + c.model_output * output + c.noise * fresh
        sample = scheduler.step(output, t, sample, generator=generator, **options).prev_sample
        torch.testing.assert_close(sample, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_model_of_one_sample_leads_to_it(name: str) -> None:
    """Against no other implementation: the true noise of one x₀ in every step ends at that x₀."""
    options: dict[str, Any] = {"timestep_spacing": "trailing"}
    if name in ("DDIMScheduler", "PNDMScheduler"):
        options["set_alpha_to_one"] = True
    scheduler = make(name, **options)
    scheduler.set_timesteps(20)
    clean, bars = noise(9, torch.float64), scheduler.alphas_cumprod.double()
    sample = noise(1, torch.float64) * scheduler.init_noise_sigma
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(sample, t)
        if scheduler.init_noise_sigma > 1:  # x = x₀ + σ·ε
            output = (sample - clean) / scheduler.sigmas[i].double()
        else:
            bar = bars[int(t)]
            output = (sample - bar.sqrt() * clean) / (1 - bar).sqrt()
        sample = scheduler.step(output, t, sample).prev_sample
    tolerance = 0.05 if name == "PNDMScheduler" else 1e-5  # its slopes are means of several
    torch.testing.assert_close(sample, clean, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_add_noise(name: str, dtype: torch.dtype) -> None:
    ours, theirs = make(name), reference(name)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(12)
    clean, fresh = noise(1, dtype), noise(2, dtype)
    for rows in ([3, 8], [0, 11]):
        timesteps = ours.timesteps[rows]
        got = ours.add_noise(clean, fresh, timesteps)
        assert got.dtype == dtype
        expected = theirs.add_noise(clean, fresh, timesteps)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (*ALPHA, "PNDMScheduler")])
def test_add_noise_of_the_running_step(name: str) -> None:
    for steps_done in (0, 2):
        results = []
        for scheduler in (make(name), reference(name)):
            scheduler.set_timesteps(6)
            scheduler.set_begin_index(2)
            for t in scheduler.timesteps[2 : 2 + steps_done]:
                scheduler.scale_model_input(noise(), t)
                scheduler.step(noise(), t, noise())
            timesteps = scheduler.timesteps[:2]
            results.append(scheduler.add_noise(noise(1), noise(2), timesteps))
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_added_in_float32_to_half_samples(name: str) -> None:
    scheduler = make(name)
    scheduler.set_timesteps(12)
    clean, fresh = noise(1, torch.bfloat16), noise(2, torch.bfloat16)
    timesteps = scheduler.timesteps[[5, 7]]
    got = scheduler.add_noise(clean, fresh, timesteps)
    expected = scheduler.add_noise(clean.float(), fresh.float(), timesteps)
    assert torch.equal(got, expected.bfloat16())


@pytest.mark.parametrize("name", ALPHA)
def test_velocity(name: str) -> None:
    ours, theirs = make(name), reference(name)
    timesteps = torch.tensor([0, 999])
    results = [s.get_velocity(noise(1), noise(2), timesteps) for s in (ours, theirs)]
    torch.testing.assert_close(*results)


def test_threshold_is_that_of_diffusers() -> None:
    x = 3 * noise(1)
    theirs = reference("DDIMScheduler", sample_max_value=4.0, dynamic_thresholding_ratio=0.9)
    got = threshold(x, 0.9, 4.0)
    torch.testing.assert_close(got, theirs._threshold_sample(x))
    assert float(got.abs().max()) <= 1.0


def test_combine() -> None:
    a, b = noise(1), noise(2)
    torch.testing.assert_close(combine([(0.5, a), (-2.0, b)]), 0.5 * a - 2 * b)
    assert combine([(1.0, a.bfloat16()), (1.0, b.half())]).dtype == torch.float32
    assert combine([(1.0, a), (0.0, b.double())]).dtype == torch.float64
    assert torch.equal(combine([(0.0, a)]), torch.zeros(SHAPE))
    unknown = torch.full(SHAPE, float("nan"))
    assert torch.equal(combine([(1.0, a), (0.0, unknown)]), a)
    with pytest.raises(ValueError, match="got none"):
        combine([])


def test_rows_of_generators_are_runs_of_their_own() -> None:
    rows = draw_noise(noise(), [torch.Generator().manual_seed(s) for s in (4, 5)])
    for row, seed in zip(rows, (4, 5), strict=True):
        alone = draw_noise(noise()[:1], torch.Generator().manual_seed(seed))
        assert torch.equal(row, alone[0])
    one = draw_noise(noise(), [torch.Generator().manual_seed(4)])
    assert torch.equal(one, draw_noise(noise(), torch.Generator().manual_seed(4)))


def test_custom_runs() -> None:
    """Timesteps or noise levels of the caller's choice, as in diffusers."""
    for name, options in (
        ("EulerDiscreteScheduler", {"timesteps": [900, 500.5, 20]}),
        ("EulerDiscreteScheduler", {"sigmas": [40.0, 3.0, 0.5, 0.0]}),
        ("HeunDiscreteScheduler", {"timesteps": [900, 500, 20]}),
        ("DDPMScheduler", {"timesteps": [900, 500, 20]}),
        ("DPMSolverMultistepScheduler", {"timesteps": [900, 500, 20]}),
    ):
        ours, theirs = make(name), reference(name)
        for scheduler in (ours, theirs):
            scheduler.set_timesteps(**options)
        torch.testing.assert_close(ours.timesteps, theirs.timesteps, rtol=1e-5, atol=1e-4)
        if hasattr(theirs, "sigmas"):
            torch.testing.assert_close(ours.sigmas, theirs.sigmas)
        with pytest.raises(ValueError, match="expected one of"):
            ours.set_timesteps(3, **options)
        with pytest.raises(ValueError, match="expected one of"):
            ours.set_timesteps()
    for name in ("DDPMScheduler", "DPMSolverMultistepScheduler"):
        with pytest.raises(ValueError, match="must descend"):
            make(name).set_timesteps(timesteps=[20, 500])
    for name in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"):
        with pytest.raises(ValueError, match="do not go with"):
            make(name, use_karras_sigmas=True).set_timesteps(timesteps=[500, 20])
