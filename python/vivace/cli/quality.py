"""Two distances between a clip and its reconstruction: SI-SDR and multi-scale log-mel.

SI-SDR: Le Roux et al. 2019, arXiv:1811.02508.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["mel_distance", "si_sdr"]

_EPSILON = 1e-5  # mel magnitudes below this are silence
_SCALES = ((512, 40), (2048, 80))  # (window in samples, mel bands)


def si_sdr(reference: Tensor, estimate: Tensor) -> float:
    """10·log10(‖αs‖² / ‖αs − ŝ‖²) dB, mean of the channels; both (channels, samples), mean removed.

    Clipped to ±100 dB, which stand for equal and unrelated signals (and for silence).
    """
    s = reference.double() - reference.double().mean(-1, keepdim=True)
    x = estimate.double() - estimate.double().mean(-1, keepdim=True)
    tiny = torch.finfo(torch.float64).tiny
    target = s * ((s * x).sum(-1, keepdim=True) / s.square().sum(-1, keepdim=True).clamp_min(tiny))
    wanted, noise = target.square().sum(-1), (x - target).square().sum(-1)
    ratio = wanted.clamp_min(tiny) / noise.clamp_min(tiny)
    return float((10 * ratio.log10()).clamp(-100, 100).mean())


def mel_distance(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Mean |log10 mel(s) − log10 mel(ŝ)| over bands, frames, channels and two window lengths."""
    distances = []
    for window, bands in _SCALES:
        filters = _mel_filters(sample_rate, window, bands)
        mels = [filters @ _magnitude(x.float(), window) for x in (reference, estimate)]
        logs = [mel.clamp_min(_EPSILON).log10() for mel in mels]
        distances.append(float((logs[0] - logs[1]).abs().mean()))
    return sum(distances) / len(distances)


def _magnitude(audio: Tensor, window: int) -> Tensor:
    """|STFT| of (channels, samples): (channels, window / 2 + 1, frames), a quarter window apart."""
    audio = F.pad(audio, (window // 2, window // 2))
    spectrum: Tensor = torch.stft(
        audio,
        window,
        window // 4,
        window=torch.hann_window(window),
        center=False,
        return_complex=True,
    )
    return spectrum.abs()


def _mel_filters(sample_rate: int, window: int, bands: int) -> Tensor:
    """Triangles evenly spaced on the mel scale 2595·log10(1 + f / 700): (bands, window / 2 + 1)."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = torch.linspace(0, sample_rate / 2, window // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    triangles: Tensor = torch.minimum(rising, falling).clamp_min(0)
    return triangles
