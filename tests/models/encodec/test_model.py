"""EncodecModel against transformers' class, live: codes, audio, both modes, shapes, dtypes."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.encodec.helpers import (
    STEREO,
    TINY,
    VARIANTS,
    audio,
    close,
    pair,
    random_codes,
    small_model,
)
from vivace.models.encodec import EncodecDecoderOutput, EncodecEncoderOutput, EncodecOutput

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def assert_same_scales(ours: list[Tensor | None], theirs: list[Tensor | None]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def assert_same(ours: Any, theirs: Any, x: Tensor, tolerance: float, **options: Any) -> None:
    """encode, decode and forward of x, each against transformers'."""
    with torch.no_grad():
        found, expected = ours.encode(x, **options), theirs.encode(x, **options)
        assert torch.equal(found.audio_codes, expected.audio_codes)
        assert found.last_frame_pad_length == expected.last_frame_pad_length
        assert_same_scales(found.audio_scales, expected.audio_scales)
        parts = expected.audio_codes, expected.audio_scales
        more = {"last_frame_pad_length": expected.last_frame_pad_length}
        decoded = theirs.decode(*parts, **more).audio_values
        close(ours.decode(*parts, **more).audio_values, decoded, tolerance)
        whole, reference = ours(x, **options), theirs(x, **options)
    assert torch.equal(whole.audio_codes, reference.audio_codes)
    close(whole.audio_values, reference.audio_values, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["f64", "f32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_transformers(variant: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = pair(TINY | VARIANTS[variant], dtype)
    for batch, length in ((1, 480), (2, 517)):
        assert_same(ours, theirs, audio(ours, batch, length), tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_short_clips(variant: str) -> None:
    """Down to one sample: most reflections are longer than the clip."""
    ours, theirs = pair(TINY | VARIANTS[variant])
    for length in (1, 2, 3, 5, 7, 23, 24, 25, 49):
        assert_same(ours, theirs, audio(ours, 2, length), 1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["f64", "f32"])
@pytest.mark.parametrize("length", [600, 540, 541, 1080, 1500, 1680, 3000, 50])
def test_chunks(length: int, dtype: torch.dtype, tolerance: float) -> None:
    """The 48 kHz configuration in small: chunks of 600 samples, 540 apart."""
    ours, theirs = pair(STEREO, dtype)
    assert_same(ours, theirs, audio(ours, 2, length), tolerance)


def test_many_chunks_run_in_groups() -> None:
    ours, theirs = pair(STEREO)
    assert_same(ours, theirs, audio(ours, 3, 540 * 25 + 60), 1e-10)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
def test_overlaps(overlap: float) -> None:
    ours, theirs = pair(STEREO, overlap=overlap, normalize=False)
    assert_same(ours, theirs, audio(ours, 1, 600 + 3 * int((1 - overlap) * 600)), 1e-10)


@pytest.mark.parametrize("settings", [TINY, STEREO], ids=["mono", "stereo"])
def test_padding_mask(settings: dict[str, Any]) -> None:
    ours, theirs = pair(settings)
    x = audio(ours, 3, 1140)
    mask = torch.ones(3, 1140)
    mask[1, 700:] = 0
    mask[2, :40] = 0
    for given in (mask.int(), mask.bool(), mask[:, None].expand_as(x).bool()):
        assert_same(ours, theirs, x, 1e-10, padding_mask=given)
    with torch.no_grad():
        codes = ours.encode(x).audio_codes
        scales = ours.encode(x).audio_scales
        cut = ours.decode(codes, scales, padding_mask=mask[:, :1000]).audio_values
    assert cut.shape == (3, ours.config.audio_channels, 1000)


@pytest.mark.parametrize(("bandwidth", "books"), [(None, 3), (15.0, 3), (30.0, 6), (60.0, 12)])
def test_bandwidths(bandwidth: float | None, books: int) -> None:
    ours, theirs = pair()
    x = audio(ours, 2, 300)
    assert ours.encode(x, bandwidth=bandwidth).audio_codes.shape == (1, 2, books, 13)
    assert_same(ours, theirs, x, 1e-10, bandwidth=bandwidth)
    for value in (None, 0.0, 1.0, 15.0, 44.0):
        ask = "get_num_quantizers_for_bandwidth"
        assert getattr(ours.quantizer, ask)(value) == getattr(theirs.quantizer, ask)(value)


def test_modules_equal_transformers() -> None:
    """`encoder`, `quantizer` and `decoder` called directly, as BarkModel does."""
    ours, theirs = pair()
    x = audio(ours, 2, 333)
    with torch.no_grad():
        hidden = theirs.encoder(x)
        close(ours.encoder(x), hidden, 1e-11)
        codes = theirs.quantizer.encode(hidden, 60.0)
        assert torch.equal(ours.quantizer.encode(hidden, 60.0), codes)
        for count in (12, 8, 1):
            latents = theirs.quantizer.decode(codes[:count])
            close(ours.quantizer.decode(codes[:count]), latents, 1e-12)
            assert torch.equal(ours.quantizer.decode(codes[:count].int()), latents)
        close(ours.decoder(latents), theirs.decoder(latents), 1e-11)


def test_the_released_geometry() -> None:
    """24 kHz, 320 samples per frame, 32 codebooks: the configuration of Bark's codec, narrow."""
    ours, theirs = pair({"num_filters": 4, "hidden_size": 16}, torch.float32)
    assert_same(ours, theirs, audio(ours, 1, 24000), 1e-5, bandwidth=6.0)
    assert len(ours.quantizer.layers) == 32
    places = {int(name.split(".")[1]) for name, _ in ours.decoder.named_parameters()}
    assert sorted(places) == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15]


def test_tuples_and_outputs() -> None:
    model = small_model()
    x = audio(model, 1, 100)
    encoded, output = model.encode(x), model(x)
    assert isinstance(encoded, EncodecEncoderOutput)
    assert isinstance(output, EncodecOutput)
    assert encoded.audio_scales == [None]
    decoded = model.decode(encoded.audio_codes, encoded.audio_scales)
    assert isinstance(decoded, EncodecDecoderOutput)
    codes, scales, missing = model.encode(x, return_dict=False)
    assert torch.equal(codes, encoded.audio_codes)
    assert (scales, missing) == ([None], 0)
    assert torch.equal(model.decode(codes, return_dict=False)[0], decoded.audio_values)
    model.config.return_dict = False
    assert torch.equal(model(x)[1], output.audio_values)
    assert torch.equal(model(x, audio_codes=codes, audio_scales=scales)[1], output.audio_values)


@pytest.mark.parametrize("settings", [TINY, STEREO], ids=["mono", "stereo"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, settings: dict[str, Any]) -> None:
    """As near to the float64 truth as the dtype allows."""
    model = small_model(settings, dtype)
    wide = copy.deepcopy(model).double()
    codes = random_codes(model, 1, 2, 4, 25)
    with torch.no_grad():
        found = model.decode(codes).audio_values
        truth = wide.decode(codes).audio_values
        encoded = model.encode(audio(model, 2, 540))
    assert found.dtype == dtype
    close(found.double(), truth, 16 * torch.finfo(dtype).eps)
    assert encoded.audio_codes.shape == (1, 2, 3 if settings is TINY else 2, 23)
    assert all(s is None or s.dtype == dtype for s in encoded.audio_scales)


def test_silence_has_codes() -> None:
    for dtype in (torch.float16, torch.float32):
        model = small_model(STEREO, dtype)
        encoded = model.encode(torch.zeros(1, 2, 600, dtype=dtype))
        assert model.decode(encoded.audio_codes, encoded.audio_scales).audio_values.isfinite().all()


def test_copies_and_pickles() -> None:
    model = small_model()
    codes = random_codes(model, 1, 2, 5, 9)
    expected = model.decode(codes).audio_values
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.decode(codes).audio_values, expected)
        twin.quantizer.layers[0].codebook.embed.add_(1)
        assert not torch.equal(twin.decode(codes).audio_values, expected)
    assert torch.equal(model.decode(codes).audio_values, expected)


def test_changes_of_weights_are_noticed() -> None:
    ours, theirs = pair()
    codes = random_codes(ours, 1, 1, 4, 9)
    with torch.no_grad():
        ours.decode(codes)
        embed = ours.quantizer.layers[2].codebook.embed
        embed.mul_(3)
        theirs.quantizer.layers[2].codebook.embed.mul_(3)
        close(ours.decode(codes)[0], theirs.decode(codes, [None])[0], 1e-11)
        ours.quantizer.layers[1].codebook.embed = theirs.quantizer.layers[1].codebook.embed = -embed
        close(ours.decode(codes)[0], theirs.decode(codes, [None])[0], 1e-11)


def test_gradients_reach_the_decoder() -> None:
    ours, theirs = pair()
    codes = random_codes(ours, 1, 1, 4, 9)
    for model in (ours, theirs):
        model.train().decode(codes, [None]).audio_values.pow(2).sum().backward()
    for name in ("layers.0.conv.bias", "layers.1.lstm.weight_hh_l1", "layers.4.shortcut.conv.bias"):
        grads = [m.decoder.get_parameter(name).grad for m in (ours, theirs)]
        assert grads[0] is not None
        assert grads[1] is not None
        close(grads[0], grads[1], 1e-9)
