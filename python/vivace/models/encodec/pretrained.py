"""Initialisation and saving, which transformers keeps in a class of this name."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from vivace.models.base import PreTrainedModel
from vivace.models.encodec.checkpoint import normed_weights, split_weight_norm
from vivace.models.encodec.config import EncodecConfig


class EncodecPreTrainedModel(PreTrainedModel):
    """Base of `EncodecModel`."""

    config_class = EncodecConfig
    base_model_prefix = "encodec"
    main_input_name = "input_values"
    input_modalities: ClassVar[str] = "audio"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                bound = math.sqrt(1 / (module.in_channels * module.kernel_size[0]))
                nn.init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.ConvTranspose1d | nn.LSTM):
            module.reset_parameters()

    def _as_saved(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """With weight norm on the convolutions, as transformers' class has it."""
        saved = super()._as_saved(state)
        if self.config.norm_type != "weight_norm":
            return saved
        return split_weight_norm(saved, normed_weights(self))
