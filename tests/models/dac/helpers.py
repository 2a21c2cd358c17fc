"""Small random DAC models, ours and transformers', with the same weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vivace.models.dac import DacConfig, DacModel

# 44.1 kHz, 16 and 24 kHz, and strides that the released models do not have.
GEOMETRIES = [(2, 4, 8, 8), (2, 4, 5, 8), (3, 5), (1, 2)]


def settings(ratios: tuple[int, ...] = (2, 4), **changes: Any) -> dict[str, Any]:
    return {
        "encoder_hidden_size": 4,
        "decoder_hidden_size": 4 * 2 ** len(ratios),
        "downsampling_ratios": list(ratios),
        "n_codebooks": 4,
        "codebook_size": 32,
        "codebook_dim": 4,
    } | changes


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Every parameter, Snake's alpha too; gains below 1 keep activations and errors small."""
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            parameter.uniform_(0.3, 2.5)
        elif "codebook" in name:
            parameter.normal_()
        elif name.endswith("bias"):
            parameter.normal_(std=0.1)
        else:
            parameter.normal_(std=0.6 / math.sqrt(parameter[0].numel()))


def small_model(
    ratios: tuple[int, ...] = (2, 4), dtype: torch.dtype = torch.float64, **changes: Any
) -> DacModel:
    """A random model in eval mode."""
    model = DacModel(DacConfig(**settings(ratios, **changes)))
    randomize(model)
    return model.to(dtype).eval()


def pair(
    ratios: tuple[int, ...] = (2, 4), dtype: torch.dtype = torch.float64, **changes: Any
) -> tuple[DacModel, Any]:
    """(ours, transformers') in eval mode with the same random weights, loaded strictly."""
    import transformers

    ours = small_model(ratios, dtype, **changes)
    config = transformers.DacConfig(**settings(ratios, **changes))
    theirs = transformers.DacModel(config).to(dtype).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def audio(batch: int, length: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 1, length, dtype=dtype)


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Same shape, and differences within the tolerance, relative to the largest value."""
    actual, expected = actual.detach(), expected.detach()
    assert actual.shape == expected.shape
    scale = max(1e-30, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)
