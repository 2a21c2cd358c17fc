"""Integrated loudness equals pyloudnorm's; silence, short clips and refusals."""

import math

import pyloudnorm
import pytest
import torch

from vivace.loudness import SILENCE_DB, integrated_loudness


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize(("seconds", "channels"), [(0.5, 1), (1.3, 2), (3.0, 5), (23.4, 1)])
def test_equals_pyloudnorm(rate: int, seconds: float, channels: int) -> None:
    samples = round(rate * seconds)
    ramp = torch.logspace(-4, 0, samples)  # quiet at first: both gates close on some blocks
    clip = torch.randn(channels, samples) * ramp * torch.rand(channels, 1)
    expected = pyloudnorm.Meter(rate).integrated_loudness(clip.double().numpy().T)
    assert integrated_loudness(clip, rate) == pytest.approx(expected, abs=1e-9)


def test_a_full_scale_sine_has_the_standards_value() -> None:
    """BS.1770: a 997 Hz sine at 0 dBFS in one channel reads −3.01 LKFS; two channels, 0."""
    phase = 2 * math.pi * 997 / 48000 * torch.arange(48000 * 2, dtype=torch.float64)
    clip = torch.sin(phase)[None]
    assert integrated_loudness(clip, 48000) == pytest.approx(-3.01, abs=0.05)
    assert integrated_loudness(clip.expand(2, -1), 48000) == pytest.approx(0.0, abs=0.05)


def test_gain_and_silence() -> None:
    clip = torch.randn(2, 16000)
    reference = integrated_loudness(clip, 16000)
    assert integrated_loudness(clip * 0.1, 16000) == pytest.approx(reference - 20, abs=1e-5)
    assert integrated_loudness(clip * 1e-6, 16000) == SILENCE_DB
    assert integrated_loudness(torch.zeros(1, 10), 16000) == SILENCE_DB


def test_short_clips_are_measured_as_if_zeros_followed() -> None:
    clip = torch.randn(1, 1000)
    padded = torch.nn.functional.pad(clip, (0, 7000))
    assert integrated_loudness(clip, 16000) == integrated_loudness(padded, 16000)
    assert integrated_loudness(clip[:, :1], 16000) >= SILENCE_DB


@pytest.mark.parametrize("shape", [(5,), (1, 0), (1, 1, 5)])
def test_bad_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="integrated_loudness: audio must have shape"):
        integrated_loudness(torch.zeros(shape), 16000)
