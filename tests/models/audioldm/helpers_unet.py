"""Small random UNets and VAEs, ours and diffusers', with the same weights."""

from typing import Any

import torch
from torch import Tensor, nn

from vivace.models.audioldm.unet import UNet2DConditionModel
from vivace.models.audioldm.vae import AutoencoderKL

CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
# cvssp/audioldm-s-full-v2; the others differ in block_out_channels and what follows from them.
REAL: dict[str, Any] = {
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [128, 256, 384, 640],
    "center_input_sample": False,
    "class_embed_type": "simple_projection",
    "class_embeddings_concat": True,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_dim": [128, 256, 384, 640],
    "down_block_types": ["DownBlock2D", *[CROSS_DOWN] * 3],
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 8,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "out_channels": 8,
    "projection_class_embeddings_input_dim": 512,
    "resnet_time_scale_shift": "default",
    "sample_size": 128,
    "time_embedding_type": "positional",
    "up_block_types": [*[CROSS_UP] * 3, "UpBlock2D"],
    "upcast_attention": False,
    "use_linear_projection": False,
}
REAL_VAE: dict[str, Any] = {
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "in_channels": 1,
    "latent_channels": 8,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 1,
    "sample_size": 512,
    "scaling_factor": 0.9392935633659363,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
}
TINY = REAL | {
    "block_out_channels": [8, 16, 24],
    "cross_attention_dim": [8, 16, 24],
    "down_block_types": ["DownBlock2D", CROSS_DOWN, CROSS_DOWN],
    "up_block_types": [CROSS_UP, CROSS_UP, "UpBlock2D"],
    "attention_head_dim": 4,
    "in_channels": 3,
    "out_channels": 5,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "projection_class_embeddings_input_dim": 7,
    "sample_size": 16,
}
TINY_VAE = REAL_VAE | {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "latent_channels": 3,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 16,
}


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Every parameter, norms too; products keep the size of their input."""
    for name, value in model.named_parameters():
        if value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5)
        elif name.endswith("weight"):
            value.uniform_(0.6, 1.4)
        else:
            value.normal_(std=0.2)


def unet_pair(dtype: torch.dtype = torch.float64, **changes: Any) -> tuple[Any, Any]:
    """(ours, diffusers') in eval mode with the same random weights."""
    import diffusers

    return _pair(UNet2DConditionModel, diffusers.UNet2DConditionModel, TINY | changes, dtype)


def vae_pair(dtype: torch.dtype = torch.float64, **changes: Any) -> tuple[Any, Any]:
    """(ours, diffusers') in eval mode with the same random weights."""
    import diffusers

    return _pair(AutoencoderKL, diffusers.AutoencoderKL, TINY_VAE | changes, dtype)


def _pair(ours: Any, theirs: Any, fields: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Any]:
    oracle = theirs(**fields).eval()
    randomise(oracle)
    oracle = oracle.to(dtype)
    model = ours(**fields).eval().to(dtype)
    model.load_state_dict(oracle.state_dict(), strict=True)
    return model, oracle


def inputs(
    model: Any, batch: int = 2, height: int = 8, width: int = 4
) -> tuple[Tensor, dict[str, Tensor]]:
    """A latent, and the vector that conditions the UNet."""
    config, dtype = model.config, model.dtype
    x = torch.randn(batch, config.in_channels, height, width, dtype=dtype)
    width = config.projection_class_embeddings_input_dim
    return x, {"class_labels": torch.randn(batch, width, dtype=dtype)}


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Same shape, and differences within the tolerance, relative to the largest value."""
    actual, expected = actual.detach(), expected.detach()
    assert actual.shape == expected.shape
    assert bool(expected.isfinite().all())
    scale = float(expected.abs().max())
    assert scale > 1e-3
    torch.testing.assert_close(
        actual, expected.to(actual.dtype), rtol=0, atol=tolerance * scale, check_stride=False
    )
