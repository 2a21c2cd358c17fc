"""BatchFeature: the dict of arrays or tensors that feature extractors return."""

from collections import UserDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_TENSOR_TYPES = ("pt", "np", "mlx")


class BatchFeature(UserDict[str, Any]):
    """What feature extractors return: a dict whose entries are attributes too.

    tensor_type: "pt" or "np" converts the entries at once, None leaves them. Raises ValueError if
    an entry cannot become a tensor, for example because its rows differ in length.
    """

    def __init__(
        self, data: Mapping[str, Any] | None = None, tensor_type: str | None = None
    ) -> None:
        super().__init__(data)
        self.convert_to_tensors(tensor_type)

    def __getitem__(self, item: str) -> Any:
        if isinstance(item, str):
            return self.data[item]
        raise KeyError(
            "Indexing with integers is not available when using Python based feature extractors"
        )

    def __getattr__(self, name: str) -> Any:
        # `data` is missing while an object is being unpickled or copied.
        if name != "data" and name in self.data:
            return self.data[name]
        raise AttributeError(f"BatchFeature has no entry {name!r}")

    def convert_to_tensors(self, tensor_type: str | None = None) -> "BatchFeature":
        """Turns the entries that are numbers into tensors ("pt") or arrays ("np"), in place."""
        if tensor_type is None:
            return self
        kind = str(getattr(tensor_type, "value", tensor_type))
        if kind not in _TENSOR_TYPES:
            raise ValueError(
                f"{tensor_type} is not a valid TensorType, please select one of "
                f"{list(_TENSOR_TYPES)}"
            )
        for key, value in self.data.items():
            if not _is_numeric(value):
                continue
            try:
                self.data[key] = _as_tensor(value) if kind == "pt" else _as_array(value)
            except (ValueError, TypeError, RuntimeError) as error:
                raise ValueError(
                    f"Unable to convert output '{key}' (type: {type(value).__name__}) to tensor: "
                    f"{error}\nUse padding=True to give all clips one length, "
                    "or return_tensors=None to keep them apart."
                ) from error
        return self

    def to(self, *args: Any, **kwargs: Any) -> "BatchFeature":
        """Moves all tensors to a device; a dtype is applied to floating point ones only."""
        device = kwargs.get("device")
        if device is None and args and not isinstance(args[0], torch.dtype):
            device = args[0]
            if not isinstance(device, (str, int, torch.device)):
                raise ValueError(
                    f"Attempting to cast a BatchFeature to type {device}. This is not supported."
                )
        non_blocking = kwargs.get("non_blocking", False)

        def move(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                if value.is_floating_point():
                    return value.to(*args, **kwargs)
                return value if device is None else value.to(device, non_blocking=non_blocking)
            if isinstance(value, (list, tuple)):
                return type(value)(move(item) for item in value)
            return value

        self.data = {key: move(value) for key, value in self.data.items()}
        return self


def _is_numeric(value: Any) -> bool:
    while isinstance(value, (list, tuple)):
        if not value:
            return True
        value = value[0]
    return isinstance(value, (np.ndarray, torch.Tensor, int, float, np.number))


def _as_tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], torch.Tensor):
        return torch.stack(list(value))
    # By way of numpy: torch.tensor copies a list of arrays number by number.
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else _from_list(value)


def _from_list(value: Any) -> torch.Tensor:
    first = value[0] if isinstance(value, (list, tuple)) and value else None
    nested = first[0] if isinstance(first, (list, tuple)) and first else first
    return (
        torch.from_numpy(np.array(value)) if isinstance(nested, np.ndarray) else torch.tensor(value)
    )


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if (
        isinstance(value, (list, tuple))
        and value
        and isinstance(value[0], (list, tuple, np.ndarray))
    ):
        lengths = {len(row) for row in value}
        if len(lengths) > 1:
            rows = np.empty(len(value), dtype=object)
            rows[:] = [np.asarray(row) for row in value]
            return rows
    return np.asarray(value)
