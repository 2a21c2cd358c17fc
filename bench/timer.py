"""Times the variants of a case in turn, A-B-A-B, so that drift of the machine hits all alike."""

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils._pytree import tree_map

from bench.case import Case, Variant
from bench.stats import Summary

_GRAPH_BELOW_S = 100e-6  # shorter calls measure the launch, not the kernel
_ROTATIONS = 1024  # at most that many copies of the arguments, whatever the L2 holds


@dataclass(frozen=True)
class Budget:
    """Seconds of warm-up and of sampling per variant and round, and the fewest samples."""

    rounds: int = 5
    warmup_s: float = 0.3
    slice_s: float = 0.3
    min_samples: int = 2


@dataclass(frozen=True)
class Timing:
    """`samples`: the figure to compare. `called`: the wall time per call from Python, where that
    differs. `mode` says what the samples are: called, events or graph; `cold`: L2 was cold.
    """

    samples: Summary
    mode: str
    called: Summary | None = None
    cold: bool | None = None


class _Sampler(Protocol):
    """Takes samples for a while; one per variant."""

    def sample(self, seconds: float, at_least: int) -> list[float]: ...


class CpuSampler:
    """perf_counter around enough calls to last half a millisecond."""

    def __init__(self, call: Callable[[], Any], warmup_s: float) -> None:
        self._call = call
        once = _warm_up(call, warmup_s)
        self._inner = max(1, math.ceil(5e-4 / max(once, 1e-8)))

    def sample(self, seconds: float, at_least: int) -> list[float]:
        call, inner = self._call, self._inner
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while len(samples) < at_least or time.perf_counter() < end:
            begin = time.perf_counter()
            for _ in range(inner):
                call()
            samples.append((time.perf_counter() - begin) / inner)
        return samples


def _warm_up(call: Callable[[], Any], seconds: float) -> float:
    """Calls for a while (at least twice); returns the shortest time of a call."""
    shortest, calls = math.inf, 0
    end = time.perf_counter() + seconds
    while calls < 2 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - begin)
        calls += 1
    return shortest


class CudaSampler:
    """Events around each call, or around the replay of a graph of one call per argument set.

    The outputs of the last calls are kept, so that the allocator rotates them as well.
    """

    def __init__(self, call: Callable[..., Any], sets: list[Any], warmup_s: float) -> None:
        self._call, self._sets, self._next = call, sets, 0
        self._outputs: list[Any] = [None] * len(sets)
        self._graph: torch.cuda.CUDAGraph | None = None
        for _ in sets:  # what is packed or compiled per argument must not be inside a capture
            self._step()
        _warm_up(self._called, warmup_s)
        self.estimate = self._events(20)

    @property
    def mode(self) -> str:
        return "events" if self._graph is None else "graph"

    def _step(self) -> None:
        index = self._next
        self._next = (index + 1) % len(self._sets)
        self._outputs[index] = self._call(*self._sets[index])

    def _called(self) -> None:
        self._step()
        torch.cuda.synchronize()

    def capture(self) -> None:
        """From now on samples are replays of a graph, if the call can be captured."""
        graph = torch.cuda.CUDAGraph()
        self._next = 0
        try:
            with torch.cuda.graph(graph):
                for _ in self._sets:
                    self._step()
        except RuntimeError:
            torch.cuda.synchronize()
            return
        self._graph = graph
        graph.replay()
        torch.cuda.synchronize()

    def _events(self, calls: int) -> float:
        """Seconds per call, by one pair of events around `calls` calls."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(calls):
            self._step()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1e-3 / calls

    def sample(self, seconds: float, at_least: int) -> list[float]:
        samples: list[float] = []
        finish = time.perf_counter() + seconds
        while len(samples) < at_least or time.perf_counter() < finish:
            pairs = []
            for _ in range(10):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                if self._graph is None:
                    self._step()
                else:
                    self._graph.replay()
                end.record()
                pairs.append((begin, end))
            torch.cuda.synchronize()
            calls = 1 if self._graph is None else len(self._sets)
            samples += [a.elapsed_time(b) * 1e-3 / calls for a, b in pairs]
        return samples

    def sample_called(self, seconds: float) -> list[float]:
        """Wall seconds per call in a row of calls, with the wait for the last one."""
        samples: list[float] = []
        finish = time.perf_counter() + seconds
        while len(samples) < 2 or time.perf_counter() < finish:
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(10):
                self._step()
            torch.cuda.synchronize()
            samples.append((time.perf_counter() - begin) / 10)
        return samples


def rotations(nbytes: int, cache: int) -> int:
    """How many argument sets of `nbytes` exceed five times the cache; 2 to 1024 of them."""
    return max(2, min(_ROTATIONS, math.ceil(5 * cache / max(nbytes, 1))))


def measure(case: Case, variants: list[Variant], budget: Budget, device: str) -> dict[str, Timing]:
    """Warms up and times the variants in interleaved rounds; the name of each -> its timing."""
    on_cuda, cold = device == "cuda", None
    sets = [case.args]
    if on_cuda and case.rotate:
        cache = torch.cuda.get_device_properties(0).L2_cache_size
        count = rotations(case.bytes, cache)
        sets += [tree_map(_copy, case.args) for _ in range(count - 1)]
        cold = count * case.bytes >= 2 * cache
    samplers: dict[str, CpuSampler | CudaSampler] = {}
    taken: dict[str, list[list[float]]] = {v.name: [] for v in variants}
    called: dict[str, list[list[float]]] = {v.name: [] for v in variants}
    gc.collect()
    gc.disable()
    try:
        for v in variants:
            with v.active():
                if on_cuda:
                    samplers[v.name] = CudaSampler(v.call, sets, budget.warmup_s)
                else:
                    samplers[v.name] = CpuSampler(_bound(v, case.args), budget.warmup_s)
        _capture(variants, samplers, len(sets))
        for _ in range(budget.rounds):
            for v in variants:
                sampler = samplers[v.name]
                with v.active():
                    taken[v.name].append(sampler.sample(budget.slice_s, budget.min_samples))
                    if isinstance(sampler, CudaSampler):
                        called[v.name].append(sampler.sample_called(budget.slice_s / 4))
    finally:
        gc.enable()
    result = {}
    for v in variants:
        sampler = samplers[v.name]
        wall = Summary.of(called[v.name]) if called[v.name] else None
        mode = sampler.mode if isinstance(sampler, CudaSampler) else "called"
        result[v.name] = Timing(Summary.of(taken[v.name]), mode, wall, cold)
    return result


def _capture(
    variants: list[Variant], samplers: dict[str, CpuSampler | CudaSampler], sets: int
) -> None:
    """All variants of a case with rotating arguments become graphs, if one of them is short."""
    on_cuda = {v.name: s for v in variants if isinstance(s := samplers[v.name], CudaSampler)}
    if sets == 1 or not on_cuda or min(s.estimate for s in on_cuda.values()) >= _GRAPH_BELOW_S:
        return
    for v in variants:
        with v.active():
            on_cuda[v.name].capture()


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _bound(variant: Variant, args: tuple[Any, ...]) -> Callable[[], Any]:
    call = variant.call
    return lambda: call(*args)
