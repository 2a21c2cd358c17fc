"""Distances between two waveforms: multi-scale log-mel, STFT magnitude, envelopes, samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALES = {64: 8, 128: 16, 256: 32, 512: 64, 1024: 80, 2048: 128}
FLOOR = 1e-4


def mel_filters(n_fft: int, n_mels: int, sample_rate: int) -> Tensor:
    """Triangular filters (n_mels, n_fft // 2 + 1), HTK mel scale, rows of sum 1, >= 1 bin wide."""
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    top = 2595 * torch.log10(torch.tensor(1 + sample_rate / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), n_mels + 2) / 2595) - 1)
    width = sample_rate / n_fft
    centre = edges[1:-1, None]
    below = torch.maximum(centre - edges[:-2, None], torch.tensor(width))
    above = torch.maximum(edges[2:, None] - centre, torch.tensor(width))
    rising, falling = 1 - (centre - frequencies) / below, 1 - (frequencies - centre) / above
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters / filters.sum(1, keepdim=True).clamp(min=1e-3)


class SpectralDistance(nn.Module):
    """Distances of an estimate from a reference, each averaged over the windows of `SCALES`."""

    def __init__(self, sample_rate: int = 16_000) -> None:
        super().__init__()
        for n_fft, n_mels in SCALES.items():
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft) / (n_fft / 2))
            self.register_buffer(f"filters{n_fft}", mel_filters(n_fft, n_mels, sample_rate))

    def magnitude(self, audio: Tensor, n_fft: int) -> Tensor:
        """|STFT| (B, n_fft / 2 + 1, frames) of audio (B, L), hop n_fft / 4; a unit sine gives 1."""
        window = self.get_buffer(f"window{n_fft}")
        spectrum = torch.stft(audio, n_fft, n_fft // 4, window=window, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()

    def forward(self, estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Mean absolute difference of natural-log mels, relative magnitude error; (B, L) each."""
        mel, linear = estimate.new_zeros(()), estimate.new_zeros(())
        for n_fft in SCALES:
            with torch.no_grad():
                target = self.magnitude(reference, n_fft)
            found = self.magnitude(estimate, n_fft)
            filters = self.get_buffer(f"filters{n_fft}")
            log_target, log_found = (torch.log(filters @ x + FLOOR) for x in (target, found))
            mel = mel + (log_found - log_target).abs().mean()
            error = (found - target).flatten(1).norm(dim=1)
            linear = linear + (error / (target.flatten(1).norm(dim=1) + 1e-2)).mean()
        return mel / len(SCALES), linear / len(SCALES)


def waveform_distance(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute error of (B, L) relative to the reference's mean absolute value."""
    error = (estimate - reference).abs().mean(1)
    return (error / (reference.abs().mean(1) + 1e-3)).mean()


class EnvelopeCorrelation(nn.Module):
    """1 - correlation of third-octave envelopes over 0.38 s: as in STOI (Taal, 2011)."""

    def __init__(self, sample_rate: int = 16_000, bands: int = 15, frames: int = 30) -> None:
        super().__init__()
        self.frames, self.hop, self.length = (
            frames,
            round(0.0128 * sample_rate),
            round(0.0256 * sample_rate),
        )
        frequencies = torch.linspace(0, sample_rate / 2, 257)
        centres = 150.0 * 2 ** (torch.arange(bands) / 3)
        low, high = centres[:, None] * 2 ** (-1 / 6), centres[:, None] * 2 ** (1 / 6)
        self.register_buffer("bands", ((frequencies >= low) & (frequencies < high)).float())
        self.register_buffer("window", torch.hann_window(self.length))

    def segments(self, audio: Tensor) -> Tensor:
        """Band envelopes (B, bands, segments, frames) of audio (B, L), without segment means."""
        spectrum = torch.stft(
            audio, 512, self.hop, self.length, self.get_buffer("window"), return_complex=True
        )
        energy = self.get_buffer("bands") @ (spectrum.real.square() + spectrum.imag.square())
        envelopes = (energy + 1e-7).sqrt().unfold(-1, self.frames, 3)
        return envelopes - envelopes.mean(-1, keepdim=True)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Mean over segments of (B, L) pairs, leaving out those 40 dB below the loudest."""
        found, target = self.segments(estimate), self.segments(reference)
        correlation = nn.functional.cosine_similarity(found, target, dim=-1, eps=1e-4)
        power = target.square().sum((1, 3))
        active = (power > 1e-4 * power.amax(1, keepdim=True)).float()[:, None]
        return ((1 - correlation) * active).sum() / (active.sum() * correlation.shape[1]).clamp(
            min=1
        )
