"""Checkpoints: all spellings of weight norm, and models that transformers reads and writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.models.encodec.helpers import (
    STEREO,
    TINY,
    audio,
    close,
    pair,
    random_codes,
    small_model,
)
from vivace.models.encodec import EncodecModel
from vivace.models.encodec.checkpoint import split_weight_norm

NOTHING = {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set()}
NEW = ("parametrizations.weight.original0", "parametrizations.weight.original1")


def load(cls: Any, folder: Path, **options: Any) -> Any:
    """The loaded model, after a look at the report: no key missing, unexpected or misfitting."""
    model, info = cls.from_pretrained(folder, output_loading_info=True, **options)
    assert {key: set(info[key]) for key in NOTHING} == NOTHING
    return model.eval()


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    assert list(one.state_dict()) == list(other.state_dict())
    for key, value in one.state_dict().items():
        assert value.dtype == other.state_dict()[key].dtype
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize("settings", [TINY, STEREO], ids=["weight_norm", "time_group_norm"])
@pytest.mark.parametrize("size", ["50GB", "20KB"])
def test_both_ways(tmp_path: Path, settings: dict[str, Any], size: str) -> None:
    ours, theirs = pair(settings, torch.float32)
    ours.save_pretrained(tmp_path / "ours", max_shard_size=size)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=size)
    configs = [json.loads((tmp_path / n / "config.json").read_text()) for n in ("ours", "theirs")]
    assert configs[0] == configs[1]
    from_ours = load(transformers.EncodecModel, tmp_path / "ours")
    from_theirs = load(EncodecModel, tmp_path / "theirs")
    assert_same_weights(load(EncodecModel, tmp_path / "ours"), ours)
    assert_same_weights(from_theirs, ours)
    x = audio(ours, 2, 480)
    with torch.no_grad():
        for reference in (theirs, from_ours):
            for found in (ours, from_theirs):
                result, expected = found(x), reference(x)
                assert torch.equal(result.audio_codes, expected.audio_codes)
                close(result.audio_values, expected.audio_values, 1e-5)


def test_a_saved_model_is_in_transformers_what_it_is_here(tmp_path: Path) -> None:
    """The folded weights of transformers' copy differ by rounding, if at all."""
    ours = small_model(dtype=torch.float32)
    ours.save_pretrained(tmp_path)
    theirs = load(transformers.EncodecModel, tmp_path)
    for name, module in ours.named_modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            weight = theirs.get_submodule(name).weight
            torch.testing.assert_close(weight, module.weight, rtol=3e-7, atol=0)


@pytest.mark.parametrize("spelling", ["plain", "old", "new"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_spellings(tmp_path: Path, spelling: str, suffix: str) -> None:
    """As the released .bin has it (weight_g), as transformers 5 writes it, and folded."""
    ours, theirs = pair(dtype=torch.float32)
    state: dict[str, Tensor] = dict(theirs.state_dict())
    if spelling == "plain":
        state = dict(ours.state_dict())
    elif spelling == "old":
        state = {
            key.replace(NEW[0], "weight_g").replace(NEW[1], "weight_v"): value
            for key, value in state.items()
        }
        g = state["decoder.layers.3.conv.weight_g"]
        assert g.shape == (ours.decoder.layers[3].conv.in_channels, 1, 1)
        assert (
            ours.decoder.layers[3].conv.in_channels == 2 * ours.decoder.layers[3].conv.out_channels
        )
    ours.config.save_pretrained(tmp_path)
    if suffix == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load(EncodecModel, tmp_path)
    assert_same_weights(loaded, ours)
    assert not loaded.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    """Saving and loading changes no bit, in any dtype; transformers loads it as that dtype."""
    ours = small_model(dtype=dtype)
    ours.save_pretrained(tmp_path)
    assert_same_weights(load(EncodecModel, tmp_path), ours)
    theirs = load(transformers.EncodecModel, tmp_path)
    assert theirs.dtype == dtype
    weight = theirs.decoder.layers[3].conv.weight
    expected = ours.decoder.layers[3].conv.weight
    close(weight.double(), expected.double(), 2 * torch.finfo(dtype).eps)


def test_rows_of_zeros_stay_zeros(tmp_path: Path) -> None:
    """0 · 0 / 0 would be no number: a direction is written for them."""
    ours = small_model(dtype=torch.float32)
    with torch.no_grad():
        ours.decoder.layers[0].conv.weight[3] = 0
    ours.save_pretrained(tmp_path)
    assert_same_weights(load(EncodecModel, tmp_path), ours)
    theirs = load(transformers.EncodecModel, tmp_path)
    assert torch.equal(theirs.decoder.layers[0].conv.weight[3], torch.zeros(16, 7))


def test_keys_are_those_of_the_released_files(tmp_path: Path) -> None:
    ours, theirs = pair()
    ours.save_pretrained(tmp_path)
    expected = {
        key.replace(NEW[0], "weight_g").replace(NEW[1], "weight_v") for key in theirs.state_dict()
    }
    assert set(load_file(tmp_path / "model.safetensors")) == expected
    folded = {
        key.replace(f".{NEW[1]}", ".weight") for key in theirs.state_dict() if NEW[0] not in key
    }
    assert set(ours.state_dict()) == folded


def test_parts(tmp_path: Path) -> None:
    ours = small_model(dtype=torch.float32)
    ours.save_pretrained(tmp_path)
    codes = random_codes(ours, 1, 1, 4, 9)
    decoder = load(EncodecModel, tmp_path, part="decoder")
    assert decoder.encoder is None
    assert torch.equal(decoder.decode(codes).audio_values, ours.decode(codes).audio_values)
    with pytest.raises(ValueError, match="has no encoder: it was loaded with part='decoder'"):
        decoder.encode(audio(ours, 1, 100))
    encoder = load(EncodecModel, tmp_path, part="encoder")
    x = audio(ours, 1, 100)
    assert torch.equal(encoder.encode(x).audio_codes, ours.encode(x).audio_codes)
    for call in (lambda: encoder.decode(codes), encoder.streaming_decoder):
        with pytest.raises(ValueError, match="has no decoder: it was loaded with part='encoder'"):
            call()
    with pytest.raises(ValueError, match="part must be 'encoder', 'decoder' or None, got 'both'"):
        EncodecModel(ours.config, part="both")  # type: ignore[arg-type]


def test_a_state_dict_given_and_wrong_keywords(tmp_path: Path) -> None:
    ours = small_model(dtype=torch.float32)
    state = {key: value * 2 for key, value in ours.state_dict().items()}
    ours.save_pretrained(tmp_path, state_dict=state)
    loaded = load(EncodecModel, tmp_path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    ours.save_pretrained(tmp_path / "nothing", is_main_process=False)
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(TypeError, match=r"unknown keyword arguments \['shards'\]"):
        ours.save_pretrained(tmp_path, shards=3)


def test_split_takes_what_is_split_already() -> None:
    ours, theirs = pair(dtype=torch.float32)
    key = "decoder.layers.0.conv.weight"
    split = split_weight_norm(theirs.state_dict(), [key])
    assert torch.equal(split[f"{key}_v"], ours.state_dict()[key])
    assert split[f"{key}_g"].shape == (32, 1, 1)
