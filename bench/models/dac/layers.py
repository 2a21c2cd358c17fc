"""Where a decode spends its time, layer by layer, beside what the layer cannot do without.

    python -m bench.models.dac.layers [--model dac_44khz] [--dtype bfloat16] [--seconds 1 | --frame]

For every layer: median time, FLOPs and bytes of weights per second. One second of audio is bound
by arithmetic, one streamed frame by the weights, of which it needs all.
"""

import argparse
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from bench.case import DTYPES
from bench.models.dac.weights import CONFIGS, config_of, random_model
from vivace.nn.flow import Full
from vivace.nn.stream import Stream

_ROUNDS = 9


class _Layers:
    """Times of each layer in the order of calls, of all rounds."""

    def __init__(self) -> None:
        self.times: dict[int, list[float]] = defaultdict(list)
        self.names: dict[int, str] = {}
        self.flops: dict[int, int] = {}
        self.bytes: dict[int, int] = {}
        self._next = 0

    def begin(self) -> None:
        self._next = 0

    def add(self, name: str, weights: list[Tensor], frames: int, seconds: float) -> None:
        index, self._next = self._next, self._next + 1
        self.names[index] = name
        self.flops[index] = 2 * frames * sum(w.numel() for w in weights)
        self.bytes[index] = sum(w.numel() * w.element_size() for w in weights)
        self.times[index].append(seconds)


def _timed(base: Any, layers: _Layers) -> Any:
    """A flow that hands every layer to `base` and takes its time."""

    class Timed(base):  # type: ignore[misc]
        def conv(self, module: nn.Conv1d, x: Tensor, *args: Any, **options: Any) -> Tensor:
            start = time.perf_counter()
            y: Tensor = super().conv(module, x, *args, **options)
            name = f"conv {module.in_channels} -> {module.out_channels}, k {module.kernel_size[0]}"
            layers.add(name, [module.weight], y.shape[1], time.perf_counter() - start)
            return y

        def conv_transpose(self, module: nn.ConvTranspose1d, x: Tensor, *args: Any) -> Tensor:
            start = time.perf_counter()
            y: Tensor = super().conv_transpose(module, x, *args)
            name = f"up {module.in_channels} -> {module.out_channels}, s {module.stride[0]}"
            layers.add(name, [module.weight], x.shape[1], time.perf_counter() - start)
            return y

        def unit(self, unit: Any, x: Tensor) -> Tensor:
            start = time.perf_counter()
            y: Tensor = super().unit(unit, x)
            name = f"unit {x.shape[2]}, d {unit.conv1.dilation[0]}"
            weights = [unit.conv1.weight, unit.conv2.weight]
            layers.add(name, weights, y.shape[1], time.perf_counter() - start)
            return y

    return Timed()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=sorted(CONFIGS), default="dac_44khz")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--frame", action="store_true", help="one frame in the middle of a stream")
    options = parser.parse_args()
    config = config_of(options.model)
    model = random_model(config).to(DTYPES[options.dtype])
    frames = max(1, round(options.seconds * config.sampling_rate / config.hop_length))
    layers = _Layers()
    flow = _timed(Stream if options.frame else Full, layers)
    h = torch.randn(1, config.hidden_size, 1 if options.frame else frames).to(model.dtype)
    for _ in range(24):  # packs the weights, and fills the stream
        layers.begin()
        flow.run(model.decoder, h)
        if not options.frame:
            break
    layers.times.clear()
    for _ in range(_ROUNDS):
        layers.begin()
        flow.run(model.decoder, h)
    total = 0.0
    print(f"{'layer':>24} | {'ms':>8} | {'GFLOP/s':>8} | {'weights GB/s':>12}")
    for index, times in layers.times.items():
        seconds = statistics.median(times)
        total += seconds
        rates = (layers.flops[index] / seconds / 1e9, layers.bytes[index] / seconds / 1e9)
        row = f"{seconds * 1e3:>8.3f} | {rates[0]:>8.0f} | {rates[1]:>12.1f}"
        print(f"{layers.names[index]:>24} | {row}")
    print(f"{'all':>24} | {total * 1e3:>8.3f}")


if __name__ == "__main__":
    main()
