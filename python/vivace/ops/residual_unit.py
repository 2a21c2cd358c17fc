"""DAC's residual unit: x + conv1(snake(conv7(snake(x)))), conv7 dilated, conv1 with one tap."""

from types import ModuleType

import torch
from torch import Tensor

from vivace._dispatch import Op, stream_of
from vivace.ops._conv import (
    PRODUCTS,
    aligned,
    check_family,
    contiguous,
    float32,
    pack,
    products,
    refuse,
    rows,
)
from vivace.ops.conv1d import conv1d


@Op
def residual_unit(
    x: Tensor,
    alpha1: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    alpha2: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    lengths: Tensor | None = None,
    dilation: int = 1,
    padding: int = 0,
) -> Tensor:
    """x (B, T, C), weight1 (C, C, 7), weight2 (C, C, 1), the rest (C,) -> (B, T', C).

    T' = T + 2·padding − 6·dilation, and x is cropped alike for the sum: padding = 3·dilation is the
    whole clip, 0 a piece of a stream. lengths (B,) int64: the valid frames of x.
    """
    inner = conv1d(x, weight1, bias1, alpha1, None, lengths, 1, dilation, padding, padding, "snake")
    start = 3 * dilation - padding
    skip = x[:, start : x.shape[1] - start]
    y: Tensor = conv1d(inner, weight2, bias2, alpha2, skip, None, 1, 1, 0, 0, "snake")
    return y


@residual_unit.check
def _(
    x: Tensor,
    alpha1: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    alpha2: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    lengths: Tensor | None = None,
    dilation: int = 1,
    padding: int = 0,
) -> None:
    channels = x.shape[-1]
    check_family("residual_unit", x, weight1, channels, channels, bias1, alpha1, lengths, "snake")
    check_family("residual_unit", x, weight2, channels, channels, bias2, alpha2, lengths, "snake")
    if weight1.shape != (channels, channels, 7) or weight2.shape != (channels, channels, 1):
        raise ValueError(
            f"residual_unit: weight1 and weight2 must have shapes {(channels, channels, 7)} and "
            f"{(channels, channels, 1)}, got {tuple(weight1.shape)} and {tuple(weight2.shape)}"
        )
    if dilation < 1 or not 0 <= padding <= 3 * dilation:
        raise ValueError(
            f"residual_unit: padding must be in [0, 3·dilation], got {padding} and {dilation}"
        )
    if x.shape[1] + 2 * padding - 6 * dilation < 1:
        raise ValueError(
            f"residual_unit: {x.shape[1]} frames are too few for dilation {dilation} "
            f"and padding {padding}"
        )


@residual_unit.supports
def _(backend: str, x: Tensor, *_: object) -> str | None:
    return refuse(backend, x)


@residual_unit.native
def _(
    module: ModuleType,
    x: Tensor,
    alpha1: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    alpha2: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    lengths: Tensor | None = None,
    dilation: int = 1,
    padding: int = 0,
) -> Tensor:
    product = products(module, x, x.shape[2])
    kind = PRODUCTS.index(product)
    if not module.residual_unit_fits(x.shape[2], dilation, kind):
        # The weights do not fit on chip: two convolutions, whose epilogues carry the rest.
        result: Tensor = residual_unit.reference(
            x, alpha1, weight1, bias1, alpha2, weight2, bias2, lengths, dilation, padding
        )
        return result
    time = x.shape[1] + 2 * padding - 6 * dilation
    y = torch.empty((x.shape[0], time, x.shape[2]), dtype=x.dtype, device=x.device)
    module.residual_unit(
        y,
        aligned(rows(x)),
        pack(module, "residual_unit", (weight1, weight2), product),
        float32(alpha1),
        float32(bias1),
        float32(alpha2),
        float32(bias2),
        contiguous(lengths),
        dilation,
        padding,
        kind,
        stream_of(x),
    )
    return y
