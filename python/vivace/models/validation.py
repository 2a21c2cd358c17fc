"""Checks of configuration fields against their type annotations, as strict as huggingface_hub's."""

import types
from typing import Any, Union, get_args, get_origin


class StrictDataclassFieldValidationError(ValueError, TypeError):
    """A field of a configuration has a value of the wrong type; the message names the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"Validation error for field '{field}':\n    {reason}")
        self.field = field
        self.reason = reason

    def __reduce__(self) -> Any:
        return type(self), (self.field, self.reason)


def check_field(name: str, value: Any, expected: Any) -> None:
    """Raises StrictDataclassFieldValidationError unless `value` has the type `expected`.

    Nothing is converted: an int is no float, a bool is no int.
    """
    if not _matches(value, expected):
        wanted = getattr(expected, "__name__", None) if not get_args(expected) else str(expected)
        raise StrictDataclassFieldValidationError(
            name,
            f"TypeError: Field '{name}' expected {wanted}, "
            f"got {type(value).__name__} (value: {value!r})",
        )


def _matches(value: Any, expected: Any) -> bool:
    origin, arguments = get_origin(expected), get_args(expected)
    if expected is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_matches(value, choice) for choice in arguments)
    if origin is list:
        return isinstance(value, list) and all(_matches(item, arguments[0]) for item in value)
    if origin is tuple:
        return isinstance(value, tuple) and all(_matches(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if expected is int and isinstance(value, bool):
        return False
    return isinstance(value, expected)
