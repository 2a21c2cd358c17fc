"""CUDA graphs: a call is captured once per shape and replayed, for every model, here alone.

The first call with new shapes runs as it is, which also warms it up (packed weights, loaded
kernels); the second is captured; later ones replay. A graph is captured again when a weight has
changed. All graphs allocate from one pool: they never run at the same time, and results are copied
out before the next replay.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vivace._config import config

Function = Callable[..., Any]  # tensors -> a tensor or a tuple of tensors

_lock = threading.RLock()


@dataclass
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: Any


@dataclass
class _Seen:
    weights: tuple[Any, ...]  # as they were when the call ran
    captured: _Captured | None = None


class _Pool:
    """The memory that all graphs of a device share, and the event after which it is free again."""

    def __init__(self, device: torch.device) -> None:
        with torch.cuda.device(device):
            self.handle = torch.cuda.graph_pool_handle()
            self.side = torch.cuda.Stream(device)
            self.free = torch.cuda.Event()


_pools: dict[torch.device, _Pool] = {}


class Graphs:
    """A bounded cache of captured calls of one module; the least recently used goes first."""

    def __init__(self, module: nn.Module, limit: int = 16) -> None:
        self._module = module
        self._limit = limit
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()
        self._holders: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return sum(seen.captured is not None for seen in self._seen.values())

    def __deepcopy__(self, memo: dict[int, Any]) -> "Graphs":
        return Graphs(memo.get(id(self._module), self._module), self._limit)

    def __reduce__(self) -> tuple[Any, ...]:
        return Graphs, (self._module, self._limit)

    def call(self, name: Hashable, function: Function, *inputs: Tensor) -> Any:
        """``function(*inputs)``, replayed where that is possible.

        ``function`` must depend on nothing but the inputs, the module's weights, ``name`` and
        tensors with fixed addresses, and must not synchronise. Without a GPU, with gradients,
        under torch.compile or inside another capture it is simply called.
        """
        if not self._possible(inputs):
            return function(*inputs)
        key = (name, *((x.shape, x.stride(), x.dtype, x.device) for x in inputs))
        with _lock:
            weights = self._weights()
            seen = self._seen.get(key)
            if seen is None or seen.weights != weights:
                # Also after a change of weights: what is packed during a capture would belong to
                # the graph.
                self._remember(key, _Seen(weights))
                return function(*inputs)
            self._seen.move_to_end(key)
            if seen.captured is None:
                seen.captured = self._capture(function, inputs)
            return self._replay(seen.captured, inputs)

    def _possible(self, inputs: tuple[Tensor, ...]) -> bool:
        if not inputs[0].is_cuda or not config()["cuda_graphs"]:
            return False
        if torch.compiler.is_compiling() or torch.cuda.is_current_stream_capturing():
            return False
        if not torch.is_grad_enabled():
            return True
        tensors = [*inputs, *self._module.parameters()]
        return not any(t.requires_grad for t in tensors)

    def _remember(self, key: Hashable, seen: _Seen) -> None:
        self._seen[key] = seen
        self._seen.move_to_end(key)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)

    def _capture(self, function: Function, inputs: tuple[Tensor, ...]) -> _Captured:
        device = inputs[0].device
        if device not in _pools:
            _pools[device] = _Pool(device)
        pool = _pools[device]
        static = [x.clone() for x in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=pool.handle, stream=pool.side):
            outputs = function(*static)
        return _Captured(graph, static, outputs)

    def _replay(self, captured: _Captured, inputs: tuple[Tensor, ...]) -> Any:
        device = inputs[0].device
        pool = _pools[device]
        with torch.cuda.device(device):
            # Another thread may have replayed on another stream: the pool is shared.
            torch.cuda.current_stream().wait_event(pool.free)
            for static, x in zip(captured.inputs, inputs, strict=True):
                static.copy_(x)
            captured.graph.replay()
            outputs = captured.outputs
            copied = (
                tuple(y.clone() for y in outputs) if isinstance(outputs, tuple) else outputs.clone()
            )
            pool.free.record()
        return copied

    def _weights(self) -> tuple[Any, ...]:
        """Addresses and versions of all weights. Walking the modules would cost as much as a
        streamed frame, so the dictionaries that hold weights and children are kept."""
        state = self._read_holders()
        if state is None:
            modules = list(self._module.modules())
            self._holders = [m.__dict__[k] for m in modules for k in ("_parameters", "_modules")]
            self._children = {id(m) for m in modules}
            state = self._read_holders()
            assert state is not None
        return state

    def _read_holders(self) -> tuple[Any, ...] | None:
        """None if a child is new: the list of holders is out of date."""
        state: list[Any] = []
        for holder in self._holders:
            for value in holder.values():
                if isinstance(value, Tensor):
                    version = -1 if value.is_inference() else value._version
                    state += (value.data_ptr(), version, value.dtype)
                elif value is not None and id(value) not in self._children:
                    return None
        return tuple(state) if self._holders else None
