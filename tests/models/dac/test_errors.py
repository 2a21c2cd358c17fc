"""Bad inputs of DacModel: each raises what transformers raises, with a message that says why."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.models.dac.helpers import audio, pair, small_model


def codes(*shape: int) -> torch.Tensor:
    return torch.randint(0, 32, shape)


Call = Callable[[Any], Any]
# name: (call, the message of ours). Hop 8, 16 latent channels, 4 codebooks of 32 codes of width 4.
CASES: dict[str, tuple[Call, str]] = {
    "too short": (lambda m: m.encode(audio(1, 7)), "at least 8 samples are needed, got 7"),
    "no samples": (lambda m: m.encode(audio(1, 0)), "at least 8 samples are needed, got 0"),
    "no clip": (lambda m: m.encode(audio(0, 80)), r"shape \(B >= 1, 1, L\), got .* \(0, 1, 80\)"),
    "2-D audio": (lambda m: m.encode(audio(1, 80)[0]), r"got torch.float64 \(1, 80\)"),
    "4-D audio": (lambda m: m.encode(audio(1, 80)[None]), r"got torch.float64 \(1, 1, 1, 80\)"),
    "stereo": (lambda m: m.encode(audio(1, 80).repeat(1, 2, 1)), r"\(1, 2, 80\)"),
    "int audio": (lambda m: m.encode(codes(1, 1, 80)), "must be floats .* got torch.int64"),
    "float32 audio": (lambda m: m(audio(1, 80).float()), "should be the same"),
    "float32 latents": (lambda m: m.decode(torch.zeros(1, 16, 3)), "should be the same"),
    "0 codebooks": (lambda m: m.encode(audio(1, 80), 0), "at least 1, got 0"),
    "-1 codebooks": (lambda m: m(audio(1, 80), -1), "at least 1, got -1"),
    "nothing": (lambda m: m.decode(), "Either `quantized_representation` or `audio_codes`"),
    "codes first": (lambda m: m.decode(codes(1, 4, 3)), "passed as audio_codes="),
    "narrow latents": (lambda m: m.decode(audio(1, 3)), r"\(B >= 1, 16, T\), got \(1, 1, 3\)"),
    "2-D latents": (lambda m: m.decode(audio(16, 3)[:, 0]), r"got \(16, 3\)"),
    "no frames": (lambda m: m.decode(torch.zeros(1, 16, 0).double()), "at least 1 frames"),
    "5 codebooks": (lambda m: m.decode(audio_codes=codes(1, 5, 3)), "index 4 is out of range"),
    "code 32": (lambda m: m.decode(audio_codes=codes(1, 4, 3) + 32), r"in \[0, 32\), got"),
    "code -1": (lambda m: m.decode(audio_codes=-1 - codes(1, 4, 3)), r"in \[0, 32\), got -"),
    "float codes": (
        lambda m: m.decode(audio_codes=codes(1, 4, 3).float()),
        "must be integers, got torch.float32",
    ),
    "bool codes": (lambda m: m.decode(audio_codes=codes(1, 4, 3) > 3), "got torch.bool"),
    "1-D codes": (lambda m: m.decode(audio_codes=codes(4)), r"got \(4,\)"),
    "2-D codes": (lambda m: m.decode(audio_codes=codes(4, 3)), r"T frames\), got \(4, 3\)"),
    "4-D codes": (lambda m: m.decode(audio_codes=codes(1, 4, 3, 1)), r"got \(1, 4, 3, 1\)"),
    "no codes": (lambda m: m.decode(audio_codes=codes(1, 4, 0)), "are empty"),
    "codes of no book": (lambda m: m.decode(audio_codes=codes(1, 0, 3)), "are empty"),
    "few channels": (
        lambda m: m.quantizer.from_latents(audio(1, 3)),
        r"\(B, >= 4, T\), got \(1, 1, 3\)",
    ),
    "unknown argument": (lambda m: m(audio(1, 80), attention_mask=None), "unexpected keyword"),
}


@pytest.mark.parametrize("name", CASES)
def test_raises_what_transformers_raises(name: str) -> None:
    call, message = CASES[name]
    ours, theirs = pair()
    with pytest.raises(Exception) as expected:  # noqa: PT011 - its type is what is asked
        call(theirs)
    with pytest.raises(type(expected.value), match=message):
        call(ours)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.uint16])
def test_every_integer_type_holds_codes(dtype: torch.dtype) -> None:
    """transformers takes int64 and int32 alone; .dac files hold uint16."""
    model, ids = small_model(), codes(2, 4, 3)
    assert torch.equal(model.decode(audio_codes=ids.to(dtype))[0], model.decode(None, ids)[0])


def test_bad_chunk_lengths_and_modes() -> None:
    model = small_model()
    for seconds in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="chunk_length_s must be a positive number"):
            model.encode(audio(1, 80), chunk_length_s=seconds)
        with pytest.raises(ValueError, match="chunk_length_s must be a positive number"):
            model.decode(audio_codes=codes(1, 4, 3), chunk_length_s=seconds)
    with pytest.raises(ValueError, match="chunk_length_s needs eval mode"):
        model.train().encode(audio(1, 80), chunk_length_s=1)
