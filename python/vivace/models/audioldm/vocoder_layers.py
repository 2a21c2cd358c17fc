"""The layers of HiFi-GAN's generator (Kong et al. 2020, arXiv:2010.05646), time-major: (B, T, C).

A leaky ReLU is no step of its own: the convolution behind it applies it, and adds the residual.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from vivace.nn.geometry import geometry
from vivace.ops import conv1d, conv_transpose1d

Span = tuple[int, int]


def run_conv(
    module: nn.Conv1d,
    x: Tensor,
    slope: float | None = None,
    residual: Tensor | None = None,
    tanh: bool = False,
) -> Tensor:
    """tanh(residual + conv(leaky_relu(x))) for x (B, T, C); each part but the conv optional."""
    padding = geometry(module)[2]
    y: Tensor = conv1d(
        x,
        module.weight,
        module.bias,
        None,
        residual,
        None,
        1,
        module.dilation[0],
        padding,
        padding,
        "none" if slope is None else "leaky_relu",
        0.0 if slope is None else slope,
        False,
        tanh,
    )
    return y


def run_conv_transpose(module: nn.ConvTranspose1d, x: Tensor, slope: float) -> Tensor:
    """conv_transpose(leaky_relu(x)) for x (B, T, C)."""
    _, stride, padding, _ = geometry(module)
    y: Tensor = conv_transpose1d(
        x,
        module.weight,
        module.bias,
        None,
        None,
        stride,
        padding,
        padding,
        "leaky_relu",
        slope,
    )
    return y


def inputs_of(module: nn.Conv1d | nn.ConvTranspose1d, span: Span) -> Span:
    """The frames (first, end) that the frames ``span`` of a convolution's output come from.

    They may lie outside the clip, where the convolution has its padding.
    """
    reach, stride, padding, kernel = geometry(module)
    first, end = span
    if isinstance(module, nn.ConvTranspose1d):
        return -((kernel - 1 - first - padding) // stride), (end - 1 + padding) // stride + 1
    return first - padding, end - padding + reach - 1


class HifiGanResidualBlock(nn.Module):
    """x ← x + conv2(lrelu(conv1(lrelu(x)))), once per dilation: (B, T, C) -> same shape."""

    def __init__(
        self, channels: int, kernel_size: int, dilation: Sequence[int], leaky_relu_slope: float
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"HifiGanResidualBlock: kernel_size must be odd, got {kernel_size}")
        self.slope = leaky_relu_slope
        self.convs1 = nn.ModuleList(_same(channels, kernel_size, d) for d in dilation)
        self.convs2 = nn.ModuleList(_same(channels, kernel_size, 1) for _ in dilation)

    def forward(self, x: Tensor) -> Tensor:
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            assert isinstance(conv1, nn.Conv1d)
            assert isinstance(conv2, nn.Conv1d)
            h = run_conv(conv1, x, self.slope)
            x = run_conv(conv2, h, self.slope, x)
        return x

    def inputs(self, span: Span) -> Span:
        """The frames that the frames ``span`` of the output come from."""
        for conv in (*self.convs1, *self.convs2):
            assert isinstance(conv, nn.Conv1d)
            span = inputs_of(conv, span)
        return span


def _same(channels: int, kernel_size: int, dilation: int) -> nn.Conv1d:
    padding = (kernel_size - 1) * dilation // 2
    return nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=padding)
