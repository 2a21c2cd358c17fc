"""Weight norm, w = g · v / ‖v‖ (Salimans & Kingma 2016, arXiv:1602.07868), in checkpoints.

A checkpoint may hold the plain `weight`, the pair `weight_g`, `weight_v` of the old torch module,
or the pair `parametrizations.weight.original0`, `.original1` of the new one.
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from vivace.hub.checkpoint import LazyTensor, lazy_tensors

T = TypeVar("T")

_G_OF_V = {
    "weight_v": "weight_g",
    "parametrizations.weight.original1": "parametrizations.weight.original0",
}
_V_KEY = re.compile(r"(?P<stem>(?:.*\.)?)(?P<leaf>weight_v|parametrizations\.weight\.original1)")


class _Pair(NamedTuple):
    stem: str  # "encoder.conv1."
    g: str
    v: str


def fold_weight_norm(g: Tensor, v: Tensor) -> Tensor:
    """w = g · v / ‖v‖, the norm over all dimensions but the first.

    v: (A, …); g: (A, 1, …) or (A,). A is the output channels of a convolution and the input
    channels of a transposed one: its weight is (in, out, kernel). Half precision is computed in
    float32. Raises ValueError if the shapes do not belong together.
    """
    if g.numel() != v.shape[0]:
        raise ValueError(
            f"fold_weight_norm: g must have one value per row of v {tuple(v.shape)}, "
            f"got shape {tuple(g.shape)}"
        )
    dtype = v.dtype
    if dtype in (torch.float16, torch.bfloat16):
        g, v = g.float(), v.float()
    g = g.reshape(-1, *[1] * (v.dim() - 1))
    norm: Tensor = torch.linalg.vector_norm(v, dim=tuple(range(1, v.dim())), keepdim=True)
    weight: Tensor = v * (g / norm)
    return weight.to(dtype)


def match_weight_norm(
    tensors: Mapping[str, LazyTensor], wanted: Collection[str] | None = None
) -> dict[str, LazyTensor]:
    """Brings every weight-norm pair to the form that a model with the keys `wanted` has.

    A plain model (and `wanted=None`) gets the folded weight, a model with weight norm gets the pair
    under its own names; a pair that no key asks for stays as it is.
    """
    result = dict(tensors)
    for pair in _pairs(tensors):
        if wanted is None or pair.stem + "weight" in wanted:
            result[pair.stem + "weight"] = _folded(result.pop(pair.g), result.pop(pair.v))
            continue
        for v, g in _G_OF_V.items():
            if pair.stem + v in wanted:
                tensor_g, tensor_v = result.pop(pair.g), result.pop(pair.v)
                result[pair.stem + g], result[pair.stem + v] = tensor_g, tensor_v
    return result


def fold_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with every weight-norm pair replaced by its `weight`; the rest unchanged."""
    result = dict(state_dict)
    folded = match_weight_norm(lazy_tensors(state_dict))
    for pair in _pairs(state_dict):
        del result[pair.g], result[pair.v]
        result[pair.stem + "weight"] = folded[pair.stem + "weight"].read()
    return result


def _pairs(tensors: Mapping[str, T]) -> list[_Pair]:
    pairs = []
    for key in tensors:
        found = _V_KEY.fullmatch(key)
        if found and found["stem"] + _G_OF_V[found["leaf"]] in tensors:
            pairs.append(_Pair(found["stem"], found["stem"] + _G_OF_V[found["leaf"]], key))
    return pairs


def _folded(g: LazyTensor, v: LazyTensor) -> LazyTensor:
    return LazyTensor(v.shape, v.dtype, lambda: fold_weight_norm(g.read(), v.read()))
