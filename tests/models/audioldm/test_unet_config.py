"""Configurations: the real ones' keys and sizes, what is refused, the original's heads."""

import re
from typing import Any

import diffusers
import pytest
import torch

from tests.models.audioldm.helpers_unet import (
    REAL,
    REAL_VAE,
    TINY,
    TINY_VAE,
    close,
    inputs,
    randomise,
    unet_pair,
)
from vivace.models.audioldm.unet import UNet2DConditionModel
from vivace.models.audioldm.unet_config import UNet2DConditionConfig
from vivace.models.audioldm.vae import AutoencoderKL

WIDTHS = {
    "s": ([128, 256, 384, 640], 185.04e6),
    "m": ([192, 384, 576, 960], 415.95e6),
    "l": ([256, 512, 768, 1280], 739.14e6),
}


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize("size", WIDTHS)
def test_real_unets(size: str) -> None:
    widths, count = WIDTHS[size]
    fields = REAL | {"block_out_channels": widths, "cross_attention_dim": widths}
    with torch.device("meta"):
        ours, theirs = UNet2DConditionModel(**fields), diffusers.UNet2DConditionModel(**fields)
    assert shapes(ours) == shapes(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(shapes(ours)) == 690
    assert ours.num_parameters() == pytest.approx(count, abs=0.01e6)


def test_real_vae() -> None:
    with torch.device("meta"):
        ours, theirs = AutoencoderKL(**REAL_VAE), diffusers.AutoencoderKL(**REAL_VAE)
    assert shapes(ours) == shapes(theirs)
    assert ours.num_parameters() == pytest.approx(55.38e6, abs=0.01e6)


# One value of each kind that is not implemented.
REFUSED: dict[str, Any] = {
    "center_input_sample": True,
    "down_block_types": ["DownBlock2D", CROSS := "SimpleCrossAttnDownBlock2D", CROSS],
    "mid_block_type": None,
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "only_cross_attention": [False, True, False],
    "downsample_padding": 0,
    "mid_block_scale_factor": 1.4,
    "dropout": 0.1,
    "act_fn": "gelu",
    "transformer_layers_per_block": [1, 2, 1],
    "reverse_transformer_layers_per_block": [[1]],
    "encoder_hid_dim": 4,
    "encoder_hid_dim_type": "text_proj",
    "num_attention_heads": 8,
    "dual_cross_attention": True,
    "use_linear_projection": True,
    "class_embed_type": "timestep",
    "addition_embed_type": "text",
    "addition_time_embed_dim": 4,
    "num_class_embeds": 10,
    "upcast_attention": True,
    "resnet_time_scale_shift": "scale_shift",
    "resnet_skip_time_act": True,
    "resnet_out_scale_factor": 2.0,
    "time_embedding_type": "fourier",
    "time_embedding_dim": 3,
    "time_embedding_act_fn": "silu",
    "timestep_post_act": "silu",
    "time_cond_proj_dim": 5,
    "conv_in_kernel": 5,
    "conv_out_kernel": 1,
    "attention_type": "gated",
    "mid_block_only_cross_attention": True,
    "cross_attention_norm": "layer_norm",
}


@pytest.mark.parametrize("key", REFUSED)
def test_refused_values(key: str) -> None:
    value = REFUSED[key]
    with pytest.raises(ValueError, match=f"{key} must be .*, got {re.escape(repr(value))}"):
        UNet2DConditionModel.from_config(TINY, **{key: value})


def test_every_field_is_refused_or_free() -> None:
    assert set(UNet2DConditionConfig._fixed) == set(REFUSED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers_per_block": [1, 2]}, "layers_per_block must have as many values"),
        ({"attention_head_dim": [1, 2]}, "attention_head_dim must have as many values"),
        ({"cross_attention_dim": [8] * 4}, "cross_attention_dim must have as many values"),
        ({"block_out_channels": [8, 16]}, "down_block_types must have as many values"),
        ({"projection_class_embeddings_input_dim": None}, "projection_class_embeddings_input_dim"),
        ({"norm_num_groups": 5}, "multiples of norm_num_groups=5"),
        ({"attention_head_dim": 7}, "cannot be split into 7 heads"),
        ({"norm_num_groups": None}, "norm_num_groups"),
    ],
)
def test_values_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet2DConditionModel(**TINY | changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("down_block_types", ["AttnDownEncoderBlock2D", "DownEncoderBlock2D"]),
        ("up_block_types", ["UpDecoderBlock2D"]),
        ("act_fn", "relu"),
        ("shift_factor", 0.1),
        ("latents_mean", [0.0]),
        ("latents_std", [1.0]),
        ("use_quant_conv", False),
        ("use_post_quant_conv", False),
        ("mid_block_add_attention", False),
    ],
)
def test_refused_values_of_the_vae(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"AutoencoderKL: {key} must"):
        AutoencoderKL(**TINY_VAE | {key: value})


def test_configuration_is_a_mapping_and_a_record() -> None:
    ours, theirs = UNet2DConditionModel(**TINY), diffusers.UNet2DConditionModel(**TINY)
    config = ours.config
    assert config.sample_size == config["sample_size"] == config.get("sample_size") == 16
    assert config.get("no such key", 5) == 5
    assert "no such key" not in config
    assert "in_channels" in config
    with pytest.raises(KeyError):
        config["no such key"]
    expected = {k: v for k, v in theirs.config.items() if k != "_use_default_values"}
    expected |= {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1"}
    assert dict(config) == expected
    assert set(config) == set(config.keys())
    assert len(config) == len(list(config.values()))
    for made in (
        UNet2DConditionModel.from_config(config),
        UNet2DConditionModel.from_config(theirs.config),
    ):
        assert dict(made.config) == expected  # type: ignore[union-attr]
    assert diffusers.UNet2DConditionModel.from_config(dict(config)).config.in_channels == 3


def test_from_config() -> None:
    make: Any = UNet2DConditionModel.from_config
    model, unused = make(TINY, return_unused_kwargs=True, in_channels=4, other=1)
    assert model.conv_in.in_channels == model.config.in_channels == 4
    assert unused == {"other": 1}
    with pytest.raises(TypeError, match=r"unknown keyword arguments \['other'\]"):
        make(TINY, other=1)
    with pytest.raises(TypeError, match="got both"):
        UNet2DConditionModel(UNet2DConditionConfig(**TINY), in_channels=4)


def test_unknown_keys_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    model = AutoencoderKL(**TINY_VAE | {"_private": 1, "colour": "red"})
    assert "{'colour': 'red'} were passed to AutoencoderKL" in caplog.text
    assert "colour" not in model.config
    assert "_private" not in model.config


@torch.no_grad()
def test_original_heads() -> None:
    """Equal to diffusers' class with the list of heads, which the configuration then holds."""
    widths: dict[str, Any] = {
        "block_out_channels": [32, 64, 96],
        "cross_attention_dim": [32, 64, 96],
    }
    given = UNet2DConditionConfig(**TINY | widths)
    model = UNet2DConditionModel(given, original_heads=True)
    assert model.config.attention_head_dim == [1, 2, 3]
    assert given.attention_head_dim == 4
    _, theirs = unet_pair(**widths, attention_head_dim=[1, 2, 3])
    model = model.to(torch.float64).eval()
    model.load_state_dict(theirs.state_dict())
    x, condition = inputs(model)
    expected = theirs(x, 7, None, **condition).sample
    close(model(x, 7, **condition).sample, expected, 1e-10)
    plain = UNet2DConditionModel(given).to(torch.float64).eval()
    plain.load_state_dict(theirs.state_dict())
    assert not torch.allclose(plain(x, 7, **condition).sample, expected, rtol=1e-3)


def test_original_heads_of_the_real_models() -> None:
    for size, heads in {"s": [4, 8, 12, 20], "m": [6, 12, 18, 30], "l": [4, 8, 12, 20]}.items():
        config = UNet2DConditionConfig(**REAL | {"block_out_channels": WIDTHS[size][0]})
        assert config.original_heads() == heads
    with pytest.raises(ValueError, match=r"original_heads: .* multiples of 32, got \[8, 16, 24\]"):
        UNet2DConditionModel(original_heads=True, **TINY)


def test_fresh_models_are_initialised() -> None:
    model = UNet2DConditionModel(**TINY)
    first = model.conv_in.weight.clone()
    assert float(first.detach().std()) > 0.01
    randomise(model)
    assert not torch.equal(first, model.conv_in.weight)
