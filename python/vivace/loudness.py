"""Integrated loudness L = −0.691 + 10·log10 Σ_c G_c·z_c of the gated blocks (ITU-R BS.1770-4).

The K-weighting is the pair of biquads that pyloudnorm and audiotools use (a shelf of +4 dB above
1.5 kHz and a high-pass at 38 Hz from the audio EQ cookbook), so that values agree with theirs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["SILENCE_DB", "integrated_loudness"]

SILENCE_DB = -70.0  # the absolute gate; nothing is reported below it

_SURROUND_GAIN = 1.41  # of the fourth and fifth channel; all others count 1
_STEP_HZ = 10  # gating blocks of 400 ms start every 100 ms
_STEPS_PER_BLOCK = 4
_STEPS_PER_CHUNK = 100  # 10 s are filtered at a time, which bounds the memory
_MIN_SECONDS = 0.5  # audiotools pads shorter clips with zeros to this
_FILTER_MEMORY_S = 0.25  # the high-pass has decayed by e^-60 after this time


def integrated_loudness(audio: Tensor, sample_rate: int) -> float:
    """The loudness in LUFS of (channels, samples) audio, all channels together.

    Not below −70 (``SILENCE_DB``), which stands for silence. Clips below 0.5 s are measured as if
    followed by zeros up to that length. Raises ValueError for another rank or an empty clip.
    """
    if audio.ndim != 2 or audio.numel() == 0:
        shape = tuple(audio.shape)
        raise ValueError(
            f"integrated_loudness: audio must have shape (channels, samples), got {shape}"
        )
    missing = math.ceil(_MIN_SECONDS * sample_rate) - audio.shape[1]
    if missing > 0:
        audio = torch.nn.functional.pad(audio, (0, missing))
    gain = torch.ones(audio.shape[0], dtype=torch.float64)
    gain[3:5] = _SURROUND_GAIN
    steps = _step_energies(audio.detach().cpu(), sample_rate)
    blocks = steps.unfold(1, _STEPS_PER_BLOCK, 1).sum(-1)
    power = gain @ blocks * _STEP_HZ / (_STEPS_PER_BLOCK * sample_rate)
    loud = power[power >= _power(SILENCE_DB)]
    if loud.numel() == 0:
        return SILENCE_DB
    loud = loud[loud > loud.mean() * 0.1]  # the relative gate, 10 dB below the mean
    return max(SILENCE_DB, -0.691 + 10 * math.log10(float(loud.mean())))


def _power(loudness: float) -> float:
    return float(10 ** ((loudness + 0.691) / 10))


def _step_energies(audio: Tensor, sample_rate: int) -> Tensor:
    """Energy of the K-weighted audio in each whole step of 100 ms: (channels, steps) float64."""
    count = audio.shape[1] * _STEP_HZ // sample_rate
    edges = torch.arange(count + 1) * sample_rate // _STEP_HZ
    memory = math.ceil(_FILTER_MEMORY_S * sample_rate)
    chunks = []
    for first in range(0, count, _STEPS_PER_CHUNK):
        chunk_edges = edges[first : first + _STEPS_PER_CHUNK + 1]
        start = max(0, int(chunk_edges[0]) - memory)
        chunk = audio[:, start : int(chunk_edges[-1])].double()
        weighted = _k_weighted(chunk, sample_rate, memory)
        total = torch.nn.functional.pad(weighted.square().cumsum(1), (1, 0))
        chunks.append(total[:, chunk_edges - start].diff(dim=1))
    return torch.cat(chunks, 1)


def _k_weighted(audio: Tensor, sample_rate: int, memory: int) -> Tensor:
    """Both biquads, applied as one frequency response; ``memory`` zeros keep the ends apart."""
    size = 1 << (audio.shape[1] + memory - 1).bit_length()
    turn = torch.exp(-2j * math.pi * torch.arange(size // 2 + 1, dtype=torch.float64) / size)
    response = torch.ones_like(turn)
    for numerator, denominator in (_high_shelf(sample_rate), _high_pass(sample_rate)):
        response *= _polynomial(numerator, turn) / _polynomial(denominator, turn)
    weighted: Tensor = torch.fft.irfft(torch.fft.rfft(audio, size) * response, size)
    return weighted[:, : audio.shape[1]]


def _polynomial(coefficients: tuple[float, float, float], z: Tensor) -> Tensor:
    b0, b1, b2 = coefficients
    value: Tensor = b0 + z * (b1 + z * b2)
    return value


_Biquad = tuple[tuple[float, float, float], tuple[float, float, float]]


def _high_shelf(sample_rate: int) -> _Biquad:
    gain = 10 ** (4.0 / 40)
    omega = 2 * math.pi * 1500.0 / sample_rate
    cos, alpha = math.cos(omega), math.sin(omega) / math.sqrt(2)
    slope = 2 * math.sqrt(gain) * alpha
    up, down = gain + 1, gain - 1
    numerator = (
        gain * (up + down * cos + slope),
        -2 * gain * (down + up * cos),
        gain * (up + down * cos - slope),
    )
    return numerator, (up - down * cos + slope, 2 * (down - up * cos), up - down * cos - slope)


def _high_pass(sample_rate: int) -> _Biquad:
    omega = 2 * math.pi * 38.0 / sample_rate
    cos, alpha = math.cos(omega), math.sin(omega)  # Q = 1/2: sin / (2 Q)
    numerator = ((1 + cos) / 2, -(1 + cos), (1 + cos) / 2)
    return numerator, (1 + alpha, -2 * cos, 1 - alpha)
