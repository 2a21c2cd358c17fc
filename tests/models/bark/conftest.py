"""One pair of tiny models for all tests of a process: making it takes seconds."""

from typing import Any

import pytest
import torch

from tests.models.bark import helpers


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """(transformers' model, ours) with the same random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(20261121)
        return helpers.pair(tmp_path_factory.mktemp("bark"))


@pytest.fixture
def oracle(models: tuple[Any, Any]) -> Any:
    return models[0]


@pytest.fixture
def model(models: tuple[Any, Any]) -> Any:
    return models[1]
