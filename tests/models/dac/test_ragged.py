"""Padded batches: every clip's result equals its solo run, and the padding holds zeros."""

import pytest
import torch
from torch import Tensor

from tests.models.dac.helpers import GEOMETRIES, audio, close, small_model
from vivace.models.dac import DacModel

TOLERANCES = [(torch.float64, 1e-12), (torch.float32, 3e-5)]
IDS = ["f64", "f32"]


def batch_of(model: DacModel, frames: list[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(audio, padding mask) of clips with so many frames and a bit; the padding is NaN."""
    hop = model.config.hop_length
    lengths = [n * hop + (3 * row) % hop for row, n in enumerate(frames)]
    x = audio(len(frames), max(lengths) + 2 * hop, dtype)
    mask = torch.arange(x.shape[-1]) < torch.tensor(lengths)[:, None]
    return x.masked_fill(~mask[:, None], float("nan")), mask


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES, ids=IDS)
@pytest.mark.parametrize("ratios", GEOMETRIES)
def test_every_clip_equals_its_solo_run(
    ratios: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    model = small_model(ratios, dtype)
    x, mask = batch_of(model, [24, 9, 13], dtype)
    with torch.no_grad():
        result = model(x, padding_mask=mask.int())
        encoded = model.encode(x, 3, padding_mask=mask)
        for row in range(len(x)):
            clip = x[row : row + 1, :, : int(mask[row].sum())]
            solo = model(clip)
            frames, samples = solo.audio_codes.shape[-1], solo.audio_values.shape[-1]
            assert result.code_lengths[row] == encoded.code_lengths[row] == frames
            assert result.audio_lengths[row] == samples
            assert torch.equal(result.audio_codes[row, :, :frames], solo.audio_codes[0])
            assert torch.equal(encoded.audio_codes[row, :, :frames], solo.audio_codes[0, :3])
            close(result.loss[row], solo.loss[0], tolerance)
            for name, end in (
                ("audio_values", samples),
                ("quantized_representation", frames),
                ("projected_latents", frames),
                ("audio_codes", frames),
            ):
                close(result[name][row, ..., :end], solo[name][0], tolerance)
                assert not result[name][row, ..., end:].any()


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES, ids=IDS)
@pytest.mark.parametrize("ratios", GEOMETRIES)
def test_decode_with_lengths(ratios: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    model = small_model(ratios, dtype)
    lengths = [25, 11, 0, 24]
    codes = torch.randint(0, 32, (4, 4, 25))
    for row, length in enumerate(lengths):
        codes[row, :, length:] = -1  # what stands in the padding does not matter
    with torch.no_grad():
        by_codes = model.decode(audio_codes=codes, lengths=lengths)
        latents = model.quantizer.from_codes(codes.clamp(min=0))[0]
        by_latents = model.decode(latents, lengths=torch.tensor(lengths))
        for row, length in enumerate(lengths):
            solo = torch.zeros(0, dtype=dtype)
            if length:
                solo = model.decode(audio_codes=codes[row : row + 1, :, :length])[0][0]
            for result in (by_codes, by_latents):
                assert result.audio_lengths[row] == len(solo)
                close(result.audio_values[row, : len(solo)], solo, tolerance)
                assert not result.audio_values[row, len(solo) :].any()


def test_clips_too_short_for_a_frame_have_none() -> None:
    model = small_model((2, 4, 8, 8))
    x, mask = audio(3, 1100), torch.zeros(3, 1100, dtype=torch.bool)
    mask[0, :1030], mask[1, :511] = True, True
    result = model(x, padding_mask=mask)
    assert result.code_lengths.tolist() == [2, 0, 0]
    assert result.audio_lengths.tolist() == [1024, 0, 0]
    assert result.audio_values.shape == (3, 1024)
    assert not any(bool(result[name][1:].any()) for name in result)
    with pytest.raises(ValueError, match="at least 512 samples are needed, got 511"):
        model(x[1:], padding_mask=mask[1:])
    with pytest.raises(ValueError, match="at least 1 frames are needed, got 0"):
        model.decode(audio_codes=result.audio_codes, lengths=[0, 0, 0])


def test_a_full_mask_changes_nothing_but_gives_each_clip_its_loss() -> None:
    model = small_model((2, 4, 5))
    x = audio(3, 400)
    with torch.no_grad():
        plain, masked = model(x), model(x, padding_mask=torch.ones(3, 400, dtype=torch.bool))
        solo = torch.cat([model(clip[None]).loss for clip in x])
    assert plain.code_lengths is None
    assert plain.audio_lengths is None
    for name in ("audio_values", "audio_codes", "quantized_representation", "projected_latents"):
        assert torch.equal(plain[name], masked[name])
    close(masked.loss, solo, 1e-13)
    close(masked.loss.mean(), plain.loss.mean(), 1e-13)
    assert masked.code_lengths.tolist() == [plain.audio_codes.shape[-1]] * 3
    assert masked.audio_lengths.tolist() == [plain.audio_values.shape[-1]] * 3


def test_lengths_are_in_the_tuples_too() -> None:
    model = small_model()
    x, mask = audio(2, 80), torch.ones(2, 80, dtype=torch.int32)
    mask[1, 50:] = 0
    assert model.encode(x, None, False, padding_mask=mask)[4].tolist() == [10, 6]
    assert [t.tolist() for t in model(x, None, False, padding_mask=mask)[5:]] == [[10, 6], [80, 48]]
    codes = model.encode(x).audio_codes
    assert model.decode(None, codes, False, lengths=[10, 6])[1].tolist() == [80, 48]


def test_bad_masks_and_lengths() -> None:
    model, x = small_model(), audio(2, 80)
    codes = model.encode(x).audio_codes
    holes = torch.ones(2, 80, dtype=torch.bool)
    holes[0, 3] = False
    for mask in (holes, torch.ones(2, 79).bool(), torch.ones(80).bool(), torch.ones(2, 80)):
        for call in (model, model.encode):
            with pytest.raises(ValueError, match=r"DacModel\.encode: padding_mask must"):
                call(x, padding_mask=mask)
    for lengths in ([10], [10, 11], [10, -1], [1.5, 2]):
        with pytest.raises(ValueError, match=r"lengths must be 2 integers in \[0, 10\]"):
            model.decode(audio_codes=codes, lengths=lengths)  # type: ignore[arg-type]
