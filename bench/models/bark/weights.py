"""Bark's stages at the released sizes, with seeded random weights, here and in transformers."""

from typing import Any

import torch
from torch import nn

from vivace.models.bark import (
    BarkCausalModel,
    BarkCoarseConfig,
    BarkCoarseModel,
    BarkFineConfig,
    BarkFineModel,
    BarkSemanticConfig,
    BarkSemanticModel,
)
from vivace.models.encodec import EncodecConfig, EncodecModel

SIZES = {
    "bark_small": {"num_layers": 12, "num_heads": 12, "hidden_size": 768},
    "bark_large": {"num_layers": 24, "num_heads": 16, "hidden_size": 1024},
}
_PARTS: dict[str, tuple[Any, Any, int, int]] = {
    "semantic": (BarkSemanticModel, BarkSemanticConfig, 129_600, 10_048),
    "coarse": (BarkCoarseModel, BarkCoarseConfig, 12_096, 12_096),
    "fine": (BarkFineModel, BarkFineConfig, 1056, 1056),
}


def part(size: str, stage: str, dtype: torch.dtype, device: str) -> Any:
    """One stage in eval mode: matrices N(0, 1/K), norms near 1, so that activations stay near 1."""
    kind, config, into, out = _PARTS[stage]
    model = kind(
        config(bias=False, input_vocab_size=into, output_vocab_size=out, **SIZES[size])
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5, generator=generator)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0, 0.5, generator=generator)
            elif isinstance(module, nn.LayerNorm):
                module.weight.uniform_(0.8, 1.2, generator=generator)
        if stage == "fine":
            model.tie_weights()
    return model.to(device, dtype)


def codec(dtype: torch.dtype, device: str) -> EncodecModel:
    """The 24 kHz codec with random codebooks."""
    model = EncodecModel(EncodecConfig()).eval()
    generator = torch.Generator().manual_seed(0)
    for name, buffer in model.named_buffers():
        if name.endswith("embed"):
            buffer.normal_(generator=generator)
    return model.to(device, dtype)


def theirs(model: Any, stage: str) -> Any:
    """transformers' stage with the same tensors. Raises ImportError without transformers."""
    import transformers
    from transformers.models.bark import modeling_bark

    if stage == "codec":
        peer = transformers.EncodecModel(transformers.EncodecConfig())
        for module in peer.modules():
            if torch.nn.utils.parametrize.is_parametrized(module, "weight"):
                torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        peer.load_state_dict(model.state_dict(), assign=True)
        return peer.eval()
    names = {"semantic": "BarkSemantic", "coarse": "BarkCoarse", "fine": "BarkFine"}
    fields = {**_sizes_of(model), "bias": False}
    config = getattr(transformers, f"{names[stage]}Config")(**fields)
    with torch.device("meta"):
        peer = getattr(modeling_bark, f"{names[stage]}Model")(config)
    state = model.state_dict()
    if isinstance(model, BarkCausalModel):
        size = model.config.block_size
        mask = torch.ones(size, size, dtype=torch.bool, device=model.device).tril()[None, None]
        state |= {f"layers.{i}.attn.bias": mask for i in range(model.config.num_layers)}
    peer.load_state_dict(state, assign=True)
    return peer.eval()


def _sizes_of(model: Any) -> dict[str, int]:
    names = ("num_layers", "num_heads", "hidden_size", "input_vocab_size", "output_vocab_size")
    return {name: getattr(model.config, name) for name in names}
