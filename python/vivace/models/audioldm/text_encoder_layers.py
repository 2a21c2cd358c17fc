"""The layers of RoBERTa (Liu et al. 2019, arXiv:1907.11692). Tensors are (B, T, C).

Attribute names are the keys of transformers' checkpoints.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.audioldm.text_encoder_config import ClapTextConfig

Activation = Callable[[Tensor], Tensor]


def activation(name: str) -> Activation:
    """An activation by its name in a configuration; ValueError for another one."""
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"ClapTextConfig: activations must be among {sorted(_ACTIVATIONS)}, got {name!r}"
        )
    return _ACTIVATIONS[name]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


class ClapTextEmbeddings(nn.Module):
    """Words, positions and token types, normalised: ids (B, T) -> (B, T, C)."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        width, self.padding_idx = config.hidden_size, config.pad_token_id
        places = config.max_position_embeddings
        self.word_embeddings = nn.Embedding(config.vocab_size, width, self.padding_idx)
        self.position_embeddings = nn.Embedding(places, width, self.padding_idx)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.register_load_state_dict_pre_hook(_drop_counters)  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor | None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            position_ids = self.positions(input_ids, words)
        if token_type_ids is None:
            types = self.token_type_embeddings.weight[0]
        else:
            types = self.token_type_embeddings(token_type_ids)
        y = words + types + self.position_embeddings(position_ids)
        normed: Tensor = self.dropout(self.LayerNorm(y))
        return normed

    def positions(self, input_ids: Tensor | None, words: Tensor) -> Tensor:
        """Counted from the padding id + 1 on; padding itself has the padding id."""
        start = self.padding_idx or 0
        if input_ids is None:
            places = torch.arange(words.shape[1], device=words.device) + start + 1
            return places.expand(words.shape[:2])
        known = (input_ids != start).long()
        return known.cumsum(1) * known + start


def _drop_counters(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Counters that transformers keeps as buffers are computed here."""
    for name in ("position_ids", "token_type_ids"):
        state.pop(prefix + name, None)


class ClapTextSelfAttention(nn.Module):
    """Multi-head attention of x (B, T, C), in both directions."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        if width % self.num_heads:
            raise ValueError(
                "ClapTextSelfAttention: hidden_size must be a multiple of num_attention_heads, "
                f"got {width} and {self.num_heads}"
            )
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.dropout_rate = config.attention_probs_dropout_prob

    def forward(
        self, x: Tensor, mask: Tensor | None, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """mask (B, 1, 1, T): added to the scores. -> (B, T, C), (B, H, T, T)."""
        q, k, v = (
            linear(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        dropout = self.dropout_rate if self.training else 0.0
        if not output_attentions:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout)
            return y.transpose(1, 2).flatten(2), None
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores + mask
        weights = F.dropout(scores.softmax(-1), dropout)
        return (weights @ v).transpose(1, 2).flatten(2), weights


class ClapTextOutput(nn.Module):
    """LayerNorm(residual + dense(x)): (B, T, C_in) -> (B, T, C)."""

    def __init__(self, config: ClapTextConfig, width_in: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        y: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + residual)
        return y


class ClapTextAttention(nn.Module):
    """Attention, its output projection and the norm behind."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.self = ClapTextSelfAttention(config)
        self.output = ClapTextOutput(config, config.hidden_size)

    def forward(
        self, x: Tensor, mask: Tensor | None, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None]:
        y, weights = self.self(x, mask, output_attentions)
        return self.output(y, x), weights


class ClapTextIntermediate(nn.Module):
    """activation(dense(x)): (B, T, C) -> (B, T, intermediate_size)."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


class ClapTextLayer(nn.Module):
    """One transformer layer, the norms behind: (B, T, C) -> same shape, attention weights."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.attention = ClapTextAttention(config)
        self.intermediate = ClapTextIntermediate(config)
        self.output = ClapTextOutput(config, config.intermediate_size)

    def forward(
        self, x: Tensor, mask: Tensor | None, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None]:
        h, weights = self.attention(x, mask, output_attentions)
        return self.output(self.intermediate(h), h), weights
