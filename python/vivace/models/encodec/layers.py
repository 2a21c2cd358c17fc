"""The convolutional halves of EnCodec (Défossez et al. 2022, arXiv:2210.13438).

Attribute names, and the places in `layers`, are the keys of transformers' checkpoints. The encoder
and the decoder take and give (B, C, T), as transformers has it; between their ends everything is
time-major, (B, T, C). An ELU is no step of its own: the convolution behind it applies it. Every
forward takes the flow that evaluates it (vivace.models.encodec.flow).
"""

import math

from torch import Tensor, nn

from vivace.models.encodec.config import EncodecConfig, check_norm
from vivace.models.encodec.flow import FULL, Flow


class EncodecConv1d(nn.Module):
    """A convolution that pads so that T samples give ceil(T / stride): (B, T, C) -> (B, T', C')."""

    def __init__(
        self,
        config: EncodecConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.causal, self.pad_mode = config.use_causal_conv, config.pad_mode
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride, dilation=dilation)
        self.norm = _norm(config, out_channels)
        self.padding_total = dilation * (kernel_size - 1) + 1 - stride

    def padding(self, time: int) -> tuple[int, int]:
        """Samples of padding (left, right) for an input of ``time`` samples."""
        right = 0 if self.causal else self.padding_total // 2
        return self.padding_total - right, right + -time % self.conv.stride[0]

    def forward(
        self,
        x: Tensor,
        flow: Flow = FULL,
        activation: str = "none",
        residual: Tensor | None = None,
    ) -> Tensor:
        return flow.conv(self, x, activation, residual)


class EncodecConvTranspose1d(nn.Module):
    """A transposed convolution, trimmed to the upsampled length: (B, T, C) -> (B, T·stride, C')."""

    def __init__(
        self,
        config: EncodecConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
    ) -> None:
        super().__init__()
        if not config.use_causal_conv and config.trim_right_ratio != 1.0:
            raise ValueError(
                "EncodecConvTranspose1d: `trim_right_ratio` != 1.0 only makes sense for causal "
                f"convolutions, got {config.trim_right_ratio}"
            )
        self.conv = nn.ConvTranspose1d(in_channels, out_channels, kernel_size, stride)
        self.norm = _norm(config, out_channels)
        total = kernel_size - stride
        causal, ratio = config.use_causal_conv, config.trim_right_ratio
        right = math.ceil(total * ratio) if causal else total // 2
        self.trim = total - right, right  # samples of the raw result, at its two ends

    def forward(self, x: Tensor, flow: Flow = FULL, activation: str = "none") -> Tensor:
        return flow.conv_transpose(self, x, activation)


class EncodecLSTM(nn.Module):
    """x + lstm(x): (B, T, C) -> same shape."""

    def __init__(self, config: EncodecConfig, dimension: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dimension, dimension, config.num_lstm_layers)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        return flow.lstm(self.lstm, x) + x


class EncodecResnetBlock(nn.Module):
    """shortcut(x) + conv1(elu(conv3(elu(x)))): (B, T, dim) -> same shape."""

    def __init__(self, config: EncodecConfig, dim: int, dilation: int) -> None:
        super().__init__()
        hidden = dim // config.compress
        kernel = config.residual_kernel_size
        self.block = nn.ModuleList(
            [
                nn.ELU(),
                EncodecConv1d(config, dim, hidden, kernel, dilation=dilation),
                nn.ELU(),
                EncodecConv1d(config, hidden, dim, kernel_size=1),
            ]
        )
        self.shortcut = (
            EncodecConv1d(config, dim, dim, kernel_size=1)
            if config.use_conv_shortcut
            else nn.Identity()
        )

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        h = self.block[1](x, flow, "elu")
        residual = self.shortcut(x, flow) if isinstance(self.shortcut, EncodecConv1d) else x
        y: Tensor = self.block[3](h, flow, "elu", residual)
        return y


class EncodecEncoder(nn.Module):
    """Audio (B, audio_channels, L samples) -> (B, hidden_size, T frames)."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        width = config.num_filters
        layers: list[nn.Module] = [
            EncodecConv1d(config, config.audio_channels, width, config.kernel_size)
        ]
        for ratio in reversed(config.upsampling_ratios):
            layers += _residual_blocks(config, width)
            layers += [nn.ELU(), EncodecConv1d(config, width, 2 * width, 2 * ratio, ratio)]
            width *= 2
        layers += [EncodecLSTM(config, width), nn.ELU()]
        layers += [EncodecConv1d(config, width, config.hidden_size, config.last_kernel_size)]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        return _through(self.layers, x, flow)


class EncodecDecoder(nn.Module):
    """Latents (B, hidden_size, T frames) -> audio (B, audio_channels, L samples)."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        width = config.num_filters * 2 ** len(config.upsampling_ratios)
        layers: list[nn.Module] = [
            EncodecConv1d(config, config.hidden_size, width, config.kernel_size),
            EncodecLSTM(config, width),
        ]
        for ratio in config.upsampling_ratios:
            layers += [
                nn.ELU(),
                EncodecConvTranspose1d(config, width, width // 2, 2 * ratio, ratio),
            ]
            width //= 2
            layers += _residual_blocks(config, width)
        layers += [
            nn.ELU(),
            EncodecConv1d(config, width, config.audio_channels, config.last_kernel_size),
        ]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        return _through(self.layers, x, flow)


def _residual_blocks(config: EncodecConfig, width: int) -> list[nn.Module]:
    growth = config.dilation_growth_rate
    return [
        EncodecResnetBlock(config, width, growth**index)
        for index in range(config.num_residual_layers)
    ]


def _norm(config: EncodecConfig, channels: int) -> nn.GroupNorm | None:
    check_norm(config.norm_type)
    return nn.GroupNorm(1, channels) if config.norm_type == "time_group_norm" else None


def _through(layers: nn.ModuleList, x: Tensor, flow: Flow) -> Tensor:
    """x (B, C, T) through all layers -> (B, C', T'), contiguous."""
    x = x.transpose(1, 2)
    activation = "none"
    for layer in layers:
        if isinstance(layer, nn.ELU):
            activation = "elu"
        elif isinstance(layer, EncodecConv1d | EncodecConvTranspose1d):
            x = layer(x, flow, activation)
            activation = "none"
        else:
            x = layer(x, flow)
    return x.transpose(1, 2).contiguous()
