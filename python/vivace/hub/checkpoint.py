"""Checkpoints as lazy tensors: safetensors or `.bin`, whole or in shards, read key by key."""

import math
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vivace.hub.files import Source, read_json

SAFETENSORS_NAME = "model.safetensors"
PICKLED_NAME = "pytorch_model.bin"

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


class LazyTensor(NamedTuple):
    """A tensor of a checkpoint: shape and dtype are known, the values are read by `read()`.

    What `read` returns may share memory with the file: copy it before writing to it or keeping it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def lazy_tensors(state_dict: Mapping[str, Tensor]) -> dict[str, LazyTensor]:
    """The tensors of a state dict as lazy tensors. Raises ValueError if a value is no tensor."""
    tensors = {}
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"a state dict must map names to tensors, got {type(value).__name__} under {key!r}"
            )
        tensors[key] = LazyTensor(tuple(value.shape), value.dtype, _constant(value))
    return tensors


def open_checkpoint(
    source: Source,
    variant: str | None = None,
    use_safetensors: bool | None = None,
    stem: str | None = None,
) -> dict[str, LazyTensor]:
    """The weights of a source: model.safetensors or its shards, else pytorch_model.bin or shards.

    variant: "fp16" means model.fp16.safetensors. use_safetensors: True for safetensors only, False
    for `.bin` only. stem: another name than "model" and "pytorch_model". Raises OSError if there
    are no weights or a file is damaged, ValueError if a `.bin` file holds anything but tensors.
    """
    names = [] if use_safetensors is False else [weights_name(True, stem)]
    names += [] if use_safetensors else [weights_name(False, stem)]
    candidates = [with_variant(name, variant) for name in names]
    for name, candidate in zip(names, candidates, strict=True):
        path = source.find(candidate)
        if path is not None:
            return _open_file(path)
        index = source.find(with_variant(f"{name}.index.json", variant))
        if index is not None:
            return _open_shards(source, index)
    raise OSError(f"{source.describe()} has no weights: no file named {' or '.join(candidates)}")


def weights_name(safetensors: bool, stem: str | None = None) -> str:
    """The name of a file of weights, with another stem than transformers' if one is given."""
    if stem is not None:
        return f"{stem}.safetensors" if safetensors else f"{stem}.bin"
    return SAFETENSORS_NAME if safetensors else PICKLED_NAME


def with_variant(filename: str, variant: str | None) -> str:
    """The variant's file name: ("model.safetensors", "fp16") -> "model.fp16.safetensors"."""
    if not variant:
        return filename
    stem, _, suffix = filename.rpartition(".")
    return f"{stem}.{variant}.{suffix}"


def load_pickled(path: str | os.PathLike[str]) -> Any:
    """The content of a file of `torch.save`, mapped into memory, on the CPU.

    Only tensors and plain containers are read, never code. Raises ValueError if the file asks for
    anything else, OSError if it is missing or damaged.
    """
    path = os.fspath(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Files older than torch 1.6 are no archives and cannot be mapped.
            mmap = zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        # torch's own text advises to load with weights_only=False; not for a stranger's file.
        if "nsupported" in str(error):
            asked = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f"asks for {asked[1]}" if asked else "holds more than tensors"
            raise ValueError(
                f"the file {path} {what}: refused, only tensors and plain containers are read"
            ) from error
        raise OSError(f"the file {path} is damaged or was not written by torch.save") from error
    except Exception as error:
        # The legacy reader answers foreign bytes with any exception (KeyError, EOFError, ...).
        raise OSError(f"the file {path} is damaged or was not written by torch.save") from error


def _open_file(path: Path) -> dict[str, LazyTensor]:
    if path.name.endswith(".safetensors"):
        return _open_safetensors(path)
    content = load_pickled(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"the file {path} must hold a state dict, got {type(content).__name__}")
    try:
        return lazy_tensors(content)
    except ValueError as error:
        raise ValueError(f"the file {path} holds no weights: {error}") from error


def _open_safetensors(path: Path) -> dict[str, LazyTensor]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise OSError(f"the file {path} is damaged or no safetensors file: {error}") from error
    tensors = {}
    for key in file.keys():  # noqa: SIM118 - the file is no mapping
        header = file.get_slice(key)
        dtype = _DTYPES.get(header.get_dtype())
        if dtype is None:
            raise ValueError(f"the file {path} holds {header.get_dtype()} values under {key!r}")
        tensors[key] = LazyTensor(tuple(header.get_shape()), dtype, _getter(file, key))
    return tensors


def _open_shards(source: Source, index: Path) -> dict[str, LazyTensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise OSError(f"the file {index} has no weight_map")
    shards: dict[str, dict[str, LazyTensor]] = {}
    tensors = {}
    for key, name in weight_map.items():
        if not isinstance(name, str) or not _stays_inside(name):
            raise ValueError(f"the file {index} points outside of its folder: {name!r}")
        if name not in shards:
            shards[name] = _open_file(source.get(name))
        if key not in shards[name]:
            raise OSError(f"the shard {name} has no {key!r}, which {index.name} promises")
        tensors[key] = shards[name][key]
    return tensors


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and "\\" not in name and not path.is_absolute() and ".." not in path.parts


def _constant(value: Tensor) -> Callable[[], Tensor]:
    return lambda: value


def _getter(file: Any, key: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        value: Tensor = file.get_tensor(key)
        return value

    return read
