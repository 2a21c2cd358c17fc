"""The levels of the UNet: residual blocks, each with a transformer or without, and resampling.

Attribute names are the keys of diffusers' checkpoints. `terms` gives each residual block its part
of the time embedding, in the order of the blocks.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vivace.models.audioldm.attention import Transformer2DModel
from vivace.models.audioldm.resnet import Downsample2D, ResnetBlock2D, Upsample2D


class Level(nn.Module):
    """`resnets` (in, out channels), each followed by a transformer if `heads` is not 0."""

    def __init__(
        self,
        resnets: list[tuple[int, int]],
        temb_channels: int,
        heads: int,
        context_dim: int,
        groups: int,
        eps: float,
        transformers: int | None = None,
    ) -> None:
        super().__init__()
        count = len(resnets) if transformers is None else transformers
        channels = resnets[-1][1]
        if heads:
            self.attentions = nn.ModuleList(
                Transformer2DModel(channels, heads, context_dim, groups) for _ in range(count)
            )
        self.resnets = nn.ModuleList(
            ResnetBlock2D(before, after, temb_channels, groups, eps) for before, after in resnets
        )
        self.has_attention = heads > 0

    def _attend(self, index: int, x: Tensor, context: Tensor | None) -> Tensor:
        return self.attentions[index](x, context) if self.has_attention else x


class DownLevel(Level):
    """DownBlock2D and CrossAttnDownBlock2D."""

    def add_downsampler(self, channels: int) -> None:
        """Halves the resolution at the end."""
        self.downsamplers = nn.ModuleList([Downsample2D(channels)])

    def forward(
        self, x: Tensor, terms: Iterator[Tensor], context: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """x (B, C, H, W) -> (B, C', H', W'), and what the way up needs of each layer."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = self._attend(i, resnet(x, next(terms)), context)
            skips.append(x)
        if hasattr(self, "downsamplers"):
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MidLevel(Level):
    """UNetMidBlock2DCrossAttn: a transformer between two residual blocks."""

    def forward(self, x: Tensor, terms: Iterator[Tensor], context: Tensor | None) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        x = self.resnets[0](x, next(terms))
        x = self._attend(0, x, context)
        x = self.resnets[1](x, next(terms))
        return x


class UpLevel(Level):
    """UpBlock2D and CrossAttnUpBlock2D."""

    def add_upsampler(self, channels: int) -> None:
        """Raises the resolution at the end."""
        self.upsamplers = nn.ModuleList([Upsample2D(channels)])

    def forward(
        self, x: Tensor, skips: list[Tensor], terms: Iterator[Tensor], context: Tensor | None
    ) -> Tensor:
        """x (B, C, H, W) -> (B, C', H', W'); takes its skips from the end of the list.

        The new resolution is that of the skip which comes next.
        """
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), next(terms))
            x = self._attend(i, x, context)
        if hasattr(self, "upsamplers"):
            height, width = skips[-1].shape[2:]
            x = self.upsamplers[0](x, (height, width))
        return x
