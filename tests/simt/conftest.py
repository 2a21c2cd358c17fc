"""The compiled test kernels, one library per variant of the engine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.simt.build import KERNELS, SCHEDULES, Library, Schedule, build


@pytest.fixture(scope="session")
def object_folder(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """A folder that outlives the run, because compiling takes longer than all tests together."""
    return lambda name: request.config.cache.mkdir(f"simt-{name}")


def _library(folder: Callable[[str], Path], variant: str) -> Path:
    kernels = [*sorted(KERNELS.glob("*.cu")), KERNELS / "cases.cpp"]
    return build(variant, folder(variant), kernels)


@pytest.fixture(scope="session")
def plain(object_folder: Callable[[str], Path]) -> Library:
    return Library(_library(object_folder, "plain"))


@pytest.fixture(scope="session")
def race(object_folder: Callable[[str], Path]) -> Library:
    return Library(_library(object_folder, "race"))


@pytest.fixture(scope="session")
def ucontext(object_folder: Callable[[str], Path]) -> Library:
    return Library(_library(object_folder, "ucontext"))


@pytest.fixture(scope="session")
def asan_path(object_folder: Callable[[str], Path]) -> Path:
    """To be loaded in a process of its own, which has the sanitizer's library preloaded."""
    return _library(object_folder, "asan")


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    chosen: Schedule = request.param
    return chosen


@pytest.fixture
def rng() -> np.random.Generator:
    """Follows the test's printed seed, which tests/conftest.py gave to numpy's global generator."""
    return np.random.default_rng(np.random.randint(2**31))
