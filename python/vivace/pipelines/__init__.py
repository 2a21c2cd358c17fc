"""Pipelines: several models and a scheduler as one call, with diffusers' names."""

from vivace.pipelines.audioldm import AudioLDMPipeline
from vivace.pipelines.outputs import AudioPipelineOutput

__all__ = ["AudioLDMPipeline", "AudioPipelineOutput"]
