"""Pipeline: a folder of components with a model_index.json, as diffusers lays it out."""

import copy
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn
from tqdm import tqdm

from vivace.hub import Source, push_folder, read_json, write_json

INDEX_NAME = "model_index.json"
# The version of diffusers whose layout is written here.
FORMAT_VERSION = "0.42.1"

P = TypeVar("P", bound="Pipeline")

_SOURCE = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "token",
    "revision",
    "proxies",
)
# Options of diffusers' from_pretrained that change nothing here.
_WITHOUT_EFFECT = (
    "low_cpu_mem_usage",
    "max_memory",
    "offload_folder",
    "offload_state_dict",
    "use_onnx",
    "custom_pipeline",
    "custom_revision",
    "mirror",
    "disable_mmap",
    "trust_remote_code",
    "output_loading_info",
)


class Pipeline:
    """Base of pipelines. A subclass lists its components: name -> (library, class)."""

    component_classes: ClassVar[dict[str, tuple[str, type[Any]]]] = {}

    def __init__(self, **components: Any) -> None:
        self._components = components
        self._progress: dict[str, Any] = {}
        self.name_or_path = ""

    def __getattr__(self, name: str) -> Any:
        components = self.__dict__.get("_components", {})
        if name in components:
            return components[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.component_classes:
            self._components[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def components(self) -> dict[str, Any]:
        """The parts by name: what another pipeline can be made from."""
        return dict(self._components)

    @property
    def config(self) -> dict[str, Any]:
        """What model_index.json says: (library, class) of each component."""
        index: dict[str, Any] = {"_class_name": type(self).__name__}
        for name, component in self._components.items():
            library = self.component_classes[name][0]
            index[name] = [library, type(component).__name__]
        return index

    @property
    def device(self) -> torch.device:
        """The device of the models: the first that is not the CPU."""
        devices = [next(m.parameters()).device for m in self._modules()]
        return next((d for d in devices if d.type != "cpu"), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the models."""
        dtype: torch.dtype = self._modules()[0].dtype  # type: ignore[assignment]
        return dtype

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Moves the models to a device or dtype, as `torch.nn.Module.to` takes them."""
        for module in self._modules():
            module.to(*args, **kwargs)
        return self

    def progress_bar(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> Any:
        """A tqdm bar with the settings of `set_progress_bar_config`."""
        if iterable is None and total is None:
            raise ValueError("Either `total` or `iterable` has to be defined.")
        return tqdm(iterable, total=total, **self._progress)

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Settings of tqdm, such as `disable=True`."""
        self._progress = kwargs

    @classmethod
    def from_pipe(cls: type[P], pipeline: "Pipeline", **kwargs: Any) -> P:
        """A pipeline of the components of another, with some replaced."""
        return cls(**{**pipeline.components, **kwargs})

    @classmethod
    def from_pretrained(
        cls: type[P],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
        torch_dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
        variant: str | None = None,
        use_safetensors: bool | None = None,
        device_map: Any = None,
        **kwargs: Any,
    ) -> P:
        """The pipeline in a folder or a repository of the Hub, in eval mode.

        dtype: of all models, or by component with "default" for the others. Keywords that are
        components replace what is in the folder. The other options as for models. Raises OSError
        for missing files, ValueError for a folder of another pipeline, TypeError for unknown
        keywords.
        """
        for name in _WITHOUT_EFFECT:
            kwargs.pop(name, None)
        name = os.fspath(pretrained_model_name_or_path)
        options = {key: kwargs.pop(key) for key in _SOURCE if key in kwargs}
        given = {key: kwargs.pop(key) for key in cls.component_classes if key in kwargs}
        if kwargs:
            raise TypeError(f"{cls.__name__}.from_pretrained: unknown keywords {sorted(kwargs)}")
        index = read_json(Source(name, **options).get(INDEX_NAME))
        found = index.get("_class_name", cls.__name__)
        if found != cls.__name__:
            raise ValueError(
                f"{cls.__name__}.from_pretrained: {INDEX_NAME} of {name} is of a {found}"
            )
        wanted = torch_dtype if dtype is None else dtype
        components = dict(given)
        for part, (_, declared) in cls.component_classes.items():
            if part in given:
                continue
            if part not in index:
                raise ValueError(f"{cls.__name__}.from_pretrained: {INDEX_NAME} has no {part!r}")
            kind: Any = cls._class_of(part, declared, index[part])
            settings = dict(options)
            if issubclass(kind, nn.Module):
                settings |= {"variant": variant, "use_safetensors": use_safetensors}
                settings |= {"device_map": device_map, "dtype": _dtype_of(wanted, part)}
            components[part] = kind.from_pretrained(name, subfolder=part, **settings)
        pipeline = cls(**components)
        pipeline.name_or_path = name
        return pipeline

    @classmethod
    def _class_of(cls, part: str, kind: type[Any], entry: Any) -> type[Any]:
        """The class of a component, by its entry in the index."""
        return kind

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Writes every component and model_index.json, for us and for diffusers."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for part, component in self._components.items():
            settings: dict[str, Any] = {}
            if isinstance(component, nn.Module):
                settings = {"variant": variant, "safe_serialization": safe_serialization}
                settings["max_shard_size"] = max_shard_size
            component.save_pretrained(folder / part, **settings)
        write_json(folder / INDEX_NAME, {**self.config, "_diffusers_version": FORMAT_VERSION})
        if push_to_hub:
            files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
            push_folder(folder, kwargs.pop("repo_id", folder.resolve().name), files, **kwargs)
        elif kwargs:
            raise TypeError(f"save_pretrained: unknown keyword arguments {sorted(kwargs)}")

    def _modules(self) -> list[nn.Module]:
        found = [m for _, m in sorted(self._components.items()) if isinstance(m, nn.Module)]
        if not found:
            raise ValueError(f"{type(self).__name__} has no models")
        return found

    def __deepcopy__(self: P, memo: dict[int, Any]) -> P:
        return type(self)(**copy.deepcopy(self._components, memo))

    def __repr__(self) -> str:
        parts = ", ".join(f"{k}={type(v).__name__}" for k, v in self._components.items())
        return f"{type(self).__name__}({parts})"


def _dtype_of(dtype: Any, part: str) -> torch.dtype | None:
    if isinstance(dtype, Mapping):
        dtype = dtype.get(part, dtype.get("default"))
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise ValueError(f"from_pretrained: dtype must be a torch.dtype or a dict, got {dtype!r}")
    return dtype
