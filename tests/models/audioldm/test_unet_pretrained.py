"""Loading what diffusers saves and the other way round, for the UNet and the VAE."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from tests.models.audioldm.helpers_unet import close, inputs, unet_pair, vae_pair
from vivace.models.audioldm.unet import UNet2DConditionModel
from vivace.models.audioldm.vae import AutoencoderKL

MODELS: dict[str, tuple[Any, Any, Any]] = {
    "unet": (unet_pair, UNet2DConditionModel, diffusers.UNet2DConditionModel),
    "vae": (vae_pair, AutoencoderKL, diffusers.AutoencoderKL),
}
STEM = "diffusion_pytorch_model"
FORMS: dict[str, dict[str, Any]] = {
    "safetensors": {},
    "bin": {"safe_serialization": False},
    "shards": {"max_shard_size": "20KB"},
    "shards of bin": {"max_shard_size": "20KB", "safe_serialization": False},
    "variant": {"variant": "fp16"},
    "shards of a variant": {"variant": "fp16", "max_shard_size": "20KB"},
}


def same(one: Any, other: Any) -> None:
    expected = other.state_dict()
    actual = one.state_dict()
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", FORMS)
def test_both_ways(name: str, form: str, tmp_path: Path) -> None:
    """Same files, same weights, same configuration, whoever writes and whoever reads."""
    pair, our_class, their_class = MODELS[name]
    ours, theirs = pair(torch.float32)
    theirs.save_pretrained(tmp_path / "a" / name, **FORMS[form])
    ours.save_pretrained(tmp_path / "b" / name, **FORMS[form])
    files = [sorted(p.name for p in (tmp_path / x / name).iterdir()) for x in "ab"]
    assert files[0] == files[1]
    assert all(f == "config.json" or STEM in f for f in files[0])
    assert (len(files[0]) > 3) == form.startswith("shards")
    written = [json.loads((tmp_path / x / name / "config.json").read_text()) for x in "ab"]
    assert written[0] == written[1]
    # Of pickled shards, diffusers knows nothing unless safetensors are forbidden.
    safe = FORMS[form].get("safe_serialization")
    options = {"variant": FORMS[form].get("variant"), "use_safetensors": safe, "subfolder": name}
    for folder in (tmp_path / "a", tmp_path / "b"):
        loaded = our_class.from_pretrained(folder, **options)
        assert not loaded.training
        same(loaded, theirs)
        same(their_class.from_pretrained(folder, **options), theirs)


@pytest.mark.parametrize("name", MODELS)
def test_dtypes(name: str, tmp_path: Path) -> None:
    pair, our_class, _ = MODELS[name]
    ours, _ = pair(torch.float16)
    ours.save_pretrained(tmp_path)
    for options, expected in (
        ({}, torch.float32),
        ({"dtype": "auto"}, torch.float16),
        ({"dtype": torch.bfloat16}, torch.bfloat16),
        ({"torch_dtype": torch.float64}, torch.float64),
        ({"torch_dtype": "bfloat16"}, torch.bfloat16),
    ):
        model = our_class.from_pretrained(tmp_path, **options)
        assert {p.dtype for p in model.parameters()} == {expected}
    assert "dtype" not in json.loads((tmp_path / "config.json").read_text())


@torch.no_grad()
@pytest.mark.parametrize("convolutions", [False, True])
@pytest.mark.parametrize("safe", [False, True])
def test_old_names_of_the_vae(convolutions: bool, safe: bool, tmp_path: Path) -> None:
    """As released in 2023: query, key, value, proj_attn; also as 1 × 1 convolutions."""
    ours, theirs = vae_pair(torch.float32)
    ours.save_pretrained(tmp_path, safe_serialization=safe)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in theirs.state_dict().items():
        for new, old in names.items():
            if f".{new}." in key:
                key = key.replace(f".{new}.", f".{old}.")
                value = value[:, :, None, None] if convolutions and value.ndim == 2 else value
        state[key] = value.clone()
    assert sum(".query." in key or ".proj_attn." in key for key in state) == 8
    if safe:
        from safetensors.torch import save_file

        save_file(state, tmp_path / f"{STEM}.safetensors", {"format": "pt"})
    else:
        torch.save(state, tmp_path / f"{STEM}.bin")
    load: Any = AutoencoderKL.from_pretrained
    model, info = load(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    same(model, theirs)
    z = torch.randn(1, 3, 5, 4)
    close(model.decode(z).sample, theirs.decode(z).sample, 1e-5)


@torch.no_grad()
def test_original_heads_survive_a_round_trip(tmp_path: Path) -> None:
    widths = [32, 64, 96]
    ours, _ = unet_pair(torch.float32, block_out_channels=widths, cross_attention_dim=widths)
    ours.save_pretrained(tmp_path / "plain")
    model = UNet2DConditionModel.from_pretrained(tmp_path / "plain", original_heads=True)
    model.save_pretrained(tmp_path / "heads")
    theirs = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "heads")
    assert theirs.config.attention_head_dim == [1, 2, 3]
    x, condition = inputs(model)
    expected = theirs(x, 7, None, **condition).sample
    close(model(x, 7, **condition).sample, expected, 1e-5)
    again = UNet2DConditionModel.from_pretrained(tmp_path / "heads")
    close(again(x, 7, **condition).sample, expected, 1e-5)


def test_options(tmp_path: Path) -> None:
    ours, _ = unet_pair(torch.float32)
    ours.save_pretrained(tmp_path)
    model = UNet2DConditionModel.from_pretrained(tmp_path, low_cpu_mem_usage=False, sample_size=99)
    assert model.config.sample_size == 99
    assert model.name_or_path == model.config.name_or_path == str(tmp_path)
    config = UNet2DConditionModel.load_config(tmp_path)
    assert config["_class_name"] == "UNet2DConditionModel"
    assert config["in_channels"] == 3
    same(UNet2DConditionModel.from_pretrained(tmp_path, config=config), ours)
    same(UNet2DConditionModel.from_pretrained(tmp_path, config=ours.config), ours)
    ours.save_pretrained(tmp_path / "not main", is_main_process=False)
    assert not (tmp_path / "not main").exists()


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    ours, _ = unet_pair(torch.float32)
    ours.save_pretrained(tmp_path)
    load = UNet2DConditionModel.from_pretrained
    with pytest.raises(OSError, match=rf"no file named {STEM}.fp16.safetensors or {STEM}.fp16.bin"):
        load(tmp_path, variant="fp16")
    with pytest.raises(OSError, match=rf"no file named {STEM}.bin"):
        load(tmp_path, use_safetensors=False)
    with pytest.raises(OSError, match=r"has no file named config\.json"):
        load(tmp_path, subfolder="unet")
    with pytest.raises(TypeError, match="nonsense"):
        load(tmp_path, nonsense=1)
    with pytest.raises(ValueError, match="act_fn must be 'silu' or 'swish', got 'mish'"):
        load(tmp_path, act_fn="mish")
    with pytest.raises(RuntimeError, match=r"size mismatch.*\n.*conv_in\.weight"):
        load(tmp_path, in_channels=4)
    with pytest.raises(TypeError, match=r"unknown keyword arguments \['nonsense'\]"):
        ours.save_pretrained(tmp_path, nonsense=1)


def test_a_configuration_of_another_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, _ = unet_pair(torch.float32)
    ours.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="AutoencoderKL: down_block_types must be"):
        AutoencoderKL.from_pretrained(tmp_path)
    assert "A configuration of UNet2DConditionModel is used for AutoencoderKL" in caplog.text


def test_push_to_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[Any] = []

    def push(folder: Any, repo_id: str, files: list[str], **options: Any) -> str:
        pushed.append((repo_id, sorted(files), options["token"]))
        return "address"

    monkeypatch.setattr("vivace.models.audioldm.diffusers_base.push_folder", push)
    ours, _ = vae_pair(torch.float32)
    ours.save_pretrained(tmp_path / "vae", push_to_hub=True, repo_id="me/vae", token="t")
    ours.save_pretrained(tmp_path / "mine", push_to_hub=True)
    files = ["config.json", f"{STEM}.safetensors"]
    assert pushed == [("me/vae", files, "t"), ("mine", files, None)]
