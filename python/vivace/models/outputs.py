"""Outputs of models: records whose fields are reached by attribute, key, index or slice."""

from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterable, Mapping, ValuesView
from dataclasses import fields
from typing import Any, Generic, NoReturn, TypeVar

import torch
from torch.utils import _pytree as pytree

T = TypeVar("T")


class Deferred(Generic[T]):
    """A value that is computed when it is first asked for, then kept.

    Given as a field of a `ModelOutput`, it costs nothing for those who do not look at the field.
    `compute` must not return None: whether a field is there is decided when the output is made.
    """

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute: Callable[[], T] | None = compute
        self._value: T

    def value(self) -> T:
        """The value, computed by the first call."""
        if self._compute is not None:
            self._value = self._compute()
            # Lets go of the closure, which may hold large intermediate tensors.
            self._compute = None
        return self._value

    def __repr__(self) -> str:
        return "<deferred>" if self._compute is not None else repr(self._value)


class ModelOutput(OrderedDict[str, Any]):
    """Base of the output dataclasses, with the behaviour of transformers' class of this name.

    `out.audio_codes`, `out["audio_codes"]`, `out[1]` and `out[:2]` reach the fields; iteration goes
    over the keys. Fields that are None do not count: they are neither keys nor tuple elements.
    Subclasses are decorated with `@dataclass` and give every field the default None.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # `@dataclass` leaves a method alone that stands in the class itself.
        setattr(cls, "__repr__", ModelOutput.__repr__)  # noqa: B010
        pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output)),
            lambda values, keys: cls(**dict(zip(keys, values, strict=True))),
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
        )

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        raw = self.__dict__
        first = raw.get(names[0])
        if all(raw.get(name) is None for name in names[1:]):
            pairs = _as_pairs(first)
            if pairs is not None:
                # Made from (key, value) pairs, as torch's gather of several devices does.
                raw[names[0]] = None
                OrderedDict.clear(self)
                for key, value in pairs:
                    setattr(self, key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if value is not None and name in self.__dataclass_fields__:
            super().__setitem__(name, value)

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if type(value) is Deferred:
            value = value.value()
            setattr(self, name, value)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self:
                raise KeyError(key)
            return getattr(self, key)
        names = list(self)[key]
        if isinstance(names, str):
            return getattr(self, names)
        return tuple(getattr(self, name) for name in names)

    def get(self, key: str, default: Any = None) -> Any:
        """The field's value, or the default if the field is None or unknown."""
        return self[key] if key in self else default  # noqa: SIM401 - this is `get`

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """The values of the fields that are not None."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """The (name, value) pairs of the fields that are not None."""
        return ItemsView(self)

    def to_tuple(self) -> tuple[Any, ...]:
        """The values of the fields that are not None, in their order."""
        return tuple(self[key] for key in self)

    def __repr__(self) -> str:
        shown = ((f.name, self.__dict__.get(f.name)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown)})"

    def __reduce__(self) -> Any:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        extra = [(key, self[key]) for key in self if key not in names]
        return type(self), tuple(getattr(self, name) for name in names), None, None, iter(extra)

    def __delitem__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse("__delitem__")

    def pop(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: an output keeps its fields."""
        self._refuse("pop")

    def popitem(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: an output keeps its fields."""
        self._refuse("popitem")

    def setdefault(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: an output keeps its fields."""
        self._refuse("setdefault")

    def update(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: set the field instead."""
        self._refuse("update")

    def _refuse(self, method: str) -> NoReturn:
        raise TypeError(f"{type(self).__name__} does not allow {method}")


def _as_pairs(value: Any) -> list[tuple[str, Any]] | None:
    """The (name, value) pairs that `value` consists of, or None if it is a field's value."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (torch.Tensor, str, Deferred)) or not isinstance(value, Iterable):
        return None
    pairs = list(value) if isinstance(value, (list, tuple)) or iter(value) is value else []
    is_pair = (
        isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
        for pair in pairs
    )
    return [tuple(pair) for pair in pairs] if pairs and all(is_pair) else None
