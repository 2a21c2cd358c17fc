"""SpeechT5HifiGan against transformers' class, live: samples, lengths, pieces, files, errors."""

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from tests.models.audioldm.helpers_text import (
    PRECISION_IDS,
    PRECISIONS,
    VOCODERS,
    close,
    randomize,
    small_vocoder,
    vocoder_pair,
)
from vivace.models.audioldm import SpeechT5HifiGan, SpeechT5HifiGanConfig


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=PRECISION_IDS)
@pytest.mark.parametrize("variant", VOCODERS)
@torch.no_grad()
def test_equals_transformers(variant: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = vocoder_pair(dtype, **VOCODERS[variant])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for batch, time in ((1, 1), (3, 2), (2, 17)):
        mel = torch.randn(batch, time, 8, dtype=dtype)
        expected = theirs(mel)
        assert expected.abs().max() > 0.05
        close(ours(mel), expected, tolerance)
    close(ours(mel[1]), theirs(mel[1]), tolerance)
    # A view in time and channels, as the pipeline's transposed mel.
    view = torch.randn(2, 8, 22, dtype=dtype).transpose(1, 2)[:, 3:-2]
    close(ours(view), theirs(view), tolerance)


@torch.no_grad()
def test_lengths() -> None:
    """160 samples per frame and 32 more, which the first transposed convolution adds."""
    model = small_vocoder()
    assert model.config.hop_length == 160
    for time in (1, 2, 3, 8, 13):
        assert model(torch.randn(2, time, 8).double()).shape == (2, (5 * time + 1) * 32)
        assert model(torch.randn(time, 8).double()).shape == ((5 * time + 1) * 32,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_as_near_to_float64_as_transformers(dtype: torch.dtype) -> None:
    ours, theirs = vocoder_pair(dtype, normalize_before=True)
    exact = copy.deepcopy(theirs).double()
    mel = torch.randn(2, 21, 8, dtype=dtype)
    found, reference, expected = ours(mel), theirs(mel), exact(mel.double())
    assert found.dtype == dtype
    error, allowed = ((y - expected).square().mean().sqrt() for y in (found, reference))
    assert error < 1.5 * allowed
    assert allowed < 0.1 * expected.square().mean().sqrt()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("variant", VOCODERS)
@torch.no_grad()
def test_pieces_give_the_same_samples(variant: str, dtype: torch.dtype, tolerance: float) -> None:
    model = small_vocoder(dtype, **VOCODERS[variant])
    mel = torch.randn(2, 61, 8, dtype=dtype)
    whole = model(mel)
    for chunk in (20, 60, 61, 100):
        close(model(mel, chunk=chunk), whole, tolerance)
    close(model(mel[0], chunk=30), whole[0], tolerance)
    short = mel[:, :5]
    for chunk in (1, 3):
        close(model(short, chunk=chunk), model(short), tolerance)


@pytest.mark.parametrize("variant", VOCODERS)
def test_pieces_see_just_the_frames_that_they_depend_on(variant: str) -> None:
    model = small_vocoder(**VOCODERS[variant])
    hop, mel = model.config.hop_length, torch.randn(1, 90, 8).double().requires_grad_()
    first, end = model._frames_behind((40 * hop, 44 * hop))
    assert 0 < first < 40
    assert 44 < end < 90
    # Random cotangents: the sum of the samples alone could cancel.
    piece = model(mel)[:, 40 * hop : 44 * hop]
    (gradient,) = torch.autograd.grad(piece, mel, torch.randn_like(piece))
    seen = gradient.abs().amax((0, 2)) > 0
    assert not seen[:first].any()
    assert not seen[end:].any()
    assert seen[first]
    assert seen[end - 1]


def test_released_geometry_reaches_23_frames() -> None:
    model = small_vocoder()
    first, end = model._frames_behind((100 * 160, 200 * 160))
    assert (100 - first, end - 200) == (23, 23)


@torch.no_grad()
def test_pieces_bound_the_frames_that_are_evaluated_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, sizes = small_vocoder(torch.float32), []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda x: sizes.append(x.shape[1]) or run(x))
    model(torch.randn(1, 300, 8), chunk=50)
    assert len(sizes) == 6
    assert max(sizes) == 50 + 2 * 23


@pytest.mark.parametrize("variant", ["normalised", "odd"])
def test_gradients(variant: str) -> None:
    ours, theirs = vocoder_pair(**VOCODERS[variant])
    inputs = [torch.randn(2, 5, 8).double().requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    for model, mel in zip((ours, theirs), inputs, strict=True):
        model(mel).square().sum().backward()
    close(inputs[0].grad, inputs[1].grad, 1e-10)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        close(parameter.grad, expected[name].grad, 1e-10)


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(initializer_range=0.03))
    assert model.training
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            assert module.weight.std().item() == pytest.approx(0.03, rel=0.15)
            assert not module.bias.any()
    assert not model.mean.any()
    assert (model.scale == 1).all()
    reference = transformers.SpeechT5HifiGanConfig().to_dict()
    found = SpeechT5HifiGanConfig().to_dict()
    assert {k: _plain(reference[k]) for k in found if k in reference} == {
        k: v for k, v in found.items() if k in reference
    }
    assert {"model_in_dim", "leaky_relu_slope", "resblock_dilation_sizes"} < set(found)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@torch.no_grad()
def test_weight_norm(tmp_path: Path) -> None:
    ours, theirs = vocoder_pair()
    mel = torch.randn(2, 9, 8).double()
    expected = ours(mel)
    ours.apply_weight_norm()
    theirs.apply_weight_norm()
    assert set(ours.state_dict()) == set(theirs.state_dict())
    close(ours(mel), expected, 1e-13)
    with pytest.raises(ValueError, match="parametrised already"):
        ours.apply_weight_norm()
    ours.save_pretrained(tmp_path)
    ours.remove_weight_norm()
    close(ours(mel), expected, 1e-13)
    with pytest.raises(ValueError, match="weight_norm of 'weight' not found"):
        ours.remove_weight_norm()
    close(SpeechT5HifiGan.from_pretrained(tmp_path)(mel), expected, 1e-13)
    close(transformers.SpeechT5HifiGan.from_pretrained(tmp_path)(mel), expected, 1e-10)


@pytest.mark.parametrize("old_names", [True, False])
@torch.no_grad()
def test_loads_weight_norm_of_either_kind(tmp_path: Path, old_names: bool) -> None:
    _, theirs = vocoder_pair()
    mel = torch.randn(1, 6, 8).double()
    expected = theirs(mel)
    theirs.apply_weight_norm()
    state = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        )
        if old_names
        else key: value
        for key, value in theirs.state_dict().items()
    }
    theirs.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    kind: Any = SpeechT5HifiGan
    loaded, info = kind.from_pretrained(tmp_path, dtype=torch.float64, output_loading_info=True)
    assert not any(info.values())
    close(loaded(mel), expected, 1e-10)


@pytest.mark.parametrize("safe", [True, False])
@torch.no_grad()
def test_each_loads_what_the_other_saved(tmp_path: Path, safe: bool) -> None:
    ours, theirs = vocoder_pair(torch.float32, normalize_before=True)
    mel = torch.randn(2, 7, 8)
    ours.save_pretrained(tmp_path / "ours", safe_serialization=safe)
    theirs.save_pretrained(tmp_path / "theirs")
    for name in ("ours", "theirs"):
        kinds: tuple[Any, ...] = SpeechT5HifiGan, transformers.SpeechT5HifiGan
        for kind in kinds:
            loaded, info = kind.from_pretrained(tmp_path / name, output_loading_info=True)
            assert not any(info.values())
            assert not loaded.training
            for key, value in loaded.state_dict().items():
                assert torch.equal(value, ours.state_dict()[key]), key
            close(loaded(mel), ours(mel), 1e-5)
    found = SpeechT5HifiGanConfig.from_pretrained(tmp_path / "theirs")
    assert found.upsample_rates == [5, 4, 2, 2, 2]
    assert (tmp_path / "ours" / "model.safetensors").exists() == safe


def test_the_old_model_type_loads_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = small_vocoder(torch.float32)
    ours.save_pretrained(tmp_path / "vocoder")
    path = tmp_path / "vocoder" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"model_type": "hifigan"}))
    with caplog.at_level(logging.WARNING):
        loaded = SpeechT5HifiGan.from_pretrained(tmp_path, subfolder="vocoder")
    assert not caplog.records
    assert loaded.config.upsample_kernel_sizes == [16, 16, 8, 4, 4]
    assert loaded.config.model_type == "speecht5_hifigan"
    path.write_text(json.dumps(config | {"model_type": "wave"}))
    with caplog.at_level(logging.WARNING):
        SpeechT5HifiGanConfig.from_pretrained(tmp_path / "vocoder")
    assert "model of type `wave`" in caplog.text


@torch.no_grad()
def test_absent_buffers_are_those_of_a_new_model(tmp_path: Path) -> None:
    ours = small_vocoder(torch.float32)
    state = {k: v for k, v in ours.state_dict().items() if k not in ("mean", "scale")}
    ours.save_pretrained(tmp_path, state_dict=state)
    loaded = SpeechT5HifiGan.from_pretrained(tmp_path)
    assert not loaded.mean.any()
    assert (loaded.scale == 1).all()
    copied = pickle.loads(pickle.dumps(loaded))
    mel = torch.randn(1, 4, 8)
    assert torch.equal(copied(mel), loaded(mel))


@pytest.mark.parametrize(
    ("mel", "options", "error", "message"),
    [
        (torch.zeros(1, 4, 9), {}, ValueError, r"shape \(B, T, 8\) or \(T, 8\), got \(1, 4, 9\)"),
        (torch.zeros(1, 1, 4, 8), {}, ValueError, r"got \(1, 1, 4, 8\)"),
        (torch.zeros(8), {}, ValueError, r"got \(8,\)"),
        (torch.zeros(1, 0, 8), {}, ValueError, "at least one frame"),
        (torch.zeros(1, 4, 8), {"chunk": 0}, ValueError, "chunk must be at least 1 frame, got 0"),
        (torch.zeros(1, 4, 8).half(), {}, TypeError, "must share a float dtype"),
    ],
)
def test_errors(mel: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        small_vocoder(torch.float32)(mel, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample_rates": [5, 4]}, "must have one length, at least 1, got .5, 4."),
        ({"upsample_kernel_sizes": [4, 16, 8, 4, 4]}, "must not be below upsample_rates"),
        ({"resblock_kernel_sizes": [3]}, "resblock_dilation_sizes must have one length"),
        ({"resblock_kernel_sizes": [3, 4, 7]}, "kernel_size must be odd, got 4"),
        ({"upsample_initial_channel": 16}, "must be at least 32 for 5 upsample_rates, got 16"),
        ({"leaky_relu_slope": "0.1"}, "leaky_relu_slope"),
    ],
)
def test_errors_of_the_configuration(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_vocoder(**changes)


@torch.no_grad()
def test_a_new_model_is_nearly_silent_until_its_weights_are_set() -> None:
    """Why the comparisons here set every weight: an absolute tolerance would pass on silence."""
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(model_in_dim=8, upsample_initial_channel=64))
    mel = torch.randn(1, 4, 8)
    assert model(mel).abs().max() < 1e-4
    randomize(model)
    assert model(mel).abs().max() > 1e-2
