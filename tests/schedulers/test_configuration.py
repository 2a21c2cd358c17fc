"""Configurations: exchange between all pairs of schedulers, files, and both ways with diffusers."""

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import pytest
import torch

from tests.schedulers.oracle import AUDIOLDM, NAMES, difference, make, noise, trajectory
from vivace import schedulers

# One option of each class that most others do not know.
OWN: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {"clip_sample": True, "clip_sample_range": 0.7},
    "DDPMScheduler": {"variance_type": "fixed_large"},
    "PNDMScheduler": {"skip_prk_steps": True},
    "LMSDiscreteScheduler": {"use_exponential_sigmas": True},
    "EulerDiscreteScheduler": {"interpolation_type": "log_linear", "sigma_min": 0.2},
    "EulerAncestralDiscreteScheduler": {"timestep_spacing": "trailing"},
    "HeunDiscreteScheduler": {"use_karras_sigmas": True},
    "DPMSolverMultistepScheduler": {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"},
    "UniPCMultistepScheduler": {"disable_corrector": [1], "predict_x0": False},
}
PAIRS = [(a, b) for a in NAMES for b in NAMES]


def of(library: Any, name: str) -> Any:
    return getattr(library, name)


def entries(scheduler: Any) -> dict[str, Any]:
    """What is saved, in the order of the names."""
    return json.loads(scheduler.to_json_string())  # type: ignore[no-any-return]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_from_config_of_another_class_does_as_diffusers(first: str, second: str) -> None:
    ours = of(schedulers, second).from_config(make(first, **OWN[first]).config)
    begin = of(diffusers, first).from_config(AUDIOLDM, **OWN[first])
    theirs = of(diffusers, second).from_config(begin.config)
    assert entries(ours) == entries(theirs)
    assert set(ours.config["_use_default_values"]) == set(theirs.config["_use_default_values"])


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_there_and_back_loses_nothing(first: str, second: str) -> None:
    begin = make(first, **OWN[first])
    back = type(begin).from_config(of(schedulers, second).from_config(begin.config).config)
    for key in (*AUDIOLDM, *OWN[first]):
        assert back.config[key] == begin.config[key]


@pytest.mark.parametrize("name", NAMES)
def test_files_go_both_ways(name: str, tmp_path: Path) -> None:
    ours, theirs = make(name, **OWN[name]), of(diffusers, name).from_config(AUDIOLDM, **OWN[name])
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    written = [(tmp_path / who / "scheduler_config.json").read_text() for who in ("ours", "theirs")]
    assert json.loads(written[0]) == json.loads(written[1])
    assert json.loads(written[0])["_class_name"] == name
    read = of(schedulers, name).from_pretrained(tmp_path / "theirs")
    assert entries(read) == entries(ours)
    back = of(diffusers, name).from_pretrained(tmp_path / "ours")
    assert entries(back) == entries(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_configurations_pass_between_the_libraries(name: str) -> None:
    theirs = of(diffusers, name).from_config(AUDIOLDM, **OWN[name])
    ours = of(schedulers, name).from_config(theirs.config)
    assert entries(of(diffusers, name).from_config(ours.config)) == entries(theirs)
    runs = []
    for scheduler in (ours, make(name, **OWN[name])):
        scheduler.set_timesteps(5)
        generator = torch.Generator().manual_seed(1)
        runs.append(trajectory(scheduler, noise(), generator=generator))
    assert difference(*runs) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_are_those_of_diffusers(name: str) -> None:
    ours, theirs = of(schedulers, name)(), of(diffusers, name)()
    assert set(ours.config) == set(theirs.config)
    for key in set(ours.config) - {"_use_default_values", "disable_corrector"}:
        assert ours.config[key] == theirs.config[key], key
    assert len(ours) == len(theirs) == 1000
    assert ours.order == theirs.order


def test_subfolder_of_a_pipeline(tmp_path: Path) -> None:
    make("DDIMScheduler").save_pretrained(tmp_path / "scheduler")
    read = schedulers.DDIMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    assert read.config.steps_offset == 1
    direct = schedulers.DDIMScheduler.from_pretrained(tmp_path / "scheduler", subfolder="scheduler")
    assert direct.config == read.config
    other = schedulers.EulerDiscreteScheduler.from_pretrained(
        tmp_path, subfolder="scheduler", use_karras_sigmas=True
    )
    assert other.config.use_karras_sigmas
    assert other.config._class_name == "EulerDiscreteScheduler"
    with pytest.raises(OSError, match=r"scheduler_config\.json"):
        schedulers.DDIMScheduler.from_pretrained(tmp_path)


def test_unused_arguments_come_back() -> None:
    scheduler, unused = schedulers.DDIMScheduler.from_config(
        {**AUDIOLDM, "skip_prk_steps": True}, return_unused_kwargs=True, clip_sample=True, other=3
    )
    assert scheduler.config.clip_sample
    assert scheduler.config.skip_prk_steps
    assert unused["other"] == 3
    assert unused["skip_prk_steps"] is True
    assert "other" not in scheduler.config


def test_an_unknown_entry_is_kept_and_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        scheduler = schedulers.DDIMScheduler.from_config({**AUDIOLDM, "clip_smaple": True})
    assert "clip_smaple" in caplog.text
    assert scheduler.config.clip_smaple is True
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        make("DDIMScheduler", skip_prk_steps=True)
        schedulers.DDIMScheduler.from_config({**AUDIOLDM, "skip_prk_steps": True, "rho": 7.0})
        schedulers.DDIMScheduler.from_config({"_class_name": "LCMScheduler", "other": 1})
    assert not caplog.text


def test_the_configuration_is_frozen_and_copies() -> None:
    config = make("DDIMScheduler").config
    assert config.beta_start == config["beta_start"] == 0.0015
    assert dict(config.items())["steps_offset"] == 1
    for change in (
        lambda: config.update(steps_offset=0),
        lambda: setattr(config, "steps_offset", 0),
        lambda: config.__setitem__("steps_offset", 0),
        lambda: config.pop("steps_offset"),
        lambda: config.__delitem__("steps_offset"),
        lambda: config.__ior__({"steps_offset": 0}),
        config.clear,
    ):
        with pytest.raises(TypeError, match="cannot change"):
            change()
    assert config.steps_offset == 1
    with pytest.raises(AttributeError, match="no_such"):
        _ = config.no_such
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    twin = copy.deepcopy(make("UniPCMultistepScheduler"))
    assert twin.config.beta_end == 0.0195


def test_positional_arguments_are_no_defaults() -> None:
    scheduler = schedulers.DDIMScheduler(500, 0.001)
    assert "num_train_timesteps" not in scheduler.config["_use_default_values"]
    assert schedulers.PNDMScheduler.from_config(scheduler.config).config.num_train_timesteps == 500


def test_what_is_written_is_json(tmp_path: Path) -> None:
    betas = np.linspace(1e-4, 2e-2, 10)
    scheduler = schedulers.DDIMScheduler(num_train_timesteps=10, trained_betas=betas)  # type: ignore
    scheduler.save_pretrained(tmp_path)
    read = schedulers.DDIMScheduler.from_pretrained(tmp_path)
    assert read.config.trained_betas == betas.tolist()
    assert (read.betas == scheduler.betas).all()
    assert repr(scheduler).startswith("DDIMScheduler {")
    schedulers.DPMSolverMultistepScheduler().save_pretrained(tmp_path)
    read = schedulers.DPMSolverMultistepScheduler.from_pretrained(tmp_path)
    assert read.config.lambda_min_clipped == -np.inf


def test_pushing_uploads_the_file(tmp_path: Path) -> None:
    with mock.patch("vivace.schedulers.configuration.push_folder") as push:
        make("DDIMScheduler").save_pretrained(tmp_path / "mine", push_to_hub=True, private=True)
    push.assert_called_once_with(
        tmp_path / "mine",
        "mine",
        ["scheduler_config.json"],
        private=True,
        commit_message="Upload scheduler",
    )


def test_register_to_config_and_compatibles() -> None:
    scheduler = make("DDIMScheduler")
    scheduler.register_to_config(steps_offset=0)
    assert scheduler.config.steps_offset == 0
    assert {kind.__name__ for kind in scheduler.compatibles} == set(NAMES)
    named = {kind.__name__ for kind in diffusers.DDIMScheduler().compatibles}
    assert set(NAMES) <= named


def test_from_config_wants_a_mapping() -> None:
    with pytest.raises(TypeError, match="from_pretrained"):
        schedulers.DDIMScheduler.from_config("a/folder")  # type: ignore[arg-type]
