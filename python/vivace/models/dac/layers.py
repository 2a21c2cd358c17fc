"""The convolutional halves of DAC (Kumar et al. 2023, arXiv:2306.06546).

Attribute names are the keys of transformers' checkpoints. The encoder and the decoder take and give
(B, C, T), as transformers has it; between their ends everything is time-major, (B, T, C). Every
forward takes the flow that evaluates its convolutions (vivace.nn.flow).
"""

from torch import Tensor, nn

from vivace.models.dac.config import DacConfig
from vivace.nn.flow import FULL, Flow
from vivace.nn.snake1d import Snake1d


class DacResidualUnit(nn.Module):
    """x + conv1(snake(conv7(snake(x)))): x (B, T, dimension) -> same shape."""

    def __init__(self, dimension: int = 16, dilation: int = 1) -> None:
        super().__init__()
        self.snake1 = Snake1d(dimension)
        self.conv1 = nn.Conv1d(
            dimension, dimension, kernel_size=7, dilation=dilation, padding=3 * dilation
        )
        self.snake2 = Snake1d(dimension)
        self.conv2 = nn.Conv1d(dimension, dimension, kernel_size=1)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        return flow.unit(self, x)


class DacEncoderBlock(nn.Module):
    """Three residual units, then a strided convolution: (B, T, C) -> (B, T / stride, 2C)."""

    def __init__(self, config: DacConfig, stride: int = 1, stride_index: int = 1) -> None:
        super().__init__()
        channels = config.encoder_hidden_size * 2**stride_index
        half = channels // 2
        self.res_unit1 = DacResidualUnit(half, dilation=1)
        self.res_unit2 = DacResidualUnit(half, dilation=3)
        self.res_unit3 = DacResidualUnit(half, dilation=9)
        self.snake1 = Snake1d(half)
        self.conv1 = nn.Conv1d(half, channels, 2 * stride, stride, padding=(stride + 1) // 2)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        for unit in (self.res_unit1, self.res_unit2, self.res_unit3):
            x = unit(x, flow)
        return flow.conv(self.conv1, x, self.snake1)


class DacDecoderBlock(nn.Module):
    """A transposed convolution, then three residual units: (B, T, C) -> (B, T · stride, C/2).

    The length is stride · T - (stride mod 2), because padding is ceil(stride / 2) on both sides.
    """

    def __init__(self, config: DacConfig, stride: int = 1, stride_index: int = 1) -> None:
        super().__init__()
        channels = config.decoder_hidden_size // 2**stride_index
        half = config.decoder_hidden_size // 2 ** (stride_index + 1)
        self.snake1 = Snake1d(channels)
        self.conv_t1 = nn.ConvTranspose1d(
            channels, half, 2 * stride, stride, padding=(stride + 1) // 2
        )
        self.res_unit1 = DacResidualUnit(half, dilation=1)
        self.res_unit2 = DacResidualUnit(half, dilation=3)
        self.res_unit3 = DacResidualUnit(half, dilation=9)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        x = flow.conv_transpose(self.conv_t1, x, self.snake1)
        for unit in (self.res_unit1, self.res_unit2, self.res_unit3):
            x = unit(x, flow)
        return x


class DacEncoder(nn.Module):
    """Audio (B, 1, L samples) -> (B, hidden_size, T frames)."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        ratios = config.downsampling_ratios
        self.conv1 = nn.Conv1d(1, config.encoder_hidden_size, kernel_size=7, padding=3)
        self.block = nn.ModuleList(
            DacEncoderBlock(config, stride, index) for index, stride in enumerate(ratios, start=1)
        )
        channels = config.encoder_hidden_size * 2 ** len(ratios)
        self.snake1 = Snake1d(channels)
        self.conv2 = nn.Conv1d(channels, config.hidden_size, kernel_size=3, padding=1)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        x = flow.conv(self.conv1, x.transpose(1, 2))
        for block in self.block:
            x = block(x, flow)
        return flow.conv(self.conv2, x, self.snake1).transpose(1, 2)


class DacDecoder(nn.Module):
    """Latents (B, hidden_size, T frames) -> audio (B, 1, L samples) in (-1, 1)."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        ratios = config.upsampling_ratios
        self.conv1 = nn.Conv1d(
            config.hidden_size, config.decoder_hidden_size, kernel_size=7, padding=3
        )
        self.block = nn.ModuleList(
            DacDecoderBlock(config, stride, index) for index, stride in enumerate(ratios)
        )
        channels = config.decoder_hidden_size // 2 ** len(ratios)
        self.snake1 = Snake1d(channels)
        self.conv2 = nn.Conv1d(channels, 1, kernel_size=7, padding=3)

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        x = flow.conv(self.conv1, x.transpose(1, 2))
        for block in self.block:
            x = block(x, flow)
        return flow.conv(self.conv2, x, self.snake1, tanh=True).transpose(1, 2)
