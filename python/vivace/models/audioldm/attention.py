"""Attention over the positions of feature maps: the UNet's transformers, the VAE's middle.

Attribute names are the keys of diffusers' checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.audioldm.functional import geglu, group_norm
from vivace.ops._packed import packed


class Attention(nn.Module):
    """Multi-head attention of tokens (B, N, C) to themselves or to a context (B, S, D)."""

    def __init__(
        self, channels: int, heads: int, context_dim: int | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"Attention: {channels} channels cannot be split into {heads} heads; "
                "check attention_head_dim, which is the number of heads"
            )
        self.heads = heads
        inner = channels if context_dim is None else context_dim
        self.to_q = nn.Linear(channels, channels, bias=bias)
        self.to_k = nn.Linear(inner, channels, bias=bias)
        self.to_v = nn.Linear(inner, channels, bias=bias)
        # A list of one, for the sake of the key: diffusers has a dropout behind it.
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, N, C), context (B, S, D), x itself by default -> (B, N, C)."""
        q, k, v = self._fused(x) if context is None else self._separate(x, context)
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out[0](y.transpose(1, 2).flatten(2))
        return out

    def _fused(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (B, H, N, D) of x, by one product where nothing forbids it."""
        layers = (self.to_q, self.to_k, self.to_v)
        weights = tuple(layer.weight for layer in layers)
        traced = torch.is_grad_enabled() and (
            x.requires_grad or any(weight.requires_grad for weight in weights)
        )
        # A compiled graph would join the weights anew in every call.
        if traced or torch.compiler.is_compiling():
            return self._separate(x, x)
        weight = packed(weights, ("qkv",), lambda: torch.cat(weights))
        bias = None
        if self.to_q.bias is not None:
            biases = tuple(layer.bias for layer in layers)
            bias = packed(biases, ("qkv",), lambda: torch.cat(biases))
        qkv = F.linear(x, weight, bias)
        heads: Tensor = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return heads.unbind()

    def _separate(self, x: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )


class SpatialAttention(Attention):
    """The VAE's attention: one head over all positions of a map, with norm and residual."""

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, eps)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> the same shape; there is no context."""
        y = super().forward(_tokens(group_norm(x, self.group_norm)), context)
        return x + _map(y, x)


class _Projection(nn.Module):
    """The input half of the feed-forward layer; a module of its own for the sake of the key."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return geglu(self.proj(x))


class FeedForward(nn.Module):
    """Linear, GEGLU, linear: (B, N, C) -> (B, N, C), four times as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = 4 * channels
        self.net = nn.Sequential(
            _Projection(channels, width), nn.Identity(), nn.Linear(width, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class BasicTransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward; each with a norm in front of it."""

    def __init__(self, channels: int, heads: int, context_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, heads, context_dim)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, N, C) -> (B, N, C). Without a context the second attention is a self-attention."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        y: Tensor = x + self.ff(self.norm3(x))
        return y


class Transformer2DModel(nn.Module):
    """A transformer block over all positions of a map, between two 1 × 1 convolutions.

    The convolutions are computed as products of tokens, which saves a change of layout each.
    """

    def __init__(self, channels: int, heads: int, context_dim: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            [BasicTransformerBlock(channels, heads, context_dim)]
        )
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), context (B, S, D) or None -> (B, C, H, W)."""
        y = _pointwise(_tokens(group_norm(x, self.norm)), self.proj_in)
        for block in self.transformer_blocks:
            y = block(y, context)
        return x + _map(_pointwise(y, self.proj_out), x)


def _pointwise(tokens: Tensor, conv: nn.Conv2d) -> Tensor:
    return F.linear(tokens, conv.weight.flatten(1), conv.bias)


def _tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H·W, C), a view if x is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _map(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, H·W, C) -> (B, C, H, W) of the size of `like`, a channels_last view."""
    maps: Tensor = tokens.unflatten(1, like.shape[2:])
    return maps.permute(0, 3, 1, 2)
