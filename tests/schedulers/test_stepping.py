"""Which step a call is: timesteps on the host and on a device, in and out of turn; dtypes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.schedulers.oracle import NAMES, difference, make, model, noise, reference, trajectory

SIGMA = (
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
)
MULTISTEP = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")


def manual(scheduler: Any, timesteps: list[Any], start: Tensor, scale: bool = True) -> Tensor:
    """The last sample of a run that gives these timesteps."""
    sample = start * scheduler.init_noise_sigma
    generator = torch.Generator().manual_seed(1)
    for given, t in zip(timesteps, scheduler.timesteps.tolist(), strict=True):
        given_input = scheduler.scale_model_input(sample, given) if scale else sample
        options = {"generator": generator} if "Ancestral" in type(scheduler).__name__ else {}
        if type(scheduler).__name__ == "DDPMScheduler":
            options = {"generator": generator}
        sample = scheduler.step(model(given_input, t), given, sample, **options).prev_sample
    return sample


@pytest.mark.parametrize("kind", ["number", "tensor", "vector", "int"])
@pytest.mark.parametrize("name", NAMES)
def test_forms_of_the_timestep(name: str, kind: str) -> None:
    results = []
    for form in ("element", kind):
        scheduler = make(name, timestep_spacing="trailing")
        scheduler.set_timesteps(5)
        forms: dict[str, list[Any]] = {
            "element": list(scheduler.timesteps),
            "number": scheduler.timesteps.tolist(),
            "tensor": [t.clone() for t in scheduler.timesteps],
            "vector": [t.reshape(1) for t in scheduler.timesteps],
            "int": [int(t) for t in scheduler.timesteps],
        }
        results.append(manual(scheduler, forms[form], noise()))
    assert torch.equal(*results)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_read_from_a_device(name: str) -> None:
    """Tensors without memory cannot be read: any synchronisation would raise."""
    scheduler = make(name)
    scheduler.set_timesteps(4, device="meta")
    assert scheduler.timesteps.device.type == "meta"
    sample = torch.empty(2, 8, 4, 4, device="meta")
    for _ in range(2):
        for t in scheduler.timesteps:
            scheduler.scale_model_input(sample, t)
            options = {"eta": 1.0} if name == "DDIMScheduler" else {}
            sample = scheduler.step(torch.empty_like(sample), t, sample, **options).prev_sample
            assert sample.device.type == "meta"
        scheduler.set_timesteps(4, device="meta")


@pytest.mark.parametrize("name", NAMES)
def test_a_device_timestep_that_is_no_element_means_the_step_that_is_due(name: str) -> None:
    expected = make(name)
    expected.set_timesteps(5)
    scheduler = make(name)
    scheduler.set_timesteps(5)
    unknown = [torch.empty((), device="meta") for _ in scheduler.timesteps]
    host = manual(expected, list(expected.timesteps), noise())
    assert torch.equal(manual(scheduler, unknown, noise()), host)


def test_the_place_of_an_element_is_its_address() -> None:
    scheduler = make("EulerDiscreteScheduler")
    scheduler.set_timesteps(6)
    for start in (0, 2):
        for i, t in enumerate(scheduler.timesteps[start:]):
            assert scheduler._place(t) == start + i
    assert scheduler._place(scheduler.timesteps[3].clone()) is None
    assert scheduler._place(scheduler.timesteps[3].double()) is None
    assert scheduler._place(scheduler.timesteps[2:4]) is None
    outside = torch.zeros(100)
    assert all(scheduler._place(t) is None for t in outside)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_steps_out_of_turn(name: str) -> None:
    """Schedulers without history: any order of the steps gives each step's own result."""
    scheduler = make(name)
    scheduler.set_timesteps(8)
    sample, output = noise(1), noise(2)
    in_turn = []
    for t in scheduler.timesteps:
        scheduler.scale_model_input(sample, t)
        in_turn.append(scheduler.step(output, t, sample).prev_sample)
    for i in (5, 0, 7, 7, 3):
        t = scheduler.timesteps[i]
        assert torch.equal(scheduler.step(output, t, sample).prev_sample, in_turn[i])


@pytest.mark.parametrize("name", NAMES)
def test_a_run_may_be_repeated(name: str) -> None:
    """After the last step the first is looked up again, without what the run before left behind."""
    scheduler = make(name)
    scheduler.set_timesteps(6)
    first = manual(scheduler, scheduler.timesteps.tolist(), noise())
    assert torch.equal(manual(scheduler, scheduler.timesteps.tolist(), noise()), first)


@pytest.mark.parametrize("name", ["LMSDiscreteScheduler", *MULTISTEP, "PNDMScheduler"])
def test_a_jump_drops_the_history(name: str) -> None:
    options = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
    fresh, used = make(name, **options), make(name, **options)
    fresh.set_timesteps(8)
    used.set_timesteps(8)
    sample, output = noise(1), noise(2)
    for t in used.timesteps[:3]:
        used.scale_model_input(sample, t)
        used.step(noise(3), t, sample)
    t = fresh.timesteps[6]
    for scheduler in (fresh, used):
        scheduler.scale_model_input(sample, t)
    results = [s.step(output, t, sample).prev_sample for s in (fresh, used)]
    assert torch.equal(*results)


@pytest.mark.parametrize("calls", [[4, 5], [2, 3, 4], [12, 13]])
def test_pndm_begun_within_its_warm_up(calls: list[int]) -> None:
    """At a step's first stage as a run of its own; between two stages along the plain slope."""
    ours, theirs = make("PNDMScheduler"), reference("PNDMScheduler")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    sample = theirs_sample = noise(1)
    theirs.counter = calls[0]
    for i in calls:
        t = ours.timesteps[i].clone()
        ours._step_index = i
        output = model(sample, t)
        sample = ours.step(output, t, sample).prev_sample
        if i < 12:
            theirs_sample = theirs.step(output, t, theirs_sample).prev_sample
            if calls[0] % 4 == 0 or i == calls[0]:
                torch.testing.assert_close(sample, theirs_sample)
    assert bool(torch.isfinite(sample).all())


@pytest.mark.parametrize("name", [*SIGMA, *MULTISTEP])
@pytest.mark.parametrize("looked_up", [True, False])
def test_runs_that_begin_in_the_middle(name: str, looked_up: bool) -> None:
    """By the first timestep or `set_begin_index`, as in diffusers. LMS there takes coefficients of
    an order that it has no derivatives for; so only its first order is compared."""
    runs = []
    for scheduler in (make(name), reference(name)):
        scheduler.set_timesteps(6)
        begin = 2 * scheduler.order
        if not looked_up:
            scheduler.set_begin_index(begin)
        sample, generator = noise(dtype=torch.float32), torch.Generator().manual_seed(1)
        seen = []
        for t in scheduler.timesteps[begin:]:
            output = model(scheduler.scale_model_input(sample, t), t)
            options: dict[str, Any] = {"order": 1} if "LMS" in name else {}
            options |= {"generator": generator} if "Ancestral" in name else {}
            sample = scheduler.step(output, t, sample, **options).prev_sample
            seen.append(sample)
        runs.append(seen)
        assert scheduler.step_index == len(scheduler.timesteps)
    assert difference(*runs) < 1e-5


def test_begin_index_is_forgotten_by_the_next_run() -> None:
    scheduler = make("EulerDiscreteScheduler")
    scheduler.set_timesteps(6)
    assert (scheduler.begin_index, scheduler.step_index) == (None, None)
    scheduler.set_begin_index(3)
    assert scheduler.begin_index == 3
    scheduler.scale_model_input(noise(), torch.empty((), device="meta"))
    assert scheduler.step_index == 3
    scheduler.set_timesteps(6)
    assert (scheduler.begin_index, scheduler.step_index) == (None, None)


@pytest.mark.parametrize("name", NAMES)
def test_timesteps_that_are_none(name: str) -> None:
    scheduler = make(name)
    scheduler.set_timesteps(5)
    for wrong in (1000.0, 400.5, -1):
        with pytest.raises(ValueError, match=f"{name}.step: timestep"):
            scheduler.step(noise(), wrong, noise())


def test_steps_after_the_last() -> None:
    scheduler = make("UniPCMultistepScheduler")
    scheduler.set_timesteps(2)
    for t in scheduler.timesteps:
        scheduler.step(noise(), t, noise())
    with pytest.raises(IndexError, match="all 2 steps are done"):
        scheduler.step(noise(), torch.empty((), device="meta"), noise())


def test_ddim_counts_the_steps_that_it_looks_up() -> None:
    scheduler = make("DDIMScheduler")
    scheduler.set_timesteps(4)
    scheduler.step(noise(1), scheduler.timesteps[0].item(), noise())
    assert scheduler.step_index == 1
    due = scheduler.step(noise(1), torch.empty((), device="meta"), noise())
    expected = scheduler.step(noise(1), scheduler.timesteps[1], noise())
    assert torch.equal(due.prev_sample, expected.prev_sample)


def test_ddim_takes_every_timestep_of_the_training() -> None:
    ours, theirs = make("DDIMScheduler"), reference("DDIMScheduler")
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    for t in (0, 50, 999):
        results = [list(s.step(noise(1), t, noise(2)).to_tuple()) for s in (ours, theirs)]
        assert difference(*results) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_the_float32_step_rounded(name: str, dtype: torch.dtype) -> None:
    """Each step of a run in half precision: inputs of that dtype, the result rounded once."""
    half, single = make(name), make(name)
    half.set_timesteps(5)
    single.set_timesteps(5)
    sample, variance = noise(1, dtype), {}
    for t in half.timesteps:
        output = model(sample.float(), t).to(dtype)
        if name == "DDIMScheduler":
            variance = {"eta": 1.0, "variance_noise": noise(3, dtype)}
        elif name in ("DDPMScheduler", "EulerAncestralDiscreteScheduler"):
            output, variance = output.float(), {"generator": torch.Generator().manual_seed(1)}
        for scheduler in (half, single):
            scheduler.scale_model_input(sample, t)
        got = half.step(output, t, sample, **variance)
        if "generator" in variance:
            variance = {"generator": torch.Generator().manual_seed(1)}
        expected = single.step(output.float(), t, sample.float(), **variance)
        assert got.prev_sample.dtype == dtype
        # UniPC and Heun start from a sample that they keep in half precision.
        tolerance = 2 * torch.finfo(dtype).eps
        torch.testing.assert_close(
            got.prev_sample.float(), expected.prev_sample, rtol=tolerance, atol=tolerance
        )
        if got.pred_original_sample is not None:
            assert got.pred_original_sample.dtype == dtype
            rounded = expected.pred_original_sample.to(dtype)
            assert torch.equal(got.pred_original_sample, rounded)
        sample = got.prev_sample


@pytest.mark.parametrize("name", NAMES)
def test_tuples_and_outputs(name: str) -> None:
    scheduler = make(name)
    scheduler.set_timesteps(3)
    t = scheduler.timesteps[0]
    scheduler.scale_model_input(noise(), t)
    options = {"eta": 0.0} if name == "DDIMScheduler" else {}
    stochastic = name in ("DDPMScheduler", "EulerAncestralDiscreteScheduler")
    if stochastic:
        options["generator"] = torch.Generator().manual_seed(1)
    plain = scheduler.step(noise(1), t, noise(), return_dict=False, **options)
    scheduler.set_timesteps(3)
    scheduler.scale_model_input(noise(), scheduler.timesteps[0])
    if stochastic:
        options["generator"] = torch.Generator().manual_seed(1)
    out = scheduler.step(noise(1), scheduler.timesteps[0], noise(), **options)
    assert isinstance(plain, tuple)
    assert len(plain) == len(out) == (1 if name in (*MULTISTEP, "PNDMScheduler") else 2)
    assert all(torch.equal(a, b) for a, b in zip(plain, out.to_tuple(), strict=True))
    assert out[0] is out["prev_sample"] is out.prev_sample
    assert list(out) == ["prev_sample", "pred_original_sample"][: len(plain)]
    with pytest.raises(KeyError):
        out["no_such"]


def test_trajectories_keep_the_graph() -> None:
    """Steps may be differentiated through."""
    scheduler = make("DDIMScheduler")
    scheduler.set_timesteps(3)
    start = noise(dtype=torch.float64).requires_grad_()
    trajectory(scheduler, start)[-2].sum().backward()
    assert start.grad is not None
    assert bool((start.grad != 0).any())
