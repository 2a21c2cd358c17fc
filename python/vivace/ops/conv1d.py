"""One-dimensional convolution of time-major tensors, with what stands around it in a codec.

    y = epilogue(bias + Σ_j W_j · act(x)[t·stride + j·dilation − pad_left]) + residual

The activation (Snake, ELU, leaky ReLU) is applied once per element of x, not once per tap; the
residual sum and the tanh happen before the result is written. Frames of x before 0 and from the
row's own length on count as zeros (or are reflected), so padded batches equal solo runs.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace._dispatch import Op, load, stream_of
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
    reflect,
    refuse,
    rows,
)


@Op
def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    residual: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    pad_left: int = 0,
    pad_right: int = 0,
    activation: str = "none",
    slope: float = 0.1,
    reflect_pad: bool = False,
    tanh: bool = False,
) -> Tensor:
    """x (B, T, Cin), weight (Cout, Cin, K), bias (Cout,) -> (B, T', Cout).

    T' = (T + pad_left + pad_right − dilation·(K − 1) − 1) // stride + 1. alpha (Cin,) for
    activation="snake"; residual (B, T', Cout); lengths (B,) int64: the valid frames of x.
    Raises ValueError and TypeError for shapes, dtypes and activations that do not fit.
    """
    h = activate(clear_past_end(x.transpose(1, 2), lengths), activation, alpha, slope)
    if reflect_pad:
        h = F.conv1d(reflect(h, pad_left, pad_right, lengths), weight, bias, stride, 0, dilation)
    elif pad_left == pad_right:
        h = F.conv1d(h, weight, bias, stride, pad_left, dilation)
    else:
        h = F.conv1d(F.pad(h, (pad_left, pad_right)), weight, bias, stride, 0, dilation)
    y = h.transpose(1, 2)
    if residual is not None:
        y = residual + y
    return y.tanh() if tanh else y


@conv1d.check
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    residual: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    pad_left: int = 0,
    pad_right: int = 0,
    activation: str = "none",
    slope: float = 0.1,
    reflect_pad: bool = False,
    tanh: bool = False,
) -> None:
    channels_out, channels_in, kernel = weight.shape if weight.ndim == 3 else (0, 0, 0)
    check_family("conv1d", x, weight, channels_in, channels_out, bias, alpha, lengths, activation)
    if min(stride, dilation, pad_left + 1, pad_right + 1) < 1:
        raise ValueError(
            "conv1d: stride and dilation must be positive, padding not negative, got "
            f"stride {stride}, dilation {dilation}, padding {pad_left}, {pad_right}"
        )
    time = conv1d_length(x.shape[1], kernel, stride, dilation, pad_left + pad_right)
    if time < 1:
        raise ValueError(
            f"conv1d: {x.shape[1]} frames are too few for kernel {kernel}, dilation {dilation}, "
            f"padding {pad_left}, {pad_right}"
        )
    if reflect_pad and lengths is None and max(pad_left, pad_right) >= x.shape[1]:
        raise ValueError(
            f"conv1d: reflected padding must be shorter than the {x.shape[1]} frames of x, got "
            f"{pad_left}, {pad_right}"
        )
    if residual is not None and residual.dtype != x.dtype:
        raise TypeError(f"conv1d: residual must have x's dtype {x.dtype}, got {residual.dtype}")
    if residual is not None and residual.shape != (x.shape[0], time, channels_out):
        raise ValueError(
            f"conv1d: residual must have shape {(x.shape[0], time, channels_out)}, "
            f"got {tuple(residual.shape)}"
        )


def conv1d_length(time: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    """Frames that come out for ``time`` frames in, with ``padding`` frames on both sides in all."""
    return (time + padding - dilation * (kernel - 1) - 1) // stride + 1


@conv1d.supports
def _(
    backend: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    residual: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    pad_left: int = 0,
    pad_right: int = 0,
    activation: str = "none",
    slope: float = 0.1,
    reflect_pad: bool = False,
    tanh: bool = False,
) -> str | None:
    reason = refuse(backend, x)
    module = load(backend)
    if reason is not None or backend == "cpu" or module is None:
        return reason
    layer = (*weight.shape, stride, dilation, ACTIVATIONS.index(activation))
    product = PRODUCTS.index(products(module, x, weight.shape[0]))
    if module.conv1d_fits(*layer, residual is not None, tanh, product):
        return None
    span = (weight.shape[2] - 1) * dilation + 1
    return f"the {span} frames that its taps span do not fit on chip"


@conv1d.native
def _(
    module: ModuleType,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    residual: Tensor | None = None,
    lengths: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    pad_left: int = 0,
    pad_right: int = 0,
    activation: str = "none",
    slope: float = 0.1,
    reflect_pad: bool = False,
    tanh: bool = False,
) -> Tensor:
    channels_out, _, kernel = weight.shape
    time = conv1d_length(x.shape[1], kernel, stride, dilation, pad_left + pad_right)
    y = torch.empty((x.shape[0], time, channels_out), dtype=x.dtype, device=x.device)
    product = products(module, x, channels_out)
    module.conv1d(
        y,
        rows(x),
        pack(module, "conv1d", (weight,), product),
        float32(bias),
        float32(alpha),
        None if residual is None else rows(residual),
        contiguous(lengths),
        kernel,
        stride,
        dilation,
        pad_left,
        ACTIVATIONS.index(activation),
        slope,
        reflect_pad,
        tanh,
        PRODUCTS.index(product),
        stream_of(x),
    )
    return y
