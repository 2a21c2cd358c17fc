"""Weights rounded to 8 bits: w ≈ s · q with q in -127..127 and one scale s per output row."""

import torch
from torch import Tensor


@torch.no_grad()
def round_to_int8_(weight: Tensor) -> Tensor:
    """Rounds weight (N, K) in place to multiples of (the row's largest magnitude) / 127.

    Which multiple a value is can be told from the values alone, so a kernel may store them in
    8 bits: the row's largest magnitude keeps its value.
    """
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    scale = wide.abs().amax(1, keepdim=True) / 127
    steps = torch.where(scale > 0, (wide / scale).round(), 0.0)
    return weight.copy_(steps * scale)
