"""A tiny Bark of transformers with random weights, and the same weights in ours."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BarkConfig as TheirConfig
from transformers import BarkModel as TheirModel
from transformers import EncodecConfig as TheirCodecConfig
from transformers import GenerationConfig as TheirGenerationConfig
from transformers.models.bark import generation_configuration_bark as settings

from vivace.models.bark import BarkModel

# The vocabularies are the released models': the token arithmetic depends on them.
VOCABULARIES = {
    "semantic_config": (129_600, 10_048),
    "coarse_acoustics_config": (12_096, 12_096),
    "fine_acoustics_config": (1056, 1056),
}


def config(bias: bool = False, **part: Any) -> TheirConfig:
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "bias": bias, **part}
    parts = {
        name: {**sizes, "input_vocab_size": into, "output_vocab_size": out}
        for name, (into, out) in VOCABULARIES.items()
    }
    codec = TheirCodecConfig(num_filters=4, hidden_size=16)
    return TheirConfig(**parts, codec_config=codec.to_dict())


def randomise(model: nn.Module) -> None:
    """Every parameter and codebook: a fresh norm is the identity, a fresh codebook zero."""
    for name, parameter in model.named_parameters():
        std = 0.5
        if "codec" in name:
            # Activations of size 1 all the way: with smaller ones all codes sound alike.
            std = 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        nn.init.normal_(parameter, std=std)
    for name, buffer in model.named_buffers():
        if name.endswith("embed"):
            nn.init.normal_(buffer)


def theirs(fine_temperature: float = 0.5, **options: Any) -> TheirModel:
    model = TheirModel(config(**options)).eval()
    randomise(model)
    nested = settings.BarkGenerationConfig.from_sub_model_configs(
        settings.BarkSemanticGenerationConfig(),
        settings.BarkCoarseGenerationConfig(),
        settings.BarkFineGenerationConfig(temperature=fine_temperature),
    )
    # The one form that transformers' own generate works with.
    model.generation_config = TheirGenerationConfig.from_dict(nested.to_dict())
    return model


def pair(folder: Path, **options: Any) -> tuple[TheirModel, BarkModel]:
    oracle = theirs(**options)
    oracle.save_pretrained(folder)
    return oracle, BarkModel.from_pretrained(folder)


def history(semantic: int, frames: int) -> dict[str, Tensor]:
    return {
        "semantic_prompt": torch.randint(0, 10_000, (semantic,)),
        "coarse_prompt": torch.randint(0, 1024, (2, frames)),
        "fine_prompt": torch.randint(0, 1024, (8, frames)),
    }


def stage_settings(fine_temperature: float | None = None) -> dict[str, Any]:
    """The configurations that transformers' stages want."""
    return {
        "semantic_generation_config": settings.BarkSemanticGenerationConfig(),
        "coarse_generation_config": settings.BarkCoarseGenerationConfig(),
        "fine_generation_config": settings.BarkFineGenerationConfig(temperature=fine_temperature),
    }
