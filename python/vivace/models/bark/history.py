"""Voice prompts: the tokens of an earlier utterance, whose voice the next one continues.

A prompt is a dict with "semantic_prompt" (S,), "coarse_prompt" (2, T) and "fine_prompt" (8, T), as
tensors or arrays of integers. A batch has one for all rows, or a list with one (or None) per row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_DIMS = {"semantic_prompt": 1, "coarse_prompt": 2, "fine_prompt": 2}

History = Mapping[str, Any]
Histories = History | Sequence[History | None] | None


def rows_of(
    history_prompt: Histories, batch: int, device: torch.device, keys: Sequence[str]
) -> list[dict[str, Tensor] | None]:
    """The prompt of each row, as int64 tensors on the device; only the keys asked for.

    Raises ValueError for another number of prompts than rows, a missing key or a wrong shape,
    TypeError for values that are no integers.
    """
    if history_prompt is None or isinstance(history_prompt, Mapping):
        one = _checked(history_prompt, device, keys)
        return [one] * batch
    given = list(history_prompt)
    if len(given) != batch:
        raise ValueError(
            f"history_prompt: a list must have one prompt per row ({batch}), got {len(given)}"
        )
    return [_checked(each, device, keys) for each in given]


def _checked(
    history: History | None, device: torch.device, keys: Sequence[str]
) -> dict[str, Tensor] | None:
    if history is None:
        return None
    result = {}
    for key in keys:
        if key not in history:
            raise ValueError(f"history_prompt: missing {key!r}, got the keys {sorted(history)}")
        value = history[key]
        # By way of numpy's int64: torch has no arithmetic on uint16, which suno's files hold.
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(_int64(key, value))
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise TypeError(f"history_prompt: {key} must hold integers, got {tensor.dtype}")
        if tensor.ndim != _DIMS[key]:
            raise ValueError(
                f"history_prompt: {key} must have {_DIMS[key]} dimensions, got shape "
                f"{tuple(tensor.shape)}"
            )
        result[key] = tensor.to(device, torch.int64)
    return result


def _int64(key: str, value: Any) -> Any:
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind not in ("i", "u"):
        raise TypeError(f"history_prompt: {key} must be an array of integers, got {type(value)}")
    return value.astype("int64")
