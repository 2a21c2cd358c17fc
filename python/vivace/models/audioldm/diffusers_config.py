"""DiffusersConfig: the fields of a diffusers config.json, reached as attributes or as items."""

import logging
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import fields
from typing import Any, ClassVar

from vivace.models.configuration import PreTrainedConfig

logger = logging.getLogger(__name__)

# The version of diffusers whose format of config.json is written here.
FORMAT_VERSION = "0.42.1"

_BASE_FIELDS = {declared.name for declared in fields(PreTrainedConfig)}


class DiffusersConfig(PreTrainedConfig):
    """Base of the configurations of diffusers' models.

    As a mapping it has the fields that the subclass declares, `_class_name` and
    `_diffusers_version`: what config.json holds. Unknown keys are dropped with a warning, unknown
    keys that begin with "_" without one, as in diffusers.

    `_fixed` names the fields for which only some values are implemented.
    """

    _class_name: ClassVar[str] = ""
    _diffusers_version: ClassVar[str] = FORMAT_VERSION
    _fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}

    def __post_init__(self, **kwargs: Any) -> None:
        name_or_path = kwargs.pop("name_or_path", "")
        made_for = kwargs.get("_class_name", self._class_name)
        if made_for != self._class_name:
            logger.warning("A configuration of %s is used for %s.", made_for, self._class_name)
        unknown = {key: value for key, value in kwargs.items() if not key.startswith("_")}
        if unknown:
            logger.warning(
                "The config attributes %s were passed to %s, but are not expected and will be "
                "ignored.",
                unknown,
                self._class_name,
            )
        super().__post_init__(name_or_path=name_or_path)

    def check(self) -> None:
        """Raises ValueError for a value that is not implemented, naming its key."""
        for key, allowed in self._fixed.items():
            value = getattr(self, key)
            given = value if isinstance(value, (list, tuple)) else [value]
            if not all(one in allowed for one in given):
                raise ValueError(
                    f"{self._class_name}: {key} must be {' or '.join(map(repr, allowed))}, "
                    f"got {value!r}"
                )

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds, tuples as lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self.items()}

    def to_diff_dict(self) -> dict[str, Any]:
        """As `to_dict`: diffusers writes the fields that have their default, too."""
        return self.to_dict()

    def _public(self) -> dict[str, Any]:
        own = (declared.name for declared in fields(self) if declared.name not in _BASE_FIELDS)
        values = {name: getattr(self, name) for name in own}
        named = {"_class_name": self._class_name, "_diffusers_version": self._diffusers_version}
        return values | named

    def __getitem__(self, key: str) -> Any:
        return self._public()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._public()

    def __iter__(self) -> Iterator[str]:
        return iter(self._public())

    def __len__(self) -> int:
        return len(self._public())

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default if there is no such key."""
        return self._public().get(key, default)

    def keys(self) -> KeysView[str]:
        """The keys of config.json."""
        return self._public().keys()

    def values(self) -> ValuesView[Any]:
        """The values of config.json."""
        return self._public().values()

    def items(self) -> ItemsView[str, Any]:
        """The (key, value) pairs of config.json."""
        return self._public().items()
