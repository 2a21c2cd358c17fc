"""EnCodec: configuration, feature extractor, model, outputs."""

from vivace.models.encodec.config import EncodecConfig
from vivace.models.encodec.feature_extractor import EncodecFeatureExtractor
from vivace.models.encodec.model import EncodecModel
from vivace.models.encodec.outputs import (
    EncodecDecoderOutput,
    EncodecEncoderOutput,
    EncodecOutput,
)
from vivace.models.encodec.pretrained import EncodecPreTrainedModel

__all__ = [
    "EncodecConfig",
    "EncodecDecoderOutput",
    "EncodecEncoderOutput",
    "EncodecFeatureExtractor",
    "EncodecModel",
    "EncodecOutput",
    "EncodecPreTrainedModel",
]
