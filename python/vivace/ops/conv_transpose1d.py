"""Transposed convolution of time-major tensors, cropped on both sides.

Block i of the raw result (frames i·s … i·s + s − 1) is Σ_j W[j·s : j·s + s]·x[i − j]: the taps of a
convolution with s·Cout outputs (the polyphase form). The kernels have two taps, K = 2·s, as codecs
have; other kernel sizes, such as HiFi-GAN's, are run by conv1d in that form.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace._dispatch import Op, stream_of
from vivace.ops._conv import (
    ACTIVATIONS,
    PRODUCTS,
    activate,
    check_family,
    clear_past_end,
    contiguous,
    float32,
    pack,
    products,
    refuse,
    rows,
)
from vivace.ops._packed import packed
from vivace.ops.conv1d import conv1d


@Op
def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    crop_left: int = 0,
    crop_right: int = 0,
    activation: str = "none",
    slope: float = 0.1,
) -> Tensor:
    """x (B, T, Cin), weight (Cin, Cout, K >= stride), bias (Cout,) -> (B, T', Cout).

    T' = (T − 1)·stride + K − crop_left − crop_right. alpha (Cin,) for activation="snake"; lengths
    (B,) int64: the valid frames of x. Raises ValueError and TypeError for what does not fit.
    """
    h = activate(clear_past_end(x.transpose(1, 2), lengths), activation, alpha, slope)
    if crop_left == crop_right:
        return F.conv_transpose1d(h, weight, bias, stride, crop_left).transpose(1, 2)
    raw = F.conv_transpose1d(h, weight, bias, stride)
    return raw[..., crop_left : raw.shape[-1] - crop_right].transpose(1, 2)


@conv_transpose1d.check
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    crop_left: int = 0,
    crop_right: int = 0,
    activation: str = "none",
    *_: object,
) -> None:
    channels_in, channels_out, kernel = weight.shape if weight.ndim == 3 else (0, 0, 0)
    check_family(
        "conv_transpose1d", x, weight, channels_in, channels_out, bias, alpha, lengths, activation
    )
    if not 1 <= stride <= kernel:
        raise ValueError(
            f"conv_transpose1d: stride must be from 1 to the kernel size {kernel}, got {stride}"
        )
    frames = (x.shape[1] - 1) * stride + kernel
    if min(crop_left, crop_right) < 0 or crop_left + crop_right >= frames:
        raise ValueError(
            f"conv_transpose1d: crop_left and crop_right must leave some of the {frames} frames, "
            f"got {crop_left}, {crop_right}"
        )


@conv_transpose1d.supports
def _(
    backend: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    *_: object,
) -> str | None:
    if stride * weight.shape[1] >= 1 << 24:
        return "kernels count a block's values in 24 bits"
    return refuse(backend, x)


@conv_transpose1d.native
def _(
    module: ModuleType,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    crop_left: int = 0,
    crop_right: int = 0,
    activation: str = "none",
    slope: float = 0.1,
) -> Tensor:
    kernel = weight.shape[2]
    time = (x.shape[1] - 1) * stride + kernel - crop_left - crop_right
    if kernel != 2 * stride:
        taps = -(-kernel // stride)
        phases = packed((weight,), ("polyphase", stride), lambda: polyphase(weight, stride))
        biases = None
        if bias is not None:
            biases = packed((bias,), ("polyphase", stride), lambda: bias.repeat(stride))
        blocks: Tensor = conv1d(
            x, phases, biases, alpha, None, lengths, 1, 1, taps - 1, taps - 1, activation, slope
        )
        raw = blocks.view(x.shape[0], blocks.shape[1] * stride, weight.shape[1])
        return raw[:, crop_left : crop_left + time]
    y = torch.empty((x.shape[0], time, weight.shape[1]), dtype=x.dtype, device=x.device)
    product = products(module, x, weight.shape[1])
    module.conv_transpose1d(
        y,
        rows(x),
        pack(module, "conv_transpose1d", (weight,), product),
        float32(bias),
        float32(alpha),
        contiguous(lengths),
        stride,
        crop_left,
        ACTIVATIONS.index(activation),
        slope,
        PRODUCTS.index(product),
        stream_of(x),
    )
    return y


def polyphase(weight: Tensor, stride: int) -> Tensor:
    """weight (Cin, Cout, K) as that of a convolution (stride·Cout, Cin, ceil(K / stride))."""
    channels_in, channels_out, kernel = weight.shape
    taps = -(-kernel // stride)
    whole = F.pad(weight.detach(), (0, taps * stride - kernel))
    # Tap j meets x[i − (taps − 1 − j)], and its phases are the block's frames.
    split = whole.view(channels_in, channels_out, taps, stride).flip(2)
    return split.permute(3, 1, 0, 2).reshape(stride * channels_out, channels_in, taps)
