"""The configuration of schedulers: the arguments of `__init__`, in the format of diffusers."""

import functools
import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np

from vivace.hub import Source, push_folder, read_json, write_json

logger = logging.getLogger(__name__)

CONFIG_NAME = "scheduler_config.json"
# The version of diffusers whose format of scheduler_config.json is written here.
FORMAT_VERSION = "0.42.1"

C = TypeVar("C", bound="ConfigMixin")
Init = TypeVar("Init", bound=Callable[..., None])

_DEFAULTED = "_use_default_values"
# Options of diffusers' schedulers that have no class here: no reason for a warning.
_FOREIGN_OPTIONS = {"noise_sampler_seed", "rho", "sigma_data", "sigma_schedule", "max_beta"}
_SOURCE_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")


class FrozenDict(dict[str, Any]):
    """A dict that cannot change and whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no entry {name!r}") from None

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a configuration cannot change: make a new scheduler with from_config")

    __setattr__ = __setitem__ = __delitem__ = __delattr__ = __ior__ = _refuse
    pop = popitem = setdefault = update = clear = _refuse


def registers_config(init: Init) -> Init:
    """Decorates `__init__`: its arguments become `self.config` before it runs.

    The names of those that were not given are kept in the entry `_use_default_values`: another
    scheduler made from the configuration then takes its own defaults for them. Keyword arguments
    that begin with an underscore are entries of the configuration and do not reach `__init__`.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: "ConfigMixin", *args: Any, **kwargs: Any) -> None:
        private = {key: kwargs.pop(key) for key in list(kwargs) if key.startswith("_")}
        bound = signature.bind(self, *args, **kwargs)
        given = set(bound.arguments)
        bound.apply_defaults()
        entries = {name: value for name, value in bound.arguments.items() if name != "self"}
        private[_DEFAULTED] = [name for name in entries if name not in given]
        self._config = FrozenDict({**private, **entries})
        init(self, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


class ConfigMixin:
    """Loading, saving and exchanging schedulers by their configuration."""

    config_name = CONFIG_NAME
    _registry: ClassVar[dict[str, type["ConfigMixin"]]] = {}
    _config: FrozenDict

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:  # not the bases
            ConfigMixin._registry[cls.__name__] = cls

    @property
    def config(self) -> FrozenDict:
        """The arguments that the scheduler was made with, and entries that other classes use."""
        return self._config

    def register_to_config(self, **entries: Any) -> None:
        """Replaces the configuration by one with these entries; the scheduler stays as it is."""
        self._config = FrozenDict({**self._config, **entries})

    @property
    def compatibles(self) -> list[type["ConfigMixin"]]:
        """The classes that `from_config` can make from this configuration."""
        return list(self._registry.values())

    @classmethod
    def _options(cls) -> set[str]:
        return set(inspect.signature(cls.__init__).parameters) - {"self"}

    @classmethod
    def from_config(
        cls: type[C],
        config: Mapping[str, Any] | None = None,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The scheduler of a configuration, which may be that of another class or of diffusers.

        Keyword arguments override entries. Entries that this class does not know are kept in its
        configuration, and entries that were a default of the other class are left to this one, so
        that exchanging schedulers back and forth loses nothing. `return_unused_kwargs`: returns
        (scheduler, entries and arguments that were not used). Raises TypeError if `config` is no
        mapping.
        """
        if not isinstance(config, Mapping):
            raise TypeError(
                f"{cls.__name__}.from_config: config must be a mapping (a scheduler's `config`), "
                f"got {type(config).__name__}; files are read by from_pretrained"
            )
        defaulted = {_DEFAULTED, *config.get(_DEFAULTED, ())}
        entries = {key: value for key, value in config.items() if key not in defaulted}
        options = cls._options()
        chosen = {key: value for key, value in entries.items() if key in options}
        chosen.update((key, kwargs.pop(key)) for key in list(kwargs) if key in options)
        kept = {key: value for key, value in entries.items() if key not in chosen}
        _warn_of_unknown(cls, kept)
        if "_class_name" in kept:
            kept["_class_name"] = cls.__name__
        scheduler = cls(**chosen)
        scheduler.register_to_config(**kept)
        return (scheduler, {**kept, **kwargs}) if return_unused_kwargs else scheduler

    @classmethod
    def from_pretrained(
        cls: type[C],
        pretrained_model_name_or_path: str | os.PathLike[str],
        subfolder: str | None = None,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The scheduler whose scheduler_config.json is in a folder or a repository of the Hub.

        subfolder: where in it, "scheduler" in a saved pipeline; a folder without it is read itself.
        cache_dir, force_download, local_files_only, token, revision and proxies as for models; the
        other keyword arguments as in `from_config`. Raises OSError if there is no readable file.
        """
        for name in ("mirror", "output_loading_info", "user_agent"):
            kwargs.pop(name, None)
        options = {name: kwargs.pop(name) for name in _SOURCE_OPTIONS if name in kwargs}
        options["proxies"] = kwargs.pop("proxies", None)
        source = Source(pretrained_model_name_or_path, subfolder=subfolder or "", **options)
        if source.folder is not None and source.find(CONFIG_NAME) is None:
            whole = Source(pretrained_model_name_or_path, **options)
            source = whole if whole.find(CONFIG_NAME) is not None else source
        config = read_json(source.get(CONFIG_NAME))
        return cls.from_config(config, return_unused_kwargs=return_unused_kwargs, **kwargs)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Writes scheduler_config.json into a folder, made if missing, for us and for diffusers.

        `push_to_hub` uploads it to `repo_id` (default: the name of the folder).
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG_NAME, self._to_dict())
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", folder.resolve().name)
            kwargs.setdefault("commit_message", "Upload scheduler")
            push_folder(folder, repo_id, [CONFIG_NAME], **kwargs)

    def _to_dict(self) -> dict[str, Any]:
        hidden = (_DEFAULTED, "_ignore_files")
        content = {key: _plain(value) for key, value in self._config.items() if key not in hidden}
        return {
            **content,
            "_class_name": type(self).__name__,
            "_diffusers_version": FORMAT_VERSION,
        }

    def to_json_string(self) -> str:
        """The content of scheduler_config.json."""
        return json.dumps(self._to_dict(), indent=2, sort_keys=True) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


def _warn_of_unknown(cls: type[ConfigMixin], kept: dict[str, Any]) -> None:
    if kept.get("_class_name", cls.__name__) not in ConfigMixin._registry:
        return  # a class that only diffusers has: its options are unknown here
    known = _FOREIGN_OPTIONS.union(*(kind._options() for kind in ConfigMixin._registry.values()))
    unknown = sorted(key for key in kept if key not in known and not key.startswith("_"))
    if unknown:
        logger.warning("%s has no options %s: they have no effect.", cls.__name__, unknown)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
