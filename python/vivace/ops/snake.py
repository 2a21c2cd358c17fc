"""Snake activation (Ziyin et al. 2020, arXiv:2006.08195), as DAC uses it."""

from types import ModuleType

import torch
from torch import Tensor

from vivace._dispatch import Op, stream_of


@Op
def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """x + sin²(αx) / (α + 1e-9), one α per channel.  x: (B, C, T), alpha: (C,) -> (B, C, T).

    float16 and bfloat16 are computed in float32 and rounded once: in half precision the 1e-9 would
    vanish (NaN at α = 0) and the rounded αx would be the argument of the sine.
    """
    inner = torch.promote_types(x.dtype, torch.float32)
    a = alpha.to(inner)[:, None]
    wide = x.to(inner)
    return (wide + (a + 1e-9).reciprocal() * torch.sin(a * wide).pow(2)).to(x.dtype)


@snake.check
def _(x: Tensor, alpha: Tensor) -> None:
    if x.ndim != 3:
        raise ValueError(f"snake: x must have shape (B, C, T), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"snake: x must be a float tensor, got {x.dtype}")
    if alpha.ndim != 1 or alpha.shape[0] != x.shape[1]:
        raise ValueError(f"snake: alpha must have shape ({x.shape[1]},), got {tuple(alpha.shape)}")


@snake.supports
def _(backend: str, x: Tensor, alpha: Tensor) -> str | None:
    return "float64 is computed by torch" if x.dtype == torch.float64 else None


@snake.native
def _(module: ModuleType, x: Tensor, alpha: Tensor) -> Tensor:
    if x.stride(2) != 1:
        x = x.contiguous()
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    module.snake(y, x, alpha.float().contiguous(), stream_of(x))
    return y
