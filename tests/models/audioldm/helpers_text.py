"""Small random text encoders and vocoders, ours and transformers', with the same weights."""

import math
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from vivace.models.audioldm import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
PRECISION_IDS = ["f64", "f32"]

TEXT: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "max_position_embeddings": 66,
    "projection_dim": 24,
}
# The released vocoder in small: its rates and kernels, so that a clip has 160·T + 32 samples.
VOCODER: dict[str, Any] = {
    "model_in_dim": 8,
    "upsample_initial_channel": 64,
    "upsample_rates": [5, 4, 2, 2, 2],
    "upsample_kernel_sizes": [16, 16, 8, 4, 4],
    "normalize_before": False,
}
VOCODERS: dict[str, dict[str, Any]] = {
    "released": {},
    "normalised": {"normalize_before": True, "leaky_relu_slope": 0.2},
    "speecht5": {"upsample_rates": [4, 4], "upsample_kernel_sizes": [8, 8]},
    "odd": {
        "upsample_rates": [3, 2],
        "upsample_kernel_sizes": [3, 5],
        "resblock_kernel_sizes": [5, 3],
        "resblock_dilation_sizes": [[2], [1, 4]],
    },
    "one block": {"resblock_kernel_sizes": [7], "resblock_dilation_sizes": [[1, 3]]},
}


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Every parameter and buffer: N(0, 1 / fan in), norms around 1, scales away from 0."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if not value.is_floating_point():
            continue
        if name.endswith(("LayerNorm.weight", "scale")):
            value.uniform_(0.5, 1.5)
        elif value.ndim < 2:
            value.normal_(std=0.2)
        elif "embeddings" in name:
            value.normal_()
        else:
            value.normal_(std=1 / math.sqrt(value[0].numel()))


def text_pair(
    dtype: torch.dtype = torch.float64, **changes: Any
) -> tuple[ClapTextModelWithProjection, Any]:
    """(ours, transformers') in eval mode with the same random weights."""
    ours = ClapTextModelWithProjection(ClapTextConfig(**(TEXT | changes)))
    randomize(ours)
    ours = ours.to(dtype).eval()
    config = transformers.ClapTextConfig(**(TEXT | changes))
    theirs = transformers.ClapTextModelWithProjection(config).to(dtype).eval()
    theirs.load_state_dict(theirs.state_dict() | ours.state_dict(), strict=True)
    return ours, theirs


def small_vocoder(dtype: torch.dtype = torch.float64, **changes: Any) -> SpeechT5HifiGan:
    """A random vocoder in eval mode."""
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**(VOCODER | changes)))
    randomize(model)
    return model.to(dtype).eval()


def vocoder_pair(dtype: torch.dtype = torch.float64, **changes: Any) -> tuple[SpeechT5HifiGan, Any]:
    """(ours, transformers') in eval mode with the same random weights, loaded strictly."""
    ours = small_vocoder(dtype, **changes)
    config = transformers.SpeechT5HifiGanConfig(**(VOCODER | changes))
    theirs = transformers.SpeechT5HifiGan(config).to(dtype).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Same shape, and differences within the tolerance, relative to the largest value."""
    actual, expected = actual.detach(), expected.detach()
    assert actual.shape == expected.shape
    scale = max(1e-30, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)
