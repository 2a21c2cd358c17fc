"""DAC, the Descript Audio Codec: configuration, feature extractor, model, outputs, .dac files."""

from vivace.models.dac.config import DacConfig
from vivace.models.dac.feature_extractor import DacFeatureExtractor
from vivace.models.dac.file import DacFile, DacFileError
from vivace.models.dac.model import DacModel, DacPreTrainedModel
from vivace.models.dac.outputs import DacDecoderOutput, DacEncoderOutput, DacOutput

__all__ = [
    "DacConfig",
    "DacDecoderOutput",
    "DacEncoderOutput",
    "DacFeatureExtractor",
    "DacFile",
    "DacFileError",
    "DacModel",
    "DacOutput",
    "DacPreTrainedModel",
]
