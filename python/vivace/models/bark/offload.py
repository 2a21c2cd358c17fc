"""Offloading: the weights rest on the CPU, and one stage at a time is on the accelerator."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Offload:
    """Where the stages of one model compute. Off until `enable`."""

    def __init__(self) -> None:
        self.device: torch.device | None = None

    def enable(
        self,
        model: nn.Module,
        index: int | None,
        device: torch.device | str | None,
    ) -> None:
        """Moves the model to the CPU, and its stages to the device when they run."""
        if device is None:
            found = torch.accelerator.current_accelerator()
            if found is None or not torch.accelerator.is_available():
                raise ValueError(
                    "enable_cpu_offload: torch sees no accelerator to move the stages to"
                )
            device = torch.device(found.type, index or 0)
        self.device = torch.device(device)
        model.to("cpu")

    @contextmanager
    def on(self, stage: nn.Module) -> Iterator[None]:
        """Has the stage on the accelerator for the length of a `with` block."""
        if self.device is None:
            yield
            return
        stage.to(self.device)
        try:
            yield
        finally:
            stage.to("cpu")
