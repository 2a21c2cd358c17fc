"""Which latents an edit of AudioLDM makes anew: masks in time and frequency, and their edges."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

# Seconds and Hz are decimal, frames are not: 0.04 s · 16 kHz must not be a sample too many.
_ROUNDING = 1e-6

Spans = tuple[float, float] | Sequence[tuple[float, float]]


def check_spans(mask_s: Any, samples: int, sampling_rate: int) -> list[tuple[float, float]]:
    """(start, end) or a sequence of such, in seconds -> the same in samples.

    Raises TypeError for something else, ValueError where start >= end, for an empty sequence, and
    for spans that do not lie in 0 … samples / sampling_rate.
    """
    name, length = "inpaint: mask_s", samples / sampling_rate
    pairs = [mask_s] if _is_pair(mask_s) else mask_s
    if not isinstance(pairs, Sequence) or not all(_is_pair(pair) for pair in pairs):
        raise TypeError(f"{name} must be (start, end) or a list of such, got {mask_s!r}")
    if not pairs:
        raise ValueError(f"{name} must hold one (start, end) at least, got none")
    for start, end in pairs:
        if not start < end:
            raise ValueError(f"{name} must have start < end, got {(start, end)}")
        if not (start >= 0 and end <= length + 0.5 / sampling_rate):
            raise ValueError(f"{name} must lie in the clip, 0 to {length:g} s, got {(start, end)}")
    return [(start * sampling_rate, end * sampling_rate) for start, end in pairs]


def time_mask(spans: Sequence[tuple[float, float]], step: int, frames: int) -> Tensor:
    """Spans in samples -> (1, 1, frames, 1) bool: the frames of `step` samples that they touch."""
    mask = torch.zeros(frames, dtype=torch.bool)
    for start, end in spans:
        first = math.floor(start / step + _ROUNDING)
        last = math.ceil(end / step - _ROUNDING)
        mask[first : max(last, first + 1)] = True
    return mask[:, None][None, None]


def frequency_mask(cutoff_hz: Any, edges: Tensor, scale: int) -> Tensor:
    """(1, 1, 1, bins / scale) bool: the bins of latents that reach above the cutoff.

    edges: of the mel bins in Hz, (bins + 2,). A bin of latents stands for `scale` mel bins. Raises
    TypeError for a cutoff that is no number, ValueError for one that leaves nothing to keep or
    nothing to make.
    """
    if not isinstance(cutoff_hz, Real):
        raise TypeError(f"super_resolution: cutoff_hz must be a number, got {cutoff_hz!r}")
    tops = edges[2:].reshape(-1, scale)[:, -1]
    mask = tops > float(cutoff_hz) * (1 + _ROUNDING)
    if math.isnan(float(cutoff_hz)) or bool(mask.all()) or not bool(mask.any()):
        raise ValueError(
            f"super_resolution: cutoff_hz must be at least {float(tops[0]):.0f} and below "
            f"{float(tops[-1]):.0f}, got {cutoff_hz}"
        )
    return mask[None, None, None]


def fade(spans: Sequence[tuple[float, float]], width: int, samples: int) -> Tensor:
    """(samples,) float32: 1 in the spans (in samples), 0 from `width` samples outside them, and
    half a cosine between."""
    places = torch.arange(samples, dtype=torch.float64)
    weight = torch.zeros(samples, dtype=torch.float64)
    for start, end in spans:
        distance = torch.maximum(start - places, places - end).clamp(0, width)
        weight = torch.maximum(weight, 0.5 + 0.5 * torch.cos(math.pi * distance / width))
    return weight.float()


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(item, Real) for item in value)
    )
