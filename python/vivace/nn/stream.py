"""A stack of convolutions evaluated piece by piece, exactly."""

import torch
from torch import Tensor, nn

from vivace.nn.flow import ResidualUnit, run_conv, run_conv_transpose, run_unit
from vivace.nn.geometry import geometry
from vivace.nn.snake1d import Snake1d


class _Site:
    """What one call site of a stream keeps between two pushes."""

    pending: Tensor | None = None
    drop = 0  # output samples that the padding of a transposed convolution still takes away

    @property
    def shape(self) -> tuple[object, ...]:
        return self.drop, None if self.pending is None else self.pending.shape

    def keep(self, x: Tensor) -> None:
        """Copies x, in place where the shape allows it: a captured step has fixed addresses."""
        if self.pending is None or self.pending.shape != x.shape:
            self.pending = x.clone()
        else:
            self.pending.copy_(x)


class Stream:
    """A stack evaluated piece by piece; the concatenated pieces are the full pass's result.

    The state is one buffer per call site, in the order of calls: the inputs that later outputs
    still read (at first the left padding: zeros, which every activation here maps to zeros). The
    last piece is run with ``flush=True``: each layer then gets its own right padding. One Stream
    is one stream; the modules hold nothing, so a model can serve many. Works for any batch, dtype
    and device. On kernels, whose order of summation is fixed, the pieces are the full pass bit
    for bit.
    """

    def __init__(self) -> None:
        self._sites: list[_Site] = []
        self._cursor = 0
        self._flushing = False
        self._shapes: tuple[object, ...] = ()
        self.steady = False  # whether the last piece left the shapes of all buffers as they were

    @property
    def addresses(self) -> tuple[int, ...]:
        """Where the buffers are; pieces that leave their shapes as they were leave these too."""
        return tuple(site.pending.data_ptr() for site in self._sites if site.pending is not None)

    @property
    def state_bytes(self) -> int:
        """Bytes that the buffers hold now."""
        pending = (site.pending for site in self._sites)
        return sum(p.numel() * p.element_size() for p in pending if p is not None)

    def run(self, module: nn.Module, x: Tensor, *, flush: bool = False) -> Tensor:
        """``module(x, flow)`` for the next piece x (B, C, T), T >= 0: what can be given now."""
        self._cursor, self._flushing = 0, flush
        y: Tensor = module(x, self)
        shapes = tuple(
            (s.drop, None if s.pending is None else s.pending.shape) for s in self._sites
        )
        self.steady, self._shapes = shapes == self._shapes, shapes
        return y

    def conv(
        self, module: nn.Conv1d, x: Tensor, snake: Snake1d | None = None, tanh: bool = False
    ) -> Tensor:
        span, stride, padding, _ = geometry(module)
        window = self._window(x, span, stride, padding)
        if window is None:
            return x.new_empty((x.shape[0], 0, module.out_channels))
        return run_conv(module, window, snake, 0, None, tanh)

    def conv_transpose(
        self, module: nn.ConvTranspose1d, x: Tensor, snake: Snake1d | None = None
    ) -> Tensor:
        _, stride, padding, _ = geometry(module)
        site = self._next_site()
        if self._nothing_to_do(site, x):
            return x.new_empty((x.shape[0], 0, module.out_channels))
        if site.pending is None:
            site.pending, site.drop = _zeros(x, 1), padding
        buffer = _join(site.pending, x)
        total = buffer.shape[1]
        site.keep(buffer[:, total - 1 :])
        # Block 0 belongs to the piece before; the last block waits for its second input, but for
        # the flush, where the padding cuts it short.
        last = padding if self._flushing else stride
        first = min(stride + site.drop, (total + 1) * stride - last)
        site.drop -= first - stride
        if first == (total + 1) * stride - last:
            return x.new_empty((x.shape[0], 0, module.out_channels))
        return run_conv_transpose(module, buffer, snake, first, last)

    def unit(self, unit: ResidualUnit, x: Tensor) -> Tensor:
        span, _, padding, _ = geometry(unit.conv1)
        window = self._window(x, span, 1, padding)
        return x[:, :0] if window is None else run_unit(unit, window, 0)

    def _window(self, x: Tensor, span: int, stride: int, padding: int) -> Tensor | None:
        """The inputs of the outputs that can be given now, or None; keeps what is read later."""
        site = self._next_site()
        if self._nothing_to_do(site, x):
            return None
        buffer = _join(_zeros(x, padding) if site.pending is None else site.pending, x)
        if self._flushing:
            buffer = _join(buffer, _zeros(x, padding))
        # An output waits until its successor's first input is there: only then may inputs go.
        reach = span if self._flushing else max(span, stride)
        count = max(0, (buffer.shape[1] - reach) // stride + 1)
        site.keep(buffer[:, count * stride :])
        return buffer[:, : (count - 1) * stride + span] if count else None

    def _next_site(self) -> _Site:
        if self._cursor == len(self._sites):
            self._sites.append(_Site())
        self._cursor += 1
        return self._sites[self._cursor - 1]

    def _nothing_to_do(self, site: _Site, x: Tensor) -> bool:
        # Flushing a layer that never got a sample must not make outputs of padding alone.
        return x.shape[1] == 0 and (not self._flushing or site.pending is None)


def _zeros(x: Tensor, time: int) -> Tensor:
    return x.new_zeros((x.shape[0], time, x.shape[2]))


def _join(first: Tensor, second: Tensor) -> Tensor:
    if first.shape[1] == 0:
        return second
    return first if second.shape[1] == 0 else torch.cat((first, second), dim=1)
