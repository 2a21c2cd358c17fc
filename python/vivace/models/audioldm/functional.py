"""The elementwise parts of the UNet and the VAE that are worth a kernel each."""

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(
    x: Tensor, norm: nn.GroupNorm, *, silu: bool = False, term: Tensor | None = None
) -> Tensor:
    """norm(x + term), then SiLU if asked for: (B, C, H, W) -> the same shape and memory format.

    term (B or 1, C) is the same for all positions.
    """
    if term is not None:
        x = x + term[:, :, None, None]
    y = F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
    return F.silu(y, inplace=not y.requires_grad) if silu else y


def geglu(x: Tensor) -> Tensor:
    """h · gelu(g) for x = [h, g] (Shazeer 2020, arXiv:2002.05202): (…, 2·C) -> (…, C)."""
    h, gate = x.chunk(2, dim=-1)
    return h * F.gelu(gate)
