"""Residual blocks and resampling of feature maps (B, C, H, W), for the UNet and the VAE.

Attribute names are the keys of diffusers' checkpoints.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.audioldm.functional import group_norm


class ResnetBlock2D(nn.Module):
    """Two 3 × 3 convolutions, each after a norm and SiLU, and a shortcut around them.

    temb_channels: the width of the time embedding, None where there is none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int | None,
        groups: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        if temb_channels is not None:
            self.time_emb_proj = nn.Linear(temb_channels, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor, term: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W). term (B, C'): the time embedding, already projected."""
        h = self.conv1(group_norm(x, self.norm1, silu=True))
        h = self.conv2(group_norm(h, self.norm2, silu=True, term=term))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        y: Tensor = x + h
        return y


class Downsample2D(nn.Module):
    """A 3 × 3 convolution of stride 2. The VAE pads on the right and at the bottom only."""

    def __init__(self, channels: int, symmetric: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if symmetric else 0)
        self.symmetric = symmetric

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2); the UNet rounds odd sizes up, the VAE down."""
        y: Tensor = self.conv(x if self.symmetric else F.pad(x, (0, 1, 0, 1)))
        return y


class Upsample2D(nn.Module):
    """Nearest neighbours at a given size, or at twice the size, then a 3 × 3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, *size), or (B, C, 2·H, 2·W)."""
        if size is None:
            size = (2 * x.shape[2], 2 * x.shape[3])
        y: Tensor = self.conv(F.interpolate(x, size=size, mode="nearest"))
        return y
