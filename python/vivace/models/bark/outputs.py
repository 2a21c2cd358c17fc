"""The outputs of Bark's transformers."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vivace.models.outputs import ModelOutput


@dataclass
class CausalLMOutputWithPast(ModelOutput):
    """logits (B, T, V); past_key_values: a `KVCache`; hidden_states: one (B, T, C) per layer and
    the normalised last; attentions: one (B, H, T, S) per layer."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class MaskedLMOutput(ModelOutput):
    """logits (B, T, V) of the codebook asked for; the rest as in `CausalLMOutputWithPast`."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
