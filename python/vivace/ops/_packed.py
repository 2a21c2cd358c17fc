"""Weights in the order that kernels read them, kept beside the parameter they came from.

An entry lives as long as its parameter and is made again when the parameter changes: in place
(`_version`), by `.to()` or by a new storage (`data_ptr`). Nothing enters a state_dict.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

# parameter -> {what it was packed for: (state of the parameter then, packed weights)}
_entries: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _state(weights: tuple[Tensor, ...]) -> tuple[Any, ...]:
    # Inference tensors have no version; they cannot be changed in place outside inference mode.
    return tuple(
        (w.data_ptr(), -1 if w.is_inference() else w._version, w.dtype, w.device, w.shape)
        for w in weights
    )


def packed(
    weights: tuple[Tensor, ...], kind: tuple[Any, ...], make: Callable[[], Tensor]
) -> Tensor:
    """``make()``, remembered for these weights and this kind of packing."""
    if torch.compiler.is_compiling():
        return make()  # part of the traced graph
    slots = _entries.get(weights[0])
    if slots is None:
        slots = _entries[weights[0]] = {}
    state = _state(weights)
    found = slots.get(kind)
    if found is None or found[0] != state:
        with torch.no_grad():
            found = slots[kind] = (state, make())
    result: Tensor = found[1]
    return result


def packed_bytes(model: nn.Module) -> int:
    """Bytes of packed weights that the parameters of a model hold beside them now."""
    return sum(
        tensor.numel() * tensor.element_size()
        for parameter in model.parameters()
        for _, tensor in _entries.get(parameter, {}).values()
    )
