"""The transformer block of Bark's models (GPT-2, Radford et al. 2019, with the norms in front).

Attribute names are the keys of transformers' checkpoints.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.bark.config import BarkSubModelConfig
from vivace.nn.kv_cache import KVCache
from vivace.ops import causal_attention


class BarkSelfAttention(nn.Module):
    """Multi-head attention of x (B, T, C), causal over a cache or over all of x."""

    def __init__(
        self, config: BarkSubModelConfig, is_causal: bool = False, layer_idx: int = 0
    ) -> None:
        super().__init__()
        if config.hidden_size % config.num_heads:
            raise ValueError(
                "BarkSelfAttention: hidden_size must be a multiple of num_heads, got "
                f"{config.hidden_size} and {config.num_heads}"
            )
        self.embed_dim, self.num_heads = config.hidden_size, config.num_heads
        self.head_dim = config.hidden_size // config.num_heads
        self.dropout = config.dropout
        self.is_causal, self.layer_idx = is_causal, layer_idx
        self.att_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.bias)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.bias)

    def forward(
        self,
        x: Tensor,
        cache: KVCache | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """attention_mask (B, 1, 1 or T, S): added to the scores. -> (B, T, C), (B, H, T, S)."""
        qkv = self.att_proj(x)
        weights = None
        if output_attentions or attention_mask is not None or (self.training and self.dropout):
            y, weights = self._spelled_out(qkv, cache, attention_mask)
        elif cache is not None:
            keys, values = cache.layer(self.layer_idx)
            y = causal_attention(qkv, keys, values, cache.lengths, cache.longest)
        else:
            q, k, v = self._heads(qkv)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
            y = y.transpose(1, 2).flatten(2)
        y = F.dropout(self.out_proj(y), self.dropout, self.training)
        return y, weights

    def _heads(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """(B, T, 3C) -> queries, keys, values (B, H, T, D)."""
        return qkv.view(*qkv.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind()

    def _spelled_out(
        self, qkv: Tensor, cache: KVCache | None, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The attention with its weights, as transformers computes it."""
        q, k, v = self._heads(qkv)
        if cache is not None:
            past, time = cache.longest, q.shape[2]
            keys, values = cache.layer(self.layer_idx)
            keys[:, :, past : past + time], values[:, :, past : past + time] = k, v
            k, v = keys[:, :, : past + time], values[:, :, : past + time]
        scores = q @ k.transpose(-1, -2) * (1.0 / math.sqrt(self.head_dim))
        if self.is_causal:
            time, reach = scores.shape[-2:]
            seen = torch.ones(time, reach, dtype=torch.bool, device=q.device).tril(reach - time)
            scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = F.dropout(scores.softmax(-1).to(v.dtype), self.dropout, self.training)
        return (weights @ v).transpose(1, 2).flatten(2), weights


class BarkMLP(nn.Module):
    """Linear, GELU, linear: (B, T, C) -> (B, T, C), four times as wide inside."""

    def __init__(self, config: BarkSubModelConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.in_proj = nn.Linear(width, 4 * width, bias=config.bias)
        self.out_proj = nn.Linear(4 * width, width, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        y = self.out_proj(F.gelu(self.in_proj(x)))
        return F.dropout(y, self.dropout, self.training)


class BarkBlock(nn.Module):
    """h = x + attention(norm(x)); h + mlp(norm(h))."""

    def __init__(
        self, config: BarkSubModelConfig, is_causal: bool = False, layer_idx: int = 0
    ) -> None:
        super().__init__()
        # The fine model's norms have a bias even where nothing else has.
        bias = config.bias or not is_causal
        self.layernorm_1 = nn.LayerNorm(config.hidden_size, bias=bias)
        self.layernorm_2 = nn.LayerNorm(config.hidden_size, bias=bias)
        self.attn = BarkSelfAttention(config, is_causal, layer_idx)
        self.mlp = BarkMLP(config)

    def forward(
        self,
        x: Tensor,
        cache: KVCache | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, T, C) -> (B, T, C), attention weights (B, H, T, S) if asked for."""
        y, weights = self.attn(self.layernorm_1(x), cache, attention_mask, output_attentions)
        x = x + y
        return x + self.mlp(self.layernorm_2(x)), weights


def additive_mask(attention_mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask (B, S) of ones and zeros as what is added to scores (B, 1, 1, S); None if all ones.

    A mask with more dimensions is taken as it is.
    """
    if attention_mask is None or attention_mask.ndim > 2:
        return attention_mask
    masked = attention_mask == 0
    if not bool(masked.any()):
        return None
    zeros = torch.zeros(masked.shape, dtype=dtype, device=masked.device)
    return zeros.masked_fill(masked, torch.finfo(dtype).min)[:, None, None]
