"""Small random EnCodec models, ours and transformers', with the same weights."""

from typing import Any

import torch
from torch import Tensor, nn

from vivace.hub import fold_state_dict
from vivace.models.encodec import EncodecConfig, EncodecModel

TINY = {
    "num_filters": 4,
    "hidden_size": 16,
    "upsampling_ratios": [4, 3, 2],
    "codebook_size": 32,
    "target_bandwidths": [15.0, 30.0, 60.0],  # 3, 6 and 12 codebooks of 5 bits at 1 kHz
}
STEREO = TINY | {
    "sampling_rate": 1200,  # 50 frames per second
    "target_bandwidths": [0.5, 1.5],
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 0.5,
    "overlap": 0.1,
    "use_causal_conv": False,
    "norm_type": "time_group_norm",
}
# What the released models do not have, one thing at a time.
VARIANTS: dict[str, dict[str, Any]] = {
    "causal": {},
    "non_causal": {"use_causal_conv": False},
    "identity_shortcut": {"use_conv_shortcut": False, "num_residual_layers": 3},
    "time_group_norm": {"norm_type": "time_group_norm"},
    "trim_right_ratio": {"trim_right_ratio": 0.5},
    "constant": {"pad_mode": "constant"},
    "replicate": {"pad_mode": "replicate", "use_causal_conv": False},
    "kernels": {"kernel_size": 4, "last_kernel_size": 6, "residual_kernel_size": 5, "compress": 1},
    "ratios": {"upsampling_ratios": (1, 5), "num_lstm_layers": 1},
    "stereo": {"audio_channels": 2, "normalize": True},
}


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Every parameter and every buffer that is saved; gains near 1 keep activations in range."""
    for name, value in model.state_dict().items():
        if name.endswith(("original0", "weight_g", "norm.weight")):
            value.uniform_(0.6, 1.4)
        elif name.endswith("bias"):
            value.normal_(std=0.1)
        elif "lstm" in name:
            value.normal_(std=value.shape[-1] ** -0.5)  # larger ones make chaos of rounding
        else:
            value.normal_()


def pair(
    settings: dict[str, Any] = TINY, dtype: torch.dtype = torch.float64, **changes: Any
) -> tuple[EncodecModel, Any]:
    """(ours, transformers') in eval mode with the same random weights."""
    import transformers

    fields = settings | changes
    theirs = transformers.EncodecModel(transformers.EncodecConfig(**fields))
    randomize(theirs)
    theirs = theirs.to(dtype).eval()
    ours = EncodecModel(EncodecConfig(**fields)).to(dtype).eval()
    ours.load_state_dict(fold_state_dict(theirs.state_dict()), strict=True)
    return ours, theirs


def small_model(
    settings: dict[str, Any] = TINY, dtype: torch.dtype = torch.float64, **changes: Any
) -> EncodecModel:
    """Ours alone; plain weights are scaled as weight norm would."""
    model = EncodecModel(EncodecConfig(**settings | changes))
    randomize(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                module.weight /= torch.linalg.vector_norm(module.weight, dim=(1, 2), keepdim=True)
    return model.to(dtype).eval()


def audio(model: Any, batch: int, length: int) -> Tensor:
    return torch.randn(batch, model.config.audio_channels, length, dtype=model.dtype)


def random_codes(model: EncodecModel, *shape: int) -> Tensor:
    return torch.randint(0, model.config.codebook_size, shape)


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Same shape, and differences within the tolerance, relative to the largest value."""
    actual, expected = actual.detach(), expected.detach()
    assert actual.shape == expected.shape
    scale = max(1e-30, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)
