"""Bark, text to speech (suno-ai 2023): configurations, processor, the stages and the whole."""

from vivace.models.bark.coarse import BarkCoarseModel
from vivace.models.bark.config import (
    BarkCoarseConfig,
    BarkConfig,
    BarkFineConfig,
    BarkSemanticConfig,
)
from vivace.models.bark.fine import BarkFineModel
from vivace.models.bark.generation_config import (
    BarkCoarseGenerationConfig,
    BarkFineGenerationConfig,
    BarkGenerationConfig,
    BarkSemanticGenerationConfig,
)
from vivace.models.bark.gpt import BarkCausalModel, BarkPreTrainedModel
from vivace.models.bark.model import BarkModel
from vivace.models.bark.outputs import CausalLMOutputWithPast, MaskedLMOutput
from vivace.models.bark.processor import BarkProcessor
from vivace.models.bark.semantic import BarkSemanticModel

__all__ = [
    "BarkCausalModel",
    "BarkCoarseConfig",
    "BarkCoarseGenerationConfig",
    "BarkCoarseModel",
    "BarkConfig",
    "BarkFineConfig",
    "BarkFineGenerationConfig",
    "BarkFineModel",
    "BarkGenerationConfig",
    "BarkModel",
    "BarkPreTrainedModel",
    "BarkProcessor",
    "BarkSemanticConfig",
    "BarkSemanticGenerationConfig",
    "BarkSemanticModel",
    "CausalLMOutputWithPast",
    "MaskedLMOutput",
]
