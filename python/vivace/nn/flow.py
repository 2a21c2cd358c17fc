"""How a stack of convolutions is evaluated: whole clips, right-padded batches, or streams.

A model's forward is written once and hands every convolution and every residual unit to a flow,
together with the activation in front of it: the flow calls the op that does both at once.
`Full` takes clips as they are. `Ragged` gives each row of a padded batch its solo result:
every layer reads zeros past that row's own end, which is what its padding would have been.
`Stream` (vivace.nn.stream) takes the input in pieces and keeps what each layer still needs.
All rest on one fact: Snake(0) = 0, so the zero padding of a convolution is the same
before and after the activation.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from vivace.nn.geometry import Conv, geometry, output_length
from vivace.nn.snake1d import Snake1d
from vivace.ops import conv1d, conv_transpose1d, residual_unit


class ResidualUnit(Protocol):
    """The modules of a residual unit: x + conv2(snake2(conv1(snake1(x)))), conv2 with one tap."""

    snake1: Snake1d
    conv1: nn.Conv1d
    snake2: Snake1d
    conv2: nn.Conv1d


class Flow(Protocol):
    """What a model's forward asks of its evaluation. Tensors are time-major: (B, T, C)."""

    def conv(
        self, module: nn.Conv1d, x: Tensor, snake: Snake1d | None = None, tanh: bool = False
    ) -> Tensor: ...

    def conv_transpose(
        self, module: nn.ConvTranspose1d, x: Tensor, snake: Snake1d | None = None
    ) -> Tensor: ...

    def unit(self, unit: ResidualUnit, x: Tensor) -> Tensor: ...


def run_conv(
    module: nn.Conv1d,
    x: Tensor,
    snake: Snake1d | None,
    padding: int,
    lengths: Tensor | None = None,
    tanh: bool = False,
) -> Tensor:
    """The op `conv1d` with a module's weights: tanh(conv(snake(x))), Snake and tanh optional."""
    if module.groups != 1:
        raise ValueError(f"flow: groups must be 1, got {module}")
    y: Tensor = conv1d(
        x,
        module.weight,
        module.bias,
        None if snake is None else snake.alpha,
        None,
        lengths,
        module.stride[0],
        module.dilation[0],
        padding,
        padding,
        "none" if snake is None else "snake",
        0.0,
        False,
        tanh,
    )
    return y


def run_conv_transpose(
    module: nn.ConvTranspose1d,
    x: Tensor,
    snake: Snake1d | None,
    crop_left: int,
    crop_right: int,
    lengths: Tensor | None = None,
) -> Tensor:
    """The op `conv_transpose1d` with a module's weights: conv_transpose(snake(x)), cropped."""
    span, stride, _, kernel = geometry(module)
    if module.groups != 1 or kernel != 2 * stride or span != kernel or module.output_padding[0]:
        raise ValueError(f"flow: kernel_size must be 2 · stride and groups 1, got {module}")
    y: Tensor = conv_transpose1d(
        x,
        module.weight,
        module.bias,
        None if snake is None else snake.alpha,
        lengths,
        stride,
        crop_left,
        crop_right,
        "none" if snake is None else "snake",
    )
    return y


def run_unit(unit: ResidualUnit, x: Tensor, padding: int, lengths: Tensor | None = None) -> Tensor:
    """The op `residual_unit` with a unit's weights."""
    y: Tensor = residual_unit(
        x,
        unit.snake1.alpha,
        unit.conv1.weight,
        unit.conv1.bias,
        unit.snake2.alpha,
        unit.conv2.weight,
        unit.conv2.bias,
        lengths,
        unit.conv1.dilation[0],
        padding,
    )
    return y


class Full:
    """The whole input at once, no state. Use the instance `FULL`."""

    def run(self, module: nn.Module, x: Tensor) -> Tensor:
        """``module(x, flow)``."""
        y: Tensor = module(x, self)
        return y

    def conv(
        self, module: nn.Conv1d, x: Tensor, snake: Snake1d | None = None, tanh: bool = False
    ) -> Tensor:
        return run_conv(module, x, snake, geometry(module)[2], None, tanh)

    def conv_transpose(
        self, module: nn.ConvTranspose1d, x: Tensor, snake: Snake1d | None = None
    ) -> Tensor:
        padding = geometry(module)[2]
        return run_conv_transpose(module, x, snake, padding, padding)

    def unit(self, unit: ResidualUnit, x: Tensor) -> Tensor:
        return run_unit(unit, x, geometry(unit.conv1)[2])


FULL = Full()


class Unpadded(Full):
    """Every convolution without its padding; the skips of residual units are cropped alike.

    The way in which descript codes its overlapping chunks.
    """

    def conv(
        self, module: nn.Conv1d, x: Tensor, snake: Snake1d | None = None, tanh: bool = False
    ) -> Tensor:
        return run_conv(module, x, snake, 0, None, tanh)

    def conv_transpose(
        self, module: nn.ConvTranspose1d, x: Tensor, snake: Snake1d | None = None
    ) -> Tensor:
        return run_conv_transpose(module, x, snake, 0, 0)

    def unit(self, unit: ResidualUnit, x: Tensor) -> Tensor:
        return run_unit(unit, x, 0)


class Ragged(Full):
    """A right-padded batch: row i holds ``lengths[i]`` samples, its result is that of row i alone.

    ``lengths`` always holds the valid lengths at the layer that was reached; a row that is too
    short for a layer has length 0 from there on. Positions past the end of the result hold 0.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        self._ends: Tensor | None = None

    def run(self, module: nn.Module, x: Tensor) -> Tensor:
        """``module(x, flow)``, with zeros past the end of every row of the result."""
        return self.clear(module(x, self))

    def clear(self, x: Tensor) -> Tensor:
        """x (B, ..., T) with zeros at the positions of row i from ``lengths[i]`` on."""
        time = x.shape[-1]
        if min(self.lengths) >= time:
            return x
        past = torch.arange(time, device=x.device) >= self._tensor(x)[:, None]
        return x.masked_fill(past.reshape(len(past), *[1] * (x.dim() - 2), time), 0)

    def conv(
        self, module: nn.Conv1d, x: Tensor, snake: Snake1d | None = None, tanh: bool = False
    ) -> Tensor:
        y = run_conv(module, x, snake, geometry(module)[2], self._limits(x), tanh)
        self._pass(module)
        return y

    def conv_transpose(
        self, module: nn.ConvTranspose1d, x: Tensor, snake: Snake1d | None = None
    ) -> Tensor:
        padding = geometry(module)[2]
        y = run_conv_transpose(module, x, snake, padding, padding, self._limits(x))
        self._pass(module)
        return y

    def unit(self, unit: ResidualUnit, x: Tensor) -> Tensor:
        return run_unit(unit, x, geometry(unit.conv1)[2], self._limits(x))

    def _pass(self, module: Conv) -> None:
        lengths = [output_length(module, length) for length in self.lengths]
        if lengths != self.lengths:
            self.lengths, self._ends = lengths, None

    def _limits(self, x: Tensor) -> Tensor | None:
        """The lengths as an op takes them; None where every row of x (B, T, C) is full."""
        return None if min(self.lengths) >= x.shape[1] else self._tensor(x)

    def _tensor(self, x: Tensor) -> Tensor:
        if self._ends is None or self._ends.device != x.device:
            self._ends = torch.tensor(self.lengths, device=x.device)
        return self._ends
