"""AudioLDM's parts at the size of cvssp/audioldm-s-full-v2, with seeded random weights, twice."""

from typing import Any

import torch
from torch import nn

from vivace.models.audioldm import (
    AutoencoderKL,
    ClapTextConfig,
    ClapTextModelWithProjection,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    UNet2DConditionModel,
)

_CROSS_DOWN, _CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
UNET: dict[str, Any] = {
    "attention_head_dim": 8,
    "block_out_channels": [128, 256, 384, 640],
    "class_embed_type": "simple_projection",
    "class_embeddings_concat": True,
    "cross_attention_dim": [128, 256, 384, 640],
    "down_block_types": ["DownBlock2D", *[_CROSS_DOWN] * 3],
    "in_channels": 8,
    "out_channels": 8,
    "projection_class_embeddings_input_dim": 512,
    "sample_size": 128,
    "up_block_types": [*[_CROSS_UP] * 3, "UpBlock2D"],
}
VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "in_channels": 1,
    "latent_channels": 8,
    "layers_per_block": 2,
    "out_channels": 1,
    "sample_size": 512,
    "scaling_factor": 0.9392935633659363,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
}
TEXT: dict[str, Any] = {
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-12,
    "projection_dim": 512,
}
VOCODER: dict[str, Any] = {
    "model_in_dim": 64,
    "sampling_rate": 16000,
    "upsample_initial_channel": 1024,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "normalize_before": False,
}


@torch.no_grad()
def _randomise(model: nn.Module) -> Any:
    """Matrices N(0, 1 / fan in), norms near 1: activations stay near 1."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        if value.ndim > 1:
            std = 1.0 if "embeddings" in name else value[0].numel() ** -0.5
            value.normal_(0, std, generator=generator)
        elif name.endswith("weight"):
            value.uniform_(0.8, 1.2, generator=generator)
        else:
            value.normal_(0, 0.02, generator=generator)
    return model.eval()


def ours(part: str) -> Any:
    """One part of vivace: unet, vae, text_encoder or vocoder."""
    if part == "unet":
        return _randomise(UNet2DConditionModel(**UNET))
    if part == "vae":
        return _randomise(AutoencoderKL(**VAE))
    if part == "text_encoder":
        return _randomise(ClapTextModelWithProjection(ClapTextConfig(**TEXT)))
    return _randomise(SpeechT5HifiGan(SpeechT5HifiGanConfig(**VOCODER)))


def theirs(part: str, model: Any) -> Any:
    """The part of diffusers or transformers with the same tensors. Raises ImportError."""
    import diffusers
    import transformers

    if part == "unet":
        peer = diffusers.UNet2DConditionModel(**UNET)
    elif part == "vae":
        peer = diffusers.AutoencoderKL(**VAE)
    elif part == "text_encoder":
        peer = transformers.ClapTextModelWithProjection(transformers.ClapTextConfig(**TEXT))
    else:
        peer = transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(**VOCODER))
    peer.load_state_dict({**peer.state_dict(), **model.state_dict()})
    return peer.eval().to(model.device, model.dtype)
