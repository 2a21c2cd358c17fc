"""From a checkpoint's tensors to a model's parameters: names, shapes, dtype and device."""

import contextvars
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vivace.hub import LazyTensor, match_weight_norm

logger = logging.getLogger(__name__)

_building_for_load = contextvars.ContextVar("_building_for_load", default=False)

Mismatch = tuple[str, tuple[int, ...], tuple[int, ...]]


@dataclass
class Match:
    """How the keys of a checkpoint and of a model go together."""

    found: dict[str, LazyTensor] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    unexpected: set[str] = field(default_factory=set)
    mismatched: set[Mismatch] = field(default_factory=set)  # key, shape in file, shape in model

    def fresh(self) -> set[str]:
        """The keys that the checkpoint cannot fill."""
        return self.missing | {key for key, _, _ in self.mismatched}

    def info(self) -> dict[str, Any]:
        """What `output_loading_info=True` returns."""
        return {
            "missing_keys": self.missing,
            "unexpected_keys": self.unexpected,
            "mismatched_keys": self.mismatched,
            "error_msgs": [],
        }


class _SkipInit(TorchFunctionMode):
    """Makes the functions of torch.nn.init do nothing, in this thread."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def building_for_load() -> Iterator[None]:
    """Models built in this context keep their weights uninitialised: a checkpoint fills them.

    The meta device would do the same for parameters, but buffers that are no part of the
    checkpoint would have to be computed a second time.
    """
    token = _building_for_load.set(True)
    try:
        with _SkipInit():
            yield
    finally:
        _building_for_load.reset(token)


def initialises_weights() -> bool:
    """False inside `building_for_load`."""
    return not _building_for_load.get()


def match_keys(
    tensors: Mapping[str, LazyTensor],
    model: nn.Module,
    *,
    base_model_prefix: str = "",
    unloaded_prefixes: tuple[str, ...] = (),
    computed_keys: str = "",
    tied_keys: Mapping[str, str] | None = None,
    key_mapping: Mapping[str, str] | None = None,
) -> Match:
    """Finds the model's keys in a checkpoint.

    key_mapping: regular expressions and replacements for the checkpoint's keys, applied in order.
    Keys under `unloaded_prefixes` are dropped silently, and so are those that match the pattern
    `computed_keys`. Where `tied_keys` names a key's source, the source is what it gets. Raises
    ValueError if a checkpoint that is not empty has nothing for this model, or if two keys get one
    name.
    """
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    named: dict[str, LazyTensor] = {}
    for key, tensor in tensors.items():
        name = _renamed(key, key_mapping or {})
        if base_model_prefix and name not in wanted:
            name = name.removeprefix(f"{base_model_prefix}.")
        if name in named:
            raise ValueError(f"from_pretrained: two keys of the checkpoint are named {name!r}")
        named[name] = tensor
    match = Match()
    for key, tensor in match_weight_norm(named, wanted).items():
        if key not in wanted:
            known = re.fullmatch(computed_keys, key) if computed_keys else None
            if not known and not key.startswith(unloaded_prefixes):
                match.unexpected.add(key)
        elif tensor.shape != wanted[key]:
            match.mismatched.add((key, tensor.shape, wanted[key]))
        else:
            match.found[key] = tensor
    for key, source in (tied_keys or {}).items():
        if source in match.found:
            match.found[key] = match.found[source]
    match.missing = set(wanted) - set(match.found) - {key for key, _, _ in match.mismatched}
    if tensors and len(match.missing) == len(wanted) > 0:
        raise ValueError(
            f"from_pretrained: the checkpoint has no weights of {type(model).__name__}; "
            f"its first key is {next(iter(tensors))!r}"
        )
    return match


def read_weights(
    found: Mapping[str, LazyTensor], model: nn.Module, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Copies what was found to the device, floating point values as `dtype`."""
    kinds = {key: value.dtype for key, value in model.state_dict().items()}
    weights = {}
    for key, tensor in found.items():
        kind = dtype if kinds[key].is_floating_point else kinds[key]
        # A copy: the values read may be a view of a file that somebody overwrites later.
        weights[key] = tensor.read().detach().to(device, kind, copy=True).contiguous()
    return weights


def report(match: Match, model: nn.Module, name: str, ignore_mismatched_sizes: bool) -> None:
    """Warns of keys that do not fit; raises RuntimeError for wrong sizes that are not ignored."""
    kind = type(model).__name__
    if match.mismatched:
        lines = [
            f"\n  {key}: {found} in the checkpoint, {wanted} in the model"
            for key, found, wanted in sorted(match.mismatched)
        ]
        if not ignore_mismatched_sizes:
            raise RuntimeError(
                f"from_pretrained: size mismatch between {name} and {kind}:{''.join(lines)}\n"
                "Pass `ignore_mismatched_sizes=True` to initialise these weights newly."
            )
        logger.warning(
            "Newly initialised in %s, sizes differ from %s:%s", kind, name, "".join(lines)
        )
    if match.missing:
        logger.warning(
            "Some weights of %s were not found in %s and are newly initialized: %s",
            kind,
            name,
            sorted(match.missing),
        )
    if match.unexpected:
        logger.warning(
            "Some weights of %s are not used by %s: %s", name, kind, sorted(match.unexpected)
        )


def resolve_dtype(
    dtype: str | torch.dtype | None, config_dtype: Any, tensors: Mapping[str, LazyTensor]
) -> torch.dtype:
    """The dtype to load as: given, or by "auto" the configuration's, or the checkpoint's."""
    if dtype is None or dtype == "auto":
        if isinstance(config_dtype, torch.dtype):
            return config_dtype
        floating = (t.dtype for t in tensors.values() if t.dtype.is_floating_point)
        return next(floating, torch.get_default_dtype())
    named = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise ValueError(
            "from_pretrained: dtype must be 'auto', a floating point torch.dtype or its name, "
            f"got {dtype!r}"
        )
    return named


def resolve_device(device_map: Any) -> torch.device:
    """The device of a `device_map`: the whole model goes to one device."""
    device = device_map
    if isinstance(device, dict) and set(device) == {""}:
        device = device[""]
    if device is None:
        device = torch.get_default_device()
    elif device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if isinstance(device, bool) or not isinstance(device, (str, int, torch.device)):
            raise TypeError("not a device")
        device = torch.device(f"cuda:{device}" if isinstance(device, int) else device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            "from_pretrained: device_map must be 'auto', a device ('cpu', 'cuda', 'cuda:1', 0, "
            f"torch.device) or {{'': device}}, got {device_map!r}"
        ) from error
    if device.type == "meta":
        raise ValueError("from_pretrained: the meta device cannot hold weights")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"from_pretrained: device_map={device_map!r}, but torch sees "
            f"{torch.cuda.device_count()} CUDA devices"
        )
    return device


def _renamed(key: str, key_mapping: Mapping[str, str]) -> str:
    for pattern, replacement in key_mapping.items():
        key = re.sub(pattern, replacement, key)
    return key
