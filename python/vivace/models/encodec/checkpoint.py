"""The checkpoint that transformers' EncodecModel reads: every convolution with weight norm.

Its classes hold w = g · v / ‖v‖ (arXiv:1602.07868) where ours hold w, and a plain `weight` would be
left out without an error. Written are v = w and g = ‖w‖ under the names of the released models.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vivace.hub import fold_state_dict


def normed_weights(model: nn.Module, prefix: str = "") -> list[str]:
    """The keys of the weights that transformers' class has in two parts."""
    return [
        f"{prefix}{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
    ]


def split_weight_norm(state: Mapping[str, Tensor], keys: Iterable[str]) -> dict[str, Tensor]:
    """The state dict with `weight_g` (A, 1, 1) and `weight_v` (A, ...) in place of each weight.

    Folded by `vivace.hub.fold_state_dict` they give the weight exactly: g is float32 (or float64),
    and computed as the norm is that it is divided by. A row of zeros has no direction: its v are
    ones, and g is 0.
    """
    result = dict(fold_state_dict(state))
    for key in keys:
        weight = result.pop(key)
        wide = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
        g: Tensor = torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True)
        result[f"{key}_g"] = g
        result[f"{key}_v"] = torch.where(g == 0, torch.ones_like(weight), weight.detach())
    return result
