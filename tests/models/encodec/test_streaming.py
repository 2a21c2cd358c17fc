"""Streams and ragged batches: any cut into pushes, and any row, gives the full pass of its own."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.encodec.helpers import STEREO, TINY, close, random_codes, small_model
from vivace.models.encodec import EncodecConfig, EncodecModel
from vivace.nn.geometry import InputError

CAUSAL: dict[str, dict[str, Any]] = {
    "released": {},
    "deep": {"use_conv_shortcut": False, "num_residual_layers": 3},
    "constant": {"pad_mode": "constant"},
    "replicate": {"pad_mode": "replicate", "audio_channels": 2},
    "kernels": {"kernel_size": 4, "last_kernel_size": 1, "residual_kernel_size": 5, "compress": 1},
    "slow": {"upsampling_ratios": (1, 2), "last_kernel_size": 25, "sampling_rate": 2000},
}
NOT_CAUSAL: dict[str, dict[str, Any]] = {
    "use_causal_conv": {"use_causal_conv": False},
    "norm_type": {"norm_type": "time_group_norm"},
    "trim_right_ratio": {"trim_right_ratio": 0.5},
    "pad_mode": {"pad_mode": "circular"},
    "chunk_length_s": {"chunk_length_s": 1.0, "overlap": 0.1},
}


def pieces(codes: Tensor, sizes: list[int]) -> list[Tensor]:
    """Codes cut along time into pieces of sizes drawn from a list."""
    chance, start, found = random.Random(torch.initial_seed()), 0, []
    while start < codes.shape[-1]:
        size = chance.choice(sizes)
        found.append(codes[..., start : start + size])
        start += size
    return found


@pytest.mark.parametrize("sizes", [[1], [0, 1, 2, 5, 9], [100]], ids=["one", "ragged", "all"])
@pytest.mark.parametrize("variant", CAUSAL)
def test_a_stream_equals_the_full_pass(variant: str, sizes: list[int]) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        model = small_model(TINY | CAUSAL[variant], dtype)
        codes = random_codes(model, 2, 5, 33)
        expected = model.decode(codes[None]).audio_values
        stream = model.streaming_decoder(batch_size=2)
        for _ in range(2):
            found = [stream.push(piece) for piece in pieces(codes, sizes)]
            found.append(stream.flush())
            assert found[-1].shape == (2, model.config.audio_channels, 0)
            close(torch.cat(found, dim=2), expected, tolerance)
            stream.reset()


@pytest.mark.parametrize("frames", range(12))
@pytest.mark.parametrize("variant", CAUSAL)
def test_short_streams(variant: str, frames: int) -> None:
    """Clips that end before their reflections are there, down to nothing."""
    model = small_model(TINY | CAUSAL[variant])
    codes = random_codes(model, 1, 3, frames)
    stream = model.streaming_decoder()
    found = [stream.push(codes[..., n : n + 1]) for n in range(frames)]
    found.append(stream.flush())
    audio = torch.cat(found, dim=2)
    assert audio.shape[2] == frames * model.config.hop_length
    if frames:
        close(audio, model.decode(codes[None]).audio_values, 1e-12)


def test_audio_is_given_at_once_after_the_first_frames() -> None:
    model = small_model(dtype=torch.float32)
    stream = model.streaming_decoder()
    assert stream.first_frames == 7
    codes = random_codes(model, 1, 8, 12)
    lengths = [stream.push(codes[..., n : n + 1]).shape[2] for n in range(12)]
    assert lengths == [0] * 6 + [7 * 24] + [24] * 5
    assert small_model(pad_mode="constant").streaming_decoder().first_frames == 1
    # The last convolution reflects 24 samples, 12 frames at two samples a frame.
    assert small_model(CAUSAL["slow"]).streaming_decoder().first_frames == 13


def test_state_of_the_24_khz_decoder() -> None:
    """19 KiB: what convolutions read of their past, one frame of each upsampling, and the LSTM."""
    with torch.device("meta"):
        model = EncodecModel(EncodecConfig(), part="decoder").eval()
        model.quantizer._check = lambda codes: None  # type: ignore[method-assign]
        stream = model.streaming_decoder()
        sizes = []
        for frames in (30, 1, 1, 4):
            stream.push(torch.zeros(1, 8, frames, dtype=torch.int64))
            sizes.append(stream.state_bytes)
    past = 6 * 128 + (512 + 256 + 128 + 64) + 2 * (256 + 128 + 64 + 32) + 6 * 32
    assert sizes == [4 * (past + 4 * 512)] * 4


def test_one_model_serves_many_streams() -> None:
    model = small_model()
    codes = [random_codes(model, 1, 4, 20) for _ in range(3)]
    streams = [model.streaming_decoder() for _ in codes]
    found: list[list[Tensor]] = [[], [], []]
    for frame in range(20):
        for stream, source, out in zip(streams, codes, found, strict=True):
            out.append(stream.push(source[..., frame : frame + 1]))
    for source, out in zip(codes, found, strict=True):
        close(torch.cat(out, dim=2), model.decode(source[None]).audio_values, 1e-12)


@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_configurations_that_do_not_stream(name: str) -> None:
    model = small_model(TINY | NOT_CAUSAL[name])
    with pytest.raises(ValueError, match=f"only a causal decoder streams: {name} must be"):
        model.streaming_decoder()


def test_errors_of_streams() -> None:
    model = small_model()
    stream = model.streaming_decoder()
    codes = random_codes(model, 1, 4, 9)
    for wrong in (codes[0], codes.repeat(2, 1, 1)):
        with pytest.raises(InputError, match=r"codes must have shape \(1, N, T\), got"):
            stream.push(wrong)
    with pytest.raises(IndexError, match=r"codes must be in \[0, 32\), got 32"):
        stream.push(torch.full((1, 4, 1), 32))
    assert not stream.push(codes).requires_grad
    stream.flush()
    for call in (lambda: stream.push(codes), stream.flush):
        with pytest.raises(RuntimeError, match=r"was flushed; call reset\(\)"):
            call()
    stream.reset()
    assert stream.state_bytes == 0
    assert stream.push(codes).shape == (1, 1, 9 * 24)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        model.streaming_decoder(0)


@pytest.mark.parametrize("settings", [*CAUSAL.values(), *NOT_CAUSAL.values(), STEREO], ids=str)
def test_rows_of_a_batch_equal_their_solo_runs(settings: dict[str, Any]) -> None:
    """Whatever stands behind a row's end, codes or not; short rows and empty ones too."""
    changes = {"pad_mode": "constant"} if settings.get("pad_mode") == "circular" else {}
    model = small_model(TINY | settings | changes)
    lengths = [31, 1, 7, 0, 6, 14, 2, 31, 7]
    codes = random_codes(model, len(lengths), 5, 31)
    for row, length in enumerate(lengths):
        codes[row, :, length:] = -1
    for given in (lengths, torch.tensor(lengths)):
        rows = model.decode_ragged(codes, given)
        assert len(rows) == len(lengths)
        for row, (audio, length) in enumerate(zip(rows, lengths, strict=True)):
            samples = length * model.config.hop_length
            assert audio.shape == (model.config.audio_channels, samples)
            if length:
                latents = model.quantizer.decode(codes[row : row + 1, :, :length].transpose(0, 1))
                close(audio, model.decoder(latents)[0], 1e-12)


def test_a_ragged_batch_is_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are long enough run together, once."""
    model = small_model()
    batches = []
    original = model.decoder.forward
    monkeypatch.setattr(
        model.decoder, "forward", lambda x: batches.append(tuple(x.shape)) or original(x)
    )
    model.decode_ragged(random_codes(model, 5, 3, 20), [20, 9, 3, 7, 3])
    assert batches == [(3, 16, 20), (2, 16, 3)]


def test_errors_of_ragged_batches() -> None:
    model = small_model()
    codes = random_codes(model, 2, 3, 9)
    for lengths in ([9], [9, 10], [9, -1], [9, 1.0], 9):
        with pytest.raises(ValueError, match=r"lengths must be 2 integers in \[0, 9\]"):
            model.decode_ragged(codes, lengths)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"codes must have shape \(B, N, T\), got \(3, 9\)"):
        model.decode_ragged(codes[0], [9, 9, 9])
