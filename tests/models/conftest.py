"""A saved tiny model, for the tests of loading and saving."""

from pathlib import Path

import pytest

from tests.models.tiny import TinyModel, randomised


@pytest.fixture
def model() -> TinyModel:
    return randomised()


@pytest.fixture
def folder(model: TinyModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"
