"""AudioLDM's log-mel spectrograms against transformers.audio_utils in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from vivace.models.audioldm.mel import log_mel, mel_edges, mel_filters, normalise


def expected(
    audio: Tensor, bins: int = 64, rate: int = 16_000, hop: int = 160, n_fft: int = 1024
) -> Tensor:
    """(L,) -> (T, bins) float64, by another implementation."""
    filters = mel_filter_bank(
        n_fft // 2 + 1, bins, 0.0, min(8000.0, rate / 2), rate, norm="slaney", mel_scale="slaney"
    )
    mel = spectrogram(
        audio.double().numpy(),
        window_function(n_fft, "hann"),
        frame_length=n_fft,
        hop_length=hop,
        fft_length=n_fft,
        power=1.0,
        center=True,
        pad_mode="reflect",
        mel_filters=filters,
        mel_floor=1e-5,
        log_mel="log",
        dtype=np.float64,
    )
    return torch.from_numpy(np.asarray(mel)).T


@pytest.mark.parametrize("length", [1, 2, 159, 160, 500, 513, 1024, 4801, 16_000])
def test_lengths(length: int) -> None:
    audio = torch.randn(length, dtype=torch.float64) * 0.2
    mel = log_mel(audio)
    assert mel.shape == (1, 1 + length // 160, 64)
    # transformers' STFT rounds to complex64.
    torch.testing.assert_close(mel[0].exp(), expected(audio).exp(), rtol=0, atol=2e-6)
    torch.testing.assert_close(log_mel(audio.float())[0], mel[0].float(), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("rate", "options"),
    [
        (16_000, {"bins": 8}),
        (16_000, {"bins": 80, "hop": 200}),
        (8_000, {"hop": 64, "n_fft": 512}),
        (48_000, {"hop": 480}),
    ],
    ids=str,
)
def test_other_configurations(rate: int, options: dict[str, Any]) -> None:
    audio = torch.randn(5000, dtype=torch.float64)
    names = {"bins": "bins", "hop": "hop_length", "n_fft": "n_fft"}
    ours = log_mel(audio, sampling_rate=rate, **{names[k]: v for k, v in options.items()})
    theirs = expected(audio, rate=rate, **options)
    torch.testing.assert_close(ours[0].exp(), theirs.exp(), rtol=0, atol=1e-5)


def test_silence_is_the_floor() -> None:
    mel = log_mel(torch.zeros(2, 1000))
    assert mel.shape == (2, 7, 64)
    torch.testing.assert_close(mel, torch.full_like(mel, np.log(1e-5)))


def test_a_batch_of_views_is_its_rows() -> None:
    audio = torch.randn(3000, 6)[::2, ::2].T
    mel = log_mel(audio)
    for row, alone in zip(mel, audio, strict=True):
        torch.testing.assert_close(row, log_mel(alone.contiguous())[0])


def test_a_tone_is_in_its_bin() -> None:
    edges = mel_edges(64, 16_000)
    for index in (3, 20, 63):
        tone = torch.sin(2 * torch.pi * edges[index + 1] * torch.arange(8000) / 16_000)
        assert int(log_mel(tone)[0, 25].argmax()) == index


def test_filters() -> None:
    filters = mel_filters(64, 16_000)
    theirs = mel_filter_bank(513, 64, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    torch.testing.assert_close(filters, torch.from_numpy(theirs), rtol=0, atol=1e-12)


def test_half_precision_is_computed_in_float32() -> None:
    audio = torch.randn(2000).bfloat16()
    assert torch.equal(log_mel(audio), log_mel(audio.float()))


def test_normalise() -> None:
    audio = torch.randn(3, 999) * torch.tensor([[0.01], [1.0], [30.0]]) + 0.3
    normal, gain, mean = normalise(audio)
    assert normal.dtype == torch.float32
    torch.testing.assert_close(normal.abs().amax(-1), torch.full((3,), 0.5), rtol=1e-5, atol=0)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(3), rtol=0, atol=1e-7)
    torch.testing.assert_close((normal * gain + mean).float(), audio)
    for constant in (0.0, 0.7):
        assert float(normalise(torch.full((5000,), constant))[0].abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("audio", "error"),
    [
        (torch.zeros(0), ValueError),
        (torch.zeros(1, 2, 3), ValueError),
        (torch.zeros(5, dtype=torch.int16), TypeError),
    ],
)
def test_refusals(audio: Tensor, error: type[Exception]) -> None:
    with pytest.raises(error, match="log_mel: audio must"):
        log_mel(audio)
