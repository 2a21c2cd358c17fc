"""GenerationConfig: the settings of generation in a generation_config.json."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vivace.hub import Source, read_json, write_json
from vivace.models.configuration import FORMAT_VERSION

GENERATION_CONFIG_NAME = "generation_config.json"

G = TypeVar("G", bound="GenerationConfig")


class GenerationConfig:
    """Settings by name: attributes, which are entries too (`config["top_k"]`, `{**config}`).

    A subclass lists its settings and their defaults in `defaults`. What else is given is kept and
    written again, so that a file from elsewhere loses nothing.
    """

    model_type: ClassVar[str] = ""
    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, **kwargs: Any) -> None:
        for key, value in {**copy.deepcopy(self.defaults), **kwargs}.items():
            if key not in ("model_type", "transformers_version"):
                setattr(self, key, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}")

    def update(self, **kwargs: Any) -> dict[str, Any]:
        """Sets the settings that this configuration has; returns the others."""
        unused = {key: value for key, value in kwargs.items() if key not in self.__dict__}
        for key, value in kwargs.items():
            if key not in unused:
                setattr(self, key, value)
        return unused

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, nested ones as dicts."""
        settings = copy.deepcopy(self.__dict__)
        for key, value in settings.items():
            if isinstance(value, GenerationConfig):
                settings[key] = value.to_dict()
        if self.model_type:
            settings["model_type"] = self.model_type
        return settings

    @classmethod
    def from_dict(cls: type[G], config_dict: dict[str, Any], **kwargs: Any) -> G:
        """The configuration of a dict; keyword arguments override it."""
        return cls(**{**config_dict, **kwargs})

    @classmethod
    def from_pretrained(
        cls: type[G],
        pretrained_model_name: str | os.PathLike[str],
        config_file_name: str = GENERATION_CONFIG_NAME,
        **kwargs: Any,
    ) -> G:
        """The configuration in a folder or a repository of the Hub.

        `cache_dir`, `force_download`, `local_files_only`, `token`, `revision` and `subfolder` as in
        the model's `from_pretrained`; other keywords override the file. Raises OSError if there is
        no readable file.
        """
        names = ("cache_dir", "force_download", "local_files_only", "token", "revision")
        options = {key: kwargs.pop(key) for key in (*names, "subfolder") if key in kwargs}
        source = Source(pretrained_model_name, **options)
        return cls.from_dict(read_json(source.get(config_file_name)), **kwargs)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        config_file_name: str = GENERATION_CONFIG_NAME,
    ) -> None:
        """Writes the settings into a folder, made if missing. Raises OSError if that fails."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        content = {**self.to_dict(), "transformers_version": FORMAT_VERSION}
        write_json(folder / config_file_name, content)

    def keys(self) -> Iterator[str]:
        """The names of the settings."""
        return iter(self.__dict__)

    def get(self, key: str, default: Any = None) -> Any:
        """A setting, or the default if it is missing."""
        return self.__dict__.get(key, default)

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key]

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_dict()}"
