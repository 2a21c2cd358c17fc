"""The output of pipelines that make audio."""

from dataclasses import dataclass
from typing import Any

from vivace.models.outputs import ModelOutput


@dataclass
class AudioPipelineOutput(ModelOutput):
    """audios: (B, L samples), float32; an array, or what `output_type` asks for."""

    audios: Any = None
