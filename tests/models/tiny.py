"""A model of a few layers, for the tests of what all models share."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vivace.models.base import PreTrainedConfig, PreTrainedModel


class TinyConfig(PreTrainedConfig):
    model_type = "tiny"
    width: int = 6
    depth: int = 2


class TinyModel(PreTrainedModel):
    config_class = TinyConfig
    base_model_prefix = "tiny"
    _init_kwargs = ("part",)

    def __init__(self, config: TinyConfig, *, part: str | None = None) -> None:
        super().__init__(config)
        width = config.width
        self.left = nn.ModuleList(nn.Conv1d(width, width, 3) for _ in range(config.depth))
        self.right = nn.ConvTranspose1d(width, 2 * width, 4) if part != "left" else None
        self.table = nn.Embedding(5, width)
        self.gain = nn.Parameter(torch.full((width,), 3.0))
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("ramp", torch.arange(float(width)), persistent=False)
        if part == "left":
            self._unloaded_prefixes = ("right.",)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d):
            nn.init.constant_(module.weight, 0.5)
            nn.init.zeros_(module.bias)


class NormedModel(TinyModel):
    def __init__(self, config: TinyConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        for layer in self.left:
            weight_norm(layer)


def randomised(**fields: Any) -> TinyModel:
    model = TinyModel(TinyConfig(**fields))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.count.fill_(11)
    return model


def load(folder: Path | None, **options: Any) -> TinyModel:
    return TinyModel.from_pretrained(folder, **options)


def load_with_info(folder: Path | None, **options: Any) -> tuple[TinyModel, dict[str, Any]]:
    return TinyModel.from_pretrained(folder, output_loading_info=True, **options)  # type: ignore


def assert_equal(model: nn.Module, state: dict[str, Tensor]) -> None:
    assert list(model.state_dict()) == list(state)
    for key, value in model.state_dict().items():
        assert value.dtype == state[key].dtype, key
        assert torch.equal(value, state[key]), key
