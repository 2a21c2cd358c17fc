"""PreTrainedConfig: the fields of a config.json, with transformers' rules for reading them."""

import copy
import json
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

import torch

from vivace.hub import Source, push_folder, read_json, write_json
from vivace.models.validation import StrictDataclassFieldValidationError, check_field

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
# The version of transformers whose format of config.json is written here.
FORMAT_VERSION = "5.23.0"

C = TypeVar("C", bound="PreTrainedConfig")

_NONFINITE = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


@dataclass(init=False, repr=False, eq=False)
class PreTrainedConfig:
    """Base of the configurations; subclasses declare their fields with annotations and defaults.

    Fields are checked against their annotation whenever they are set. Keyword arguments that are no
    field become attributes, are written to config.json too, and are set last: they override what
    `__post_init__` computed. Raises StrictDataclassFieldValidationError (a ValueError and
    TypeError) that names the field.

    `attribute_map` gives fields second names. `sub_configs` names the fields that hold the
    configuration of a part: None or a dict becomes an instance of its class. A part's class says
    under which key of the whole it stands (`base_config_key`), and is read from there too.
    """

    model_type: ClassVar[str] = ""
    base_config_key: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}
    sub_configs: ClassVar[dict[str, type["PreTrainedConfig"]]] = {}
    _field_types: ClassVar[dict[str, Any]] = {}

    transformers_version: str | None = None
    architectures: list[str] | None = None
    output_hidden_states: bool | None = False
    return_dict: bool | None = True
    dtype: str | torch.dtype | None = None
    chunk_size_feed_forward: int = 0
    is_encoder_decoder: bool = False
    output_attentions: bool | None = False
    # Two classes unless said otherwise: what transformers has for every model, also for codecs.
    id2label: dict[Any, str] | None = field(default_factory=lambda: {0: "LABEL_0", 1: "LABEL_1"})
    label2id: dict[str, Any] | None = field(default_factory=lambda: {"LABEL_0": 0, "LABEL_1": 1})
    problem_type: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(cls, init=False, repr=False, eq=False)
        hints = get_type_hints(cls)
        cls._field_types = {declared.name: hints[declared.name] for declared in fields(cls)}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args:
            raise ValueError(
                f"{type(self).__name__} accepts only keyword arguments, "
                f"but found `{len(args)}` positional args."
            )
        for declared in fields(self):
            name = declared.name
            setattr(self, name, kwargs.pop(name) if name in kwargs else _default(declared))
        self.__post_init__(**kwargs)

    def __post_init__(self, **kwargs: Any) -> None:
        torch_dtype = kwargs.pop("torch_dtype", None)
        if self.dtype is None and torch_dtype is not None:
            self.dtype = torch_dtype
        if self.id2label is not None:
            # JSON has no integer keys.
            self.id2label = {int(key): label for key, label in self.id2label.items()}
        self._name_or_path = str(kwargs.pop("name_or_path", ""))
        for key, kind in self.sub_configs.items():
            part = getattr(self, key)
            if not isinstance(part, PreTrainedConfig):
                setattr(self, key, kind.from_dict(part or {}))
        for key, value in kwargs.items():
            setattr(self, key, value)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).attribute_map:
            return getattr(self, type(self).attribute_map[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        name = type(self).attribute_map.get(name, name)
        if name in self._field_types:
            check_field(name, value, self._field_types[name])
            if name == "dtype" and isinstance(value, str):
                value = _dtype_named(value)
        super().__setattr__(name, value)

    @property
    def name_or_path(self) -> str:
        """What `from_pretrained` was given, "" for a configuration made by hand."""
        return self._name_or_path

    @name_or_path.setter
    def name_or_path(self, value: object) -> None:
        if self.id2label is not None:
            # JSON has no integer keys.
            self.id2label = {int(key): label for key, label in self.id2label.items()}
        self._name_or_path = str(value)

    @property
    def torch_dtype(self) -> str | torch.dtype | None:
        """The old name of `dtype`."""
        return self.dtype

    @torch_dtype.setter
    def torch_dtype(self, value: str | torch.dtype | None) -> None:
        self.dtype = value

    @property
    def use_return_dict(self) -> bool | None:
        """The old name of `return_dict`."""
        return self.return_dict

    def update(self, config_dict: dict[str, Any]) -> None:
        """Sets every entry of the dict as an attribute; computed fields are not computed anew."""
        for key, value in config_dict.items():
            setattr(self, key, value)

    def to_dict(self) -> dict[str, Any]:
        """All attributes as plain values: tuples as lists, the dtype by its name."""
        output = {key: _plain(value) for key, value in copy.deepcopy(self.__dict__).items()}
        output["model_type"] = self.model_type
        output["transformers_version"] = FORMAT_VERSION
        return output

    def to_diff_dict(self) -> dict[str, Any]:
        """What config.json holds: `to_dict` without the base fields that have their default."""
        output = self.to_dict()
        for key in self.sub_configs:
            output[key] = getattr(self, key).to_diff_dict()
            del output[key]["transformers_version"]
        del output["_name_or_path"]
        for declared in fields(PreTrainedConfig):
            if declared.name in output and output[declared.name] == _default(declared):
                del output[declared.name]
        return output

    def to_json_string(self, use_diff: bool = True) -> str:
        """`to_diff_dict` (or `to_dict`) as JSON text."""
        content = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(_tag_nonfinite(content), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Writes `to_json_string` to a file, atomically."""
        content = self.to_diff_dict() if use_diff else self.to_dict()
        write_json(json_file_path, _tag_nonfinite(content))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Writes config.json into a folder, made if missing; `push_to_hub` uploads it too."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.to_json_file(folder / CONFIG_NAME)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", folder.resolve().name)
            push_folder(folder, repo_id, [CONFIG_NAME], **kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        **kwargs: Any,
    ) -> Any:
        """The configuration in a folder, a JSON file or a repository of the Hub.

        Keyword arguments that are attributes of the configuration override the file; the others are
        ignored, or returned as (config, unused) with `return_unused_kwargs=True`. `subfolder` and
        `proxies` as in the model's `from_pretrained`. Raises OSError if there is no readable file.
        """
        source = Source(
            pretrained_model_name_or_path,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            revision=revision,
            subfolder=kwargs.pop("subfolder", ""),
            proxies=kwargs.pop("proxies", None),
        )
        return cls.from_source(source, **kwargs)

    @classmethod
    def from_source(cls, source: Source, **kwargs: Any) -> Any:
        """As `from_pretrained`, with the options of an opened source."""
        path = Path(source.name) if Path(source.name).is_file() else source.get(CONFIG_NAME)
        config_dict = _untag_nonfinite(read_json(path))
        if config_dict.get("model_type") != cls.model_type:
            config_dict = config_dict.get(cls.base_config_key) or config_dict
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            logger.warning(
                "You are using a model of type `%s` to instantiate a model of type `%s`. "
                "This is not supported for all configurations of models and can yield errors.",
                found,
                cls.model_type,
            )
        return cls.from_dict(config_dict, **kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The configuration of a dict; keyword arguments as in `from_pretrained`."""
        return_unused_kwargs = kwargs.pop("return_unused_kwargs", False)
        given = dict(config_dict)
        given.pop("model_type", None)
        for key in ("dtype", "torch_dtype"):
            if kwargs.get(key) == "auto":
                del kwargs[key]
        config = cls(**given)
        unused = {}
        for key, value in kwargs.items():
            if hasattr(config, key):
                setattr(config, key, value)
            else:
                unused[key] = value
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def from_json_file(cls: type[C], json_file: str | os.PathLike[str]) -> C:
        """The configuration in a JSON file."""
        return cls(**_untag_nonfinite(read_json(json_file)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PreTrainedConfig) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


PreTrainedConfig._field_types = {
    declared.name: get_type_hints(PreTrainedConfig)[declared.name]
    for declared in fields(PreTrainedConfig)
}


def _default(declared: Field[Any]) -> Any:
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    if declared.default is MISSING:
        raise TypeError(f"missing required field {declared.name!r}")
    return declared.default


def _dtype_named(name: str) -> torch.dtype:
    dtype = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        raise StrictDataclassFieldValidationError(
            "dtype", f"ValueError: expected the name of a torch dtype, got {name!r}"
        )
    return dtype


def _plain(value: Any) -> Any:
    """Containers as JSON has them, dtypes by name."""
    if isinstance(value, PreTrainedConfig):
        return value.to_dict()
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _tag_nonfinite(value: Any) -> Any:
    """JSON has no infinities: {"__float__": "Infinity"}, as transformers writes them."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"}
    if isinstance(value, dict):
        return {key: _tag_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tag_nonfinite(item) for item in value]
    return value


def _untag_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__float__"} and value["__float__"] in _NONFINITE:
            return _NONFINITE[value["__float__"]]
        return {key: _untag_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_untag_nonfinite(item) for item in value]
    return value
