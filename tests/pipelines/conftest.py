"""One pair of tiny pipelines for all tests of a process."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.pipelines import helpers


@pytest.fixture(autouse=True)
def quiet_oracle() -> Iterator[None]:
    """diffusers, as the oracle, uses what numpy and diffusers themselves have deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"__array__ implementation")
        warnings.filterwarnings("ignore", module=r"diffusers\.")
        yield


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(20261121)
        return helpers.pair(tmp_path_factory.mktemp("audioldm"))


@pytest.fixture
def pipelines(_made: tuple[Any, Any]) -> tuple[Any, Any]:
    """(diffusers' pipeline, ours) with the same random weights, and DDIM as the release has it."""
    import diffusers

    from vivace import schedulers

    oracle, ours = _made
    oracle.scheduler = diffusers.DDIMScheduler(**helpers.SCHEDULER)
    ours.scheduler = schedulers.DDIMScheduler(**helpers.SCHEDULER)
    return oracle, ours


@pytest.fixture
def ours(pipelines: tuple[Any, Any]) -> Any:
    return pipelines[1]


@pytest.fixture
def fresh(pipelines: tuple[Any, Any]) -> Any:
    """A copy of ours, for tests that change it."""
    made = copy.deepcopy(pipelines[1])
    made.set_progress_bar_config(disable=True)
    return made
