"""Whole runs, against diffusers: every scheduler, every option that changes a number."""

from typing import Any

import pytest

from tests.schedulers.oracle import NAMES, agree

STEPS = (1, 2, 3, 10, 37)
SIGMA = ("LMSDiscreteScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler")
MULTISTEP = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
DDIM, DDPM, PNDM = "DDIMScheduler", "DDPMScheduler", "PNDMScheduler"
LMS, EULER, HEUN = SIGMA
ANCESTRAL, (DPM, UNIPC) = "EulerAncestralDiscreteScheduler", MULTISTEP


def within_diffusers(name: str, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    """The options, or near ones if diffusers cannot run them; test_faults.py runs the others."""
    if (name, options.get("prediction_type")) in ((PNDM, "sample"), (ANCESTRAL, "sample")):
        options = {**options, "prediction_type": "v_prediction"}
    if name == PNDM and steps < 4:
        return {"skip_prk_steps": True, **options}
    return options


@pytest.mark.parametrize("seed", [3, [4, 5]], ids=["generator", "generators"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", NAMES)
def test_audioldm(name: str, steps: int, seed: Any) -> None:
    options = {"skip_prk_steps": True} if name == PNDM else {}
    agree(name, steps, options, seed=seed)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("steps", STEPS)
def test_ddim_eta(steps: int, eta: float) -> None:
    agree(DDIM, steps, {}, eta=eta, seed=11)
    agree(DDIM, steps, {"set_alpha_to_one": True, "timestep_spacing": "linspace"}, eta=eta, seed=11)


GENERAL: list[dict[str, Any]] = [
    {"prediction_type": "v_prediction"},
    {"prediction_type": "sample"},
    {"timestep_spacing": "leading"},
    {"timestep_spacing": "linspace"},
    {"timestep_spacing": "trailing"},
    {"timestep_spacing": "leading", "steps_offset": 0},
    {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"trained_betas": [1e-4 + 2e-5 * i for i in range(1000)]},
    {"num_train_timesteps": 250},
]


@pytest.mark.parametrize("options", GENERAL, ids=str)
@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("name", NAMES)
def test_options_of_all(name: str, steps: int, options: dict[str, Any]) -> None:
    if "num_train_timesteps" in options and steps == 1 and name in (*SIGMA, ANCESTRAL):
        options = {**options, "timestep_spacing": "trailing"}
    agree(name, steps, within_diffusers(name, steps, options), seed=1)


@pytest.mark.parametrize("option", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", [*SIGMA, *MULTISTEP])
def test_spacings_of_sigma(name: str, steps: int, option: str) -> None:
    agree(name, steps, {f"use_{option}_sigmas": True}, seed=1)


SPECIAL: list[tuple[str, dict[str, Any]]] = [
    *[(name, {"clip_sample": True}) for name in (DDIM, DDPM, HEUN)],
    *[(name, {"clip_sample": True, "clip_sample_range": 0.4}) for name in (DDIM, DDPM, HEUN)],
    *[(n, {"thresholding": True, "sample_max_value": 2.0}) for n in (DDIM, DDPM, DPM, UNIPC)],
    *[
        (name, {"rescale_betas_zero_snr": True, "prediction_type": p, "timestep_spacing": s})
        for name in (DDIM, DDPM, EULER, ANCESTRAL, DPM, UNIPC)
        for p in ("v_prediction", "sample")
        for s in ("linspace", "trailing")
        if (name, p) != (ANCESTRAL, "sample")
    ],
    *[(DDPM, {"variance_type": v}) for v in (None, "fixed_small_log", "fixed_large")],
    (DDPM, {"beta_schedule": "sigmoid"}),
    (DDPM, {"beta_schedule": "laplace", "prediction_type": "v_prediction"}),
    (HEUN, {"beta_schedule": "exp"}),
    (PNDM, {"skip_prk_steps": True, "prediction_type": "v_prediction"}),
    (PNDM, {"skip_prk_steps": True, "timestep_spacing": "trailing", "set_alpha_to_one": True}),
    (PNDM, {"set_alpha_to_one": True, "timestep_spacing": "linspace"}),
    (PNDM, {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}),
    (EULER, {"interpolation_type": "log_linear"}),
    (EULER, {"timestep_type": "continuous", "prediction_type": "v_prediction"}),
    (EULER, {"final_sigmas_type": "sigma_min", "timestep_spacing": "trailing"}),
    (EULER, {"use_karras_sigmas": True, "sigma_min": 0.3, "sigma_max": 20.0}),
    (EULER, {"prediction_type": "original_sample"}),
    (UNIPC, {"solver_type": "bh1", "solver_order": 3, "final_sigmas_type": "sigma_min"}),
    (UNIPC, {"predict_x0": False, "final_sigmas_type": "sigma_min"}),
    (UNIPC, {"predict_x0": False, "final_sigmas_type": "sigma_min", "prediction_type": "sample"}),
    (UNIPC, {"solver_order": 1}),
    (UNIPC, {"solver_order": 3}),
    (UNIPC, {"solver_order": 4}),
    (UNIPC, {"disable_corrector": [0, 3]}),
    (UNIPC, {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 30.0}),
    (UNIPC, {"use_karras_sigmas": True, "sigma_min": 0.1, "final_sigmas_type": "sigma_min"}),
    (UNIPC, {"solver_type": "midpoint"}),
    *[
        (name, {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min", **more})
        for name in MULTISTEP
        for more in ({}, {"lower_order_final": False})
    ],
    (DPM, {"use_lu_lambdas": True}),
    (DPM, {"euler_at_final": True, "final_sigmas_type": "sigma_min"}),
    (DPM, {"lower_order_final": False, "solver_order": 3}),
    (DPM, {"lambda_min_clipped": -3.0}),
    (DPM, {"lambda_min_clipped": -3.0, "timestep_spacing": "trailing"}),
    (DPM, {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True}),
    (DPM, {"algorithm_type": "deis", "solver_type": "bh1", "final_sigmas_type": "sigma_min"}),
    (DPM, {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min", "thresholding": True}),
    (DPM, {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
]


@pytest.mark.parametrize(("name", "options"), SPECIAL, ids=str)
@pytest.mark.parametrize("steps", [2, 10, 20])
def test_options_of_one(name: str, options: dict[str, Any], steps: int) -> None:
    agree(name, steps, within_diffusers(name, steps, options), seed=1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    "algorithm", ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"]
)
def test_algorithms_of_dpm(algorithm: str, order: int, solver: str, prediction: str) -> None:
    options = {
        "algorithm_type": algorithm,
        "solver_order": order,
        "solver_type": solver,
        "prediction_type": prediction,
        "final_sigmas_type": "sigma_min",
    }
    if algorithm == "sde-dpmsolver" and order == 3:
        with pytest.raises(ValueError, match="solver_order must be one of"):
            agree(DPM, 3, options, seed=1)
        return
    for steps in (1, 5, 20):
        agree(DPM, steps, options, seed=1)


@pytest.mark.parametrize("steps", [14, 15])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_dpm_lowers_its_order_at_the_end_of_short_runs(steps: int, final: str) -> None:
    agree(DPM, steps, {"solver_order": 3, "final_sigmas_type": final})


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("limits", [{}, {"s_tmin": 0.5, "s_tmax": 40.0, "s_noise": 1.1}], ids=str)
def test_churn_of_euler(prediction: str, limits: dict[str, Any]) -> None:
    for steps in (2, 10):
        agree(EULER, steps, {"prediction_type": prediction}, seed=2, s_churn=3.0, **limits)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_orders_of_lms(order: int) -> None:
    agree(LMS, 10, {}, order=order)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("clipped", [False, True])
def test_ddim_derives_the_noise_from_the_clipped_sample(prediction: str, clipped: bool) -> None:
    options = {"clip_sample": True, "prediction_type": prediction}
    agree(DDIM, 10, options, use_clipped_model_output=clipped, eta=0.5, seed=4)
