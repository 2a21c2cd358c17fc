"""SI-SDR and mel distance: known values, invariances, silence."""

import math

import pytest
import torch

from vivace.cli.quality import mel_distance, si_sdr


def test_si_sdr_of_known_noise() -> None:
    signal = torch.sin(torch.arange(16000) * 0.1)[None].repeat(2, 1)
    noise = torch.cos(torch.arange(16000) * 0.1)[None].repeat(2, 1) * 0.1
    assert si_sdr(signal, signal + noise) == pytest.approx(20.0, abs=0.05)
    assert si_sdr(signal, 0.01 * (signal + noise) + 3) == pytest.approx(20.0, abs=0.05)


def test_si_sdr_limits() -> None:
    signal = torch.randn(1, 1000)
    assert si_sdr(signal, signal) == 100
    assert si_sdr(torch.zeros(1, 1000), signal) == -100
    assert math.isfinite(si_sdr(torch.zeros(1, 10), torch.zeros(1, 10)))


@pytest.mark.parametrize("samples", [1, 100, 20000])
def test_mel_distance(samples: int) -> None:
    clip = torch.randn(2, samples)
    assert mel_distance(clip, clip, 16000) == 0
    assert mel_distance(clip, clip * 0.1, 16000) == pytest.approx(1.0, abs=0.2)
    near = mel_distance(clip, clip + 0.01 * torch.randn_like(clip), 16000)
    assert 0 < near < mel_distance(clip, torch.randn_like(clip), 16000)
