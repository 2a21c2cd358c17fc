"""The two halves of the VAE (Rombach et al. 2022, arXiv:2112.10752).

Attribute names are the keys of diffusers' checkpoints.
"""

from torch import Tensor, nn

from vivace.models.audioldm.attention import SpatialAttention
from vivace.models.audioldm.functional import group_norm
from vivace.models.audioldm.resnet import Downsample2D, ResnetBlock2D, Upsample2D

_EPS = 1e-6


class Level(nn.Module):
    """Residual blocks at one resolution, then the way to the next."""

    def __init__(self, channels: int, out_channels: int, layers: int, groups: int) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * (layers - 1)
        self.resnets = nn.ModuleList(
            ResnetBlock2D(width, out_channels, None, groups, _EPS) for width in widths
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        for resnet in self.resnets:
            x = resnet(x)
        for name in ("downsamplers", "upsamplers"):
            if hasattr(self, name):
                x = getattr(self, name)[0](x)
        return x


class Middle(nn.Module):
    """Attention over all positions between two residual blocks."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([SpatialAttention(channels, groups, _EPS)])
        self.resnets = nn.ModuleList(
            ResnetBlock2D(channels, channels, None, groups, _EPS) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        x = self.resnets[0](x)
        x = self.attentions[0](x)
        x = self.resnets[1](x)
        return x


class Encoder(nn.Module):
    """(B, C, H, W) -> (B, out_channels, H / 2^n, W / 2^n)."""

    def __init__(
        self, in_channels: int, out_channels: int, widths: list[int], layers: int, groups: int
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(widths[max(i - 1, 0)], width, layers, groups)
            if i < len(widths) - 1:
                level.downsamplers = nn.ModuleList([Downsample2D(width, symmetric=False)])
            self.down_blocks.append(level)
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], _EPS)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        x = self.mid_block(x)
        y: Tensor = self.conv_out(group_norm(x, self.conv_norm_out, silu=True))
        return y


class Decoder(nn.Module):
    """(B, C, H, W) -> (B, out_channels, H · 2^n, W · 2^n)."""

    def __init__(
        self, in_channels: int, out_channels: int, widths: list[int], layers: int, groups: int
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[-1], 3, padding=1)
        self.up_blocks = nn.ModuleList()
        for i in range(len(widths) - 1, -1, -1):
            level = Level(widths[min(i + 1, len(widths) - 1)], widths[i], layers + 1, groups)
            if i > 0:
                level.upsamplers = nn.ModuleList([Upsample2D(widths[i])])
            self.up_blocks.append(level)
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], _EPS)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        y: Tensor = self.conv_out(group_norm(x, self.conv_norm_out, silu=True))
        return y
