"""What EncodecModel refuses, with the kinds of error that transformers raises."""

from typing import Any

import pytest
import torch
import transformers

from tests.models.encodec.helpers import STEREO, TINY, audio, pair, random_codes, small_model
from vivace.models.encodec import EncodecConfig, EncodecModel
from vivace.nn.geometry import InputError


def test_construction() -> None:
    for cls, config in (
        (EncodecModel, EncodecConfig),
        (transformers.EncodecModel, transformers.EncodecConfig),
    ):
        with pytest.raises(ValueError, match="The codebook_size must be a power of 2"):
            cls(config(**TINY | {"codebook_size": 33}))
        with pytest.raises(ValueError, match="only makes sense for causal"):
            cls(config(**TINY | {"use_causal_conv": False, "trim_right_ratio": 0.5}))


def test_errors_of_both() -> None:
    """The same kind of error (ours may be more special), with the same words where they help."""
    ours, theirs = pair()
    x, codes = audio(ours, 1, 100), random_codes(ours, 2, 1, 3, 5)
    cases: list[tuple[Any, type[Exception], str | None]] = [
        (lambda m: m.encode(x, bandwidth=7.0), ValueError, "support the bandwidth 7.0"),
        (lambda m: m.encode(x.repeat(1, 3, 1)), ValueError, "must be 1 or 2, but got 3"),
        (lambda m: m.encode(x.repeat(1, 2, 1)), RuntimeError, "2"),
        (lambda m: m.encode(x[0]), ValueError, None),
        (lambda m: m.encode(x[..., :0]), ValueError, None),
        (lambda m: m.encode(x.float()), RuntimeError, "should be the same"),
        (lambda m: m.encode(x, torch.ones(1, 99).bool()), RuntimeError, "99"),
        (lambda m: m.decode(codes, [None, None]), ValueError, "Expected one frame, got 2"),
        (lambda m: m(x, audio_codes=codes), ValueError, "did not specify the `audio_scales`"),
        (lambda m: m(x, audio_scales=[None]), ValueError, "did not specify the `audio_codes`"),
        (lambda m: m.decode(codes[:1] + 32, [None]), IndexError, None),
        (lambda m: m.decode(codes[:1] - 32, [None]), IndexError, None),
        (lambda m: m.decode(codes[:1].repeat(1, 1, 5, 1), [None]), IndexError, None),
        (lambda m: m.decode(codes[:1, :, :, :0], [None]), RuntimeError, None),
    ]
    for call, error, message in cases:
        for model in (theirs, ours):
            with pytest.raises(error, match=message):
                call(model)


def test_errors_of_ours() -> None:
    model = small_model()
    x = audio(model, 1, 100)
    for call, message in [
        (lambda: model.encode(x.int()), "should be the same type, got torch.int32"),
        (lambda: model.encode(x, torch.ones(1, 1, 1, 100)), r"\(1, 100\) or \(1, 1, 100\), got"),
        (lambda: model.decode(random_codes(model, 1, 3, 5)), r"\(F chunks, B, N, T\), got"),
        (lambda: model.decode(torch.zeros(1, 1, 3, 5)), "codes must be integers"),
        (lambda: model.quantizer.decode(random_codes(model, 3, 5)), "codes must have shape"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(ValueError, match="Expected one frame, got 0"):
        model.decode(random_codes(model, 0, 1, 3, 5))


def test_errors_of_chunks() -> None:
    ours, theirs = pair(STEREO)
    for model in (ours, theirs):  # the last two chunks are both incomplete
        with pytest.raises(RuntimeError):
            model.encode(audio(ours, 1, 1100))
    with pytest.raises(InputError, match="1100 samples end in several incomplete chunks"):
        ours.encode(audio(ours, 1, 1100))
    codes = random_codes(ours, 2, 1, 3, 5)  # 120 samples, where the stride is 540
    for model in (ours, theirs):
        with pytest.raises(ValueError, match="`sum_weight` minimum element must be bigger"):
            model.decode(codes, [None, None])
    with pytest.raises(ValueError, match="audio_scales must hold 2 entries"):
        ours.decode(codes, [None])
    ours.config.overlap = None
    with pytest.raises(ValueError, match="chunk_length_s needs overlap"):
        ours.encode(audio(ours, 1, 1200))
