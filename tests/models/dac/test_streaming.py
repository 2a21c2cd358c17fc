"""Streams: any cut into pushes gives the full pass; state and latency are those of the geometry."""

import math
import random

import pytest
import torch
from torch import Tensor

from tests.models.dac.helpers import GEOMETRIES, audio, close, small_model
from vivace.models.dac import DacConfig, DacModel
from vivace.nn.geometry import InputError

RATIOS = [*GEOMETRIES[:3], (1,), (5, 3, 2)]
STEPS = ["one", "ragged", "all"]


def pieces(x: Tensor, steps: str, chance: random.Random, frame: int = 1) -> list[Tensor]:
    """x cut along its last axis; ragged cuts hold empty, one-element and longer pieces."""
    ragged = [0, 1, 2, frame // 2, frame + 1, 3 * frame, 7 * frame]
    sizes = {"one": [1], "ragged": ragged, "all": [x.shape[-1]]}[steps]
    found, start = [], 0
    while start < x.shape[-1]:
        size = chance.choice(sizes)
        found.append(x[..., start : start + size])
        start += size
    return found


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("ratios", RATIOS)
def test_decoder_equals_the_full_pass(ratios: tuple[int, ...], steps: str) -> None:
    chance = random.Random(torch.initial_seed())
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 3e-5)):
        model = small_model(ratios, dtype)
        stream, hop = model.streaming_decoder(batch_size=2), model.config.hop_length
        frames = stream.latency_samples // hop + 12
        codes = torch.randint(0, 32, (2, 4, frames))
        with torch.no_grad():
            latents = model.quantizer.from_codes(codes)[0]
            expected = model.decode(latents).audio_values
        for source in (codes, latents) if steps == "all" else (codes,):
            found = [stream.push(piece) for piece in pieces(source, steps, chance)]
            ready = sum(piece.shape[-1] for piece in found)
            assert ready == hop * frames - stream.latency_samples
            found.append(stream.flush())
            close(torch.cat(found, dim=1), expected, tolerance)
            stream.reset()


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("ratios", RATIOS)
def test_encoder_equals_the_full_pass(ratios: tuple[int, ...], steps: str) -> None:
    chance = random.Random(torch.initial_seed())
    hop = math.prod(ratios)
    # Sample by sample only as far as the first frames: every push runs the first layers.
    length = min(hop * 10 + hop // 3, hop + 20 if steps == "one" else 10**6)
    for dtype in (torch.float64,) if steps == "one" else (torch.float64, torch.float32):
        model = small_model(ratios, dtype)
        x = audio(2, length, dtype)
        with torch.no_grad():
            expected = model.encode(x, 3).audio_codes
        stream = model.streaming_encoder(batch_size=2, n_quantizers=3)
        for source in (x, x[:, 0]) if steps == "all" else (x,):
            found = [stream.push(piece) for piece in pieces(source, steps, chance, hop)]
            found.append(stream.flush())
            assert torch.equal(torch.cat(found, dim=2), expected)
            stream.reset()


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 40])
def test_short_streams(length: int) -> None:
    model = small_model((2, 4))
    x = audio(1, length)
    stream = model.streaming_encoder()
    codes = torch.cat((stream.push(x), stream.flush()), dim=2)
    decoder = model.streaming_decoder()
    samples = torch.cat((decoder.push(codes), decoder.flush()), dim=1)
    assert codes.shape == (1, 4, length // 8)
    assert samples.shape == (1, length // 8 * 8)
    if length >= 8:
        assert torch.equal(codes, model.encode(x).audio_codes)
        close(samples, model.decode(audio_codes=codes).audio_values, 1e-12)


def test_a_frame_of_codes_is_given_when_its_latency_has_passed() -> None:
    for ratios in RATIOS:
        model = small_model(ratios, torch.float32)
        hop, stream = model.config.hop_length, model.streaming_encoder()
        x = audio(1, 14 * hop + stream.latency_samples, torch.float32)
        assert stream.push(x[..., :-1]).shape[2] == 13
        assert stream.push(x[..., -1:]).shape[2] == 1


@pytest.mark.parametrize(
    ("ratios", "decoder", "encoder"),
    [((2, 4, 8, 8), 4757, 3733), ((2, 4, 5, 8), 3141, 2493)],
)
def test_latency_of_the_released_geometries(
    ratios: tuple[int, ...], decoder: int, encoder: int
) -> None:
    model = small_model(ratios)
    assert model.streaming_decoder().latency_samples == decoder
    assert model.streaming_encoder().latency_samples == encoder


def test_state_of_the_44_khz_decoder() -> None:
    """476 KiB: what convolutions read of their past, which holds the skips too."""
    with torch.device("meta"):
        model = DacModel(DacConfig(), part="decoder")
        stream = model.streaming_decoder()
        sizes = set()
        for frames in (30, 1, 1, 4):
            stream.push(torch.zeros(1, 1024, frames))
            sizes.add(stream.state_bytes)
    past = 6 * 1024 + (1536 + 768 + 384 + 192) + 6 * 13 * (768 + 384 + 192 + 96) + 6 * 96
    assert past == 121_920
    assert sizes == {4 * past}


def test_work_and_state_per_push_are_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model((2, 4), torch.float32)
    stream = model.streaming_decoder()
    read: list[int] = []
    for name in ("conv1d", "conv_transpose1d"):
        original = getattr(torch.nn.functional, name)

        def counted(x: Tensor, *args: object, _call: object = original, **more: object) -> Tensor:
            read.append(x.numel())
            return _call(x, *args, **more)  # type: ignore[operator]

        monkeypatch.setattr(torch.nn.functional, name, counted)
    totals = []
    start = 2 * stream.latency_samples // model.config.hop_length
    for _ in range(start + 9):
        stream.push(torch.randn(1, 16, 1))
        totals.append((sum(read), stream.state_bytes))
        read.clear()
    assert len(set(totals[start:])) == 1


def test_one_model_serves_many_streams() -> None:
    model = small_model()
    codes = [torch.randint(0, 32, (1, 4, 20)) for _ in range(3)]
    streams = [model.streaming_decoder() for _ in codes]
    found: list[list[Tensor]] = [[], [], []]
    for frame in range(20):
        for stream, source, out in zip(streams, codes, found, strict=True):
            out.append(stream.push(source[..., frame : frame + 1]))
    for stream, source, out in zip(streams, codes, found, strict=True):
        out.append(stream.flush())
        close(torch.cat(out, dim=1), model.decode(audio_codes=source)[0], 1e-12)


def test_streams_do_not_train_and_ignore_the_mode() -> None:
    model = small_model(quantizer_dropout=1.0)
    x = audio(2, 300)
    expected = model.encode(x, 2).audio_codes
    stream = model.train().streaming_encoder(2, n_quantizers=2)
    codes = torch.cat((stream.push(x), stream.flush()), dim=2)
    assert torch.equal(codes, expected)
    assert not model.streaming_decoder(2).push(codes).requires_grad


def test_errors() -> None:
    model = small_model()
    encoder, decoder = model.streaming_encoder(), model.streaming_decoder()
    assert encoder.push(audio(1, 100)).shape[1] == 4
    for stream, wrong, message in [
        (encoder, audio(2, 8), "expected a batch of 1, got 2"),
        (encoder, audio(1, 8)[0, 0], r"\(B, 1, L\) or \(B, L\), got torch.float64 \(8,\)"),
        (encoder, audio(1, 8).repeat(1, 2, 1), r"\(1, 2, 8\)"),
        (encoder, audio(1, 8).short(), "torch.int16"),
        (encoder, audio(1, 8).float(), "must be torch.float64 .* got torch.float32"),
        (decoder, torch.zeros(1, 16, 1), "should be the same type"),
        (decoder, torch.zeros(2, 4, 1).long(), "expected a batch of 1, got 2"),
        (decoder, torch.zeros(1, 4, 1).double(), r"\(B >= 1, 16, T\), got \(1, 4, 1\)"),
    ]:
        with pytest.raises(InputError, match=message):
            stream.push(wrong)
    for codes in (torch.full((1, 4, 1), 32), torch.zeros(1, 5, 1).long(), torch.zeros(4, 1).long()):
        with pytest.raises(IndexError):
            decoder.push(codes)
    for stream, x in ((encoder, audio(1, 8)), (decoder, torch.zeros(1, 4, 1).long())):
        stream.flush()
        for call in (lambda s=stream, y=x: s.push(y), stream.flush):
            with pytest.raises(RuntimeError, match=r"was flushed; call reset\(\)"):
                call()
        stream.reset()
        assert stream.state_bytes == 0
        stream.push(x)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        model.streaming_decoder(0)
    with pytest.raises(ValueError, match="n_quantizers must be at least 1, got 0"):
        model.streaming_encoder(n_quantizers=0)
