"""Transposed convolution with kernel = 2·stride of time-major tensors, cropped on both sides.

Block i of the raw result (frames i·s … i·s + s − 1) is W[:s]·x[i] + W[s:]·x[i − 1]: two taps of a
convolution with s·Cout outputs. `crop_left` and `crop_right` frames are cut from the raw (T + 1)·s.
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
    """x (B, T, Cin), weight (Cin, Cout, 2·stride), bias (Cout,) -> (B, T', Cout).

    T' = (T + 1)·stride − crop_left − crop_right. alpha (Cin,) for activation="snake"; lengths
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
    if kernel != 2 * stride:
        raise ValueError(
            f"conv_transpose1d: weight must have kernel size 2·stride = {2 * stride}, got {kernel}"
        )
    if min(crop_left, crop_right) < 0 or crop_left + crop_right >= (x.shape[1] + 1) * stride:
        raise ValueError(
            f"conv_transpose1d: crop_left and crop_right must leave some of the "
            f"{(x.shape[1] + 1) * stride} frames, got {crop_left}, {crop_right}"
        )


@conv_transpose1d.supports
def _(backend: str, x: Tensor, *_: object) -> str | None:
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
    time = (x.shape[1] + 1) * stride - crop_left - crop_right
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
