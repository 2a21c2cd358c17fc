"""Waveforms to the log-mel spectrograms that AudioLDM's VAE was trained on.

As the front end of the original (Liu et al. 2023, arXiv:2301.12503), which has Tacotron 2's: mel
filters of Slaney's Auditory Toolbox on STFT magnitudes, then the natural logarithm.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["log_mel", "mel_edges", "mel_filters", "normalise"]

N_FFT = 1024
FMAX_HZ = 8000.0
_FLOOR = 1e-5
_PEAK = 0.5

# Slaney's scale: linear up to 1 kHz, then 27 mels for each factor of 6.4.
_KNEE_HZ, _MELS_PER_HZ = 1000.0, 0.015
_KNEE_MEL = _KNEE_HZ * _MELS_PER_HZ
_MELS_PER_NAPIER = 27.0 / math.log(6.4)


def log_mel(
    audio: Tensor,
    *,
    bins: int = 64,
    sampling_rate: int = 16_000,
    hop_length: int = 160,
    n_fft: int = N_FFT,
    fmax: float | None = None,
) -> Tensor:
    """Audio (B, L) or (L,) -> log-mel spectrogram (B, T, bins), T = 1 + L // hop_length.

    Frame t is centred on sample t · hop_length; both ends are mirrored, as often as short audio
    needs. Periodic Hann window of n_fft samples; magnitudes, not powers; values below 1e-5 count as
    1e-5. fmax: upper end of the highest bin in Hz, by default 8000 or half the sampling rate.
    Computed in float32, float64 for float64. Raises TypeError for integers, ValueError for another
    shape or no samples.
    """
    if not audio.is_floating_point():
        raise TypeError(f"log_mel: audio must be floating, got {audio.dtype}")
    if audio.ndim not in (1, 2) or audio.numel() == 0:
        raise ValueError(
            f"log_mel: audio must have shape (B, L) or (L,) with L >= 1, got {tuple(audio.shape)}"
        )
    x = audio.to(torch.promote_types(audio.dtype, torch.float32)).reshape(-1, audio.shape[-1])
    x = x[:, _mirrored(x.shape[1], n_fft // 2).to(x.device)]
    window = torch.hann_window(n_fft, periodic=True, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(
        x, n_fft, hop_length, window=window, center=False, return_complex=True
    ).abs()
    filters = mel_filters(bins, sampling_rate, n_fft, fmax).to(x)
    mel: Tensor = (spectrum.transpose(1, 2) @ filters).clamp(min=_FLOOR).log()
    return mel


@lru_cache(maxsize=8)
def mel_filters(
    bins: int, sampling_rate: int, n_fft: int = N_FFT, fmax: float | None = None
) -> Tensor:
    """Triangles of area 1 Hz · 1/Hz over the frequencies of an STFT: (n_fft // 2 + 1, bins)
    float64 on the CPU; not to be written to."""
    frequencies = torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    edges = mel_edges(bins, sampling_rate, fmax)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0) * (2 / (high - low))


def mel_edges(bins: int, sampling_rate: int, fmax: float | None = None) -> Tensor:
    """Frequencies in Hz, (bins + 2,) float64: bin i rises from i to i + 1 and falls to i + 2."""
    top = min(FMAX_HZ, sampling_rate / 2) if fmax is None else fmax
    highest = top * _MELS_PER_HZ
    if top > _KNEE_HZ:
        highest = _KNEE_MEL + math.log(top / _KNEE_HZ) * _MELS_PER_NAPIER
    mels = torch.linspace(0, highest, bins + 2, dtype=torch.float64)
    above = _KNEE_HZ * torch.exp((mels - _KNEE_MEL) / _MELS_PER_NAPIER)
    return torch.where(mels < _KNEE_MEL, mels / _MELS_PER_HZ, above)


def normalise(audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Audio (..., L) as the model heard it in training: without its mean, and of peak 0.5.

    Returns (normalised audio in the dtype of the input, gain, mean), the last two (..., 1) float64:
    audio = normalised · gain + mean. Silence stays silence.
    """
    wide = audio.double()
    mean = wide.mean(-1, keepdim=True)
    centred = wide - mean
    # The original's guard: what is left of a constant is rounding, not to be amplified.
    gain = (centred.abs().amax(-1, keepdim=True) + 1e-8) / _PEAK
    return (centred / gain).to(audio.dtype), gain, mean


def _mirrored(length: int, margin: int) -> Tensor:
    """Indices of samples -margin … length + margin, folded back at the ends without repeating
    the first and the last sample."""
    places = torch.arange(-margin, length + margin)
    if length == 1:
        return torch.zeros_like(places)
    period = 2 * (length - 1)
    places = places.remainder(period)
    return torch.minimum(places, period - places)
