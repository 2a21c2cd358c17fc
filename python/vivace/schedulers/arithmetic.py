"""The arithmetic of steps on tensors: numbers come from the host, nothing is read from a device."""

from collections.abc import Sequence

import torch
from torch import Tensor

Generators = torch.Generator | list[torch.Generator] | None


def combine(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """Σ cᵢ·xᵢ in float32, in float64 if a tensor is; terms with c = 0 are left out.

    The tensors have one shape. Raises ValueError if there is none.
    """
    if not terms:
        raise ValueError("combine: expected one term at least, got none")
    dtype = torch.float32
    for _, tensor in terms:
        dtype = torch.promote_types(dtype, tensor.dtype)
    used = [term for term in terms if term[0] != 0.0] or [terms[0]]
    (factor, first), *rest = used
    total = first.to(dtype) * factor
    for factor, tensor in rest:
        total = torch.add(total, tensor, alpha=factor)
    return total


def draw_noise(like: Tensor, generator: Generators, dtype: torch.dtype | None = None) -> Tensor:
    """N(0, 1) in the shape of `like` (batch, …) and on its device, drawn in the order of diffusers.

    dtype: that of the draw, default that of `like`. A generator of the CPU draws on the CPU. With a
    list, row i comes from generator i; a list of one counts as that one. Raises ValueError if the
    list's length is not the batch, or a generator's device is another accelerator.
    """
    dtype = like.dtype if dtype is None else dtype
    generators = generator if isinstance(generator, list) else [generator]
    if len(generators) not in (1, like.shape[0]):
        raise ValueError(
            f"step: generator must be one or a list of {like.shape[0]} (the batch), "
            f"got a list of {len(generators)}"
        )
    device = like.device
    first = generators[0]
    if first is not None and first.device.type != device.type:
        if first.device.type != "cpu":
            raise ValueError(
                f"step: generator must be of the device {device} or the cpu, got {first.device}"
            )
        device = first.device
    if len(generators) == 1:
        noise = torch.randn(like.shape, generator=first, device=device, dtype=dtype)
    else:
        row = (1, *like.shape[1:])
        rows = [torch.randn(row, generator=g, device=device, dtype=dtype) for g in generators]
        noise = torch.cat(rows)
    return noise.to(like.device)


def threshold(x0: Tensor, ratio: float, largest: float) -> Tensor:
    """Dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487, §2.3).

    x0: (batch, …). Each row is clamped to ±s and divided by s; s is the `ratio` quantile of its
    absolute values, itself clamped to [1, largest].
    """
    flat = x0.reshape(x0.shape[0], -1)
    s = torch.quantile(flat.abs(), ratio, dim=1, keepdim=True).clamp(min=1, max=largest)
    return (flat.clamp(-s, s) / s).reshape(x0.shape)


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """(batch,) or () as a tensor that multiplies `like` (batch, …) row by row."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
