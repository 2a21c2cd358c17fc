"""diffusers, imported as the oracle, warns about itself."""

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet_oracle() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"diffusers\.")
        # Raised in the name of whoever calls diffusers.
        warnings.filterwarnings("ignore", message=r"algorithm_type .* is deprecated")
        yield
