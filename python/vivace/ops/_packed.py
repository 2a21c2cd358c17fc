"""Weights in the order that kernels read them, kept beside the parameter they came from.

An entry lives as long as its parameter and is made again when the parameter changes: in place
(`_version`), by `.to()` or by another storage or view of one. Nothing enters a state_dict. Two
changes leave no trace that could be seen, and want `forget_packed`: in place through `.data`, and
of inference tensors, which have no version.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakIdKeyDictionary

# parameter -> {what it was packed for: (its weights' state then, their storages, packed weights)}.
# A storage that is held weakly keeps its identity: no other one can come to stand at its address.
_entries: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _state(weights: tuple[Tensor, ...]) -> tuple[Any, ...]:
    return tuple(
        (
            w.untyped_storage()._cdata,
            w.storage_offset(),
            w.stride(),
            -1 if w.is_inference() else w._version,
            w.dtype,
            w.shape,
        )
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
        storages = [StorageWeakRef(w.untyped_storage()) for w in weights]
        with torch.no_grad():
            found = slots[kind] = (state, storages, make())
    result: Tensor = found[2]
    return result


def forget_packed(model: nn.Module) -> None:
    """Drops the packed weights of a model; its next call packs them anew.

    Needed after changes of which torch keeps no trace: `parameter.data.copy_(...)`, and in-place
    changes of parameters made under `torch.inference_mode()`.
    """
    for weight in (*model.parameters(), *model.buffers()):
        _entries.pop(weight, None)


def packed_bytes(model: nn.Module) -> int:
    """Bytes of packed weights that a model's parameters and buffers hold beside them now."""
    return sum(_bytes(weight) for weight in (*model.parameters(), *model.buffers()))


def _bytes(weight: Tensor) -> int:
    """What was packed from a tensor, and from that in turn; views of the tensor take no memory."""
    total = 0
    for *_, tensor in _entries.get(weight, {}).values():
        if tensor.untyped_storage()._cdata != weight.untyped_storage()._cdata:
            total += tensor.numel() * tensor.element_size()
        total += _bytes(tensor)
    return total
