"""Lengths through a stack of convolutions, and the lengths of the rows of a padded batch."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

Conv = nn.Conv1d | nn.ConvTranspose1d


class InputError(ValueError, RuntimeError):
    """An input whose shape or length has no result.

    Also a RuntimeError, because that is what transformers' classes raise in these cases.
    """


def geometry(module: Conv) -> tuple[int, int, int, int]:
    """(span, stride, padding, kernel) of a convolution; span = dilation · (kernel - 1) + 1."""
    kernel, stride, dilation = module.kernel_size[0], module.stride[0], module.dilation[0]
    padding = module.padding[0]
    if not isinstance(padding, int):
        raise ValueError(f"flow: padding must be a number of samples, got {module.padding!r}")
    return dilation * (kernel - 1) + 1, stride, padding, kernel


def output_length(module: Conv, length: int) -> int:
    """Samples that come out for ``length`` samples in; 0 where torch refuses the input."""
    if length <= 0:
        return 0
    span, stride, padding, _ = geometry(module)
    if isinstance(module, nn.ConvTranspose1d):
        extra = module.output_padding[0]
        return max(0, (length - 1) * stride + span - 2 * padding + extra)
    return max(0, (length + 2 * padding - span) // stride + 1)


def ready_length(module: Conv, length: int) -> int:
    """Samples that a `Stream` has given after ``length`` samples in, before its flush."""
    span, stride, padding, _ = geometry(module)
    if isinstance(module, nn.ConvTranspose1d):
        return max(0, length * stride - padding)
    return max(0, (length + padding - max(span, stride)) // stride + 1)


def through(
    stack: nn.Module, length: int, layer: Callable[[Conv, int], int] = output_length
) -> int:
    """``length`` after every convolution of a stack, each changing it as ``layer`` says."""
    return functools.reduce(lambda n, module: layer(module, n), convolutions(stack), length)


def convolutions(module: nn.Module) -> Iterator[Conv]:
    """The convolutions of a stack in the order of definition (in DAC: the order of execution)."""
    return (m for m in module.modules() if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d)))


def mask_lengths(padding_mask: Tensor, batch: int, time: int, where: str) -> list[int]:
    """Valid samples of each row of a right-padded batch, from its mask (B, T) of ones and zeros.

    Raises ValueError for another shape, a float mask, other values, holes and left padding. Reads
    the mask on the host once (a synchronisation if it is on a GPU).
    """
    mask = padding_mask
    if mask.dim() != 2 or tuple(mask.shape) != (batch, time):
        raise ValueError(
            f"{where}: padding_mask must have shape ({batch}, {time}), got {tuple(mask.shape)}"
        )
    if mask.is_floating_point() or mask.is_complex():
        raise ValueError(f"{where}: padding_mask must be bool or integers, got {mask.dtype}")
    valid = mask.cpu().bool()
    ends = [int(n) for n in valid.sum(1)]
    in_order = all(bool(row[:end].all()) for row, end in zip(valid, ends, strict=True))
    if not in_order or bool(((mask != 0) & (mask != 1)).any()):
        raise ValueError(
            f"{where}: padding_mask must be ones, then zeros in every row (padding on the right)"
        )
    return ends


def check_lengths(lengths: Sequence[int] | Tensor, batch: int, time: int, where: str) -> list[int]:
    """``lengths`` (list or (B,) tensor of integers in [0, T]) as a list, or ValueError."""
    try:
        values = lengths.tolist() if isinstance(lengths, Tensor) else lengths
        found = [operator.index(value) for value in values]
    except TypeError:
        found = []
    if len(found) != batch or not all(0 <= n <= time for n in found):
        raise ValueError(
            f"{where}: lengths must be {batch} integers in [0, {time}], got {lengths!r}"
        )
    return found
