"""AudioLDM (Liu et al. 2023, arXiv:2301.12503): text to audio by latent diffusion."""

from vivace.models.audioldm.text_encoder import ClapTextModelOutput, ClapTextModelWithProjection
from vivace.models.audioldm.text_encoder_config import ClapTextConfig
from vivace.models.audioldm.tokenizer import RobertaTokenizer
from vivace.models.audioldm.unet import UNet2DConditionModel
from vivace.models.audioldm.vae import AutoencoderKL
from vivace.models.audioldm.vocoder import SpeechT5HifiGan
from vivace.models.audioldm.vocoder_config import SpeechT5HifiGanConfig

__all__ = [
    "AutoencoderKL",
    "ClapTextConfig",
    "ClapTextModelOutput",
    "ClapTextModelWithProjection",
    "RobertaTokenizer",
    "SpeechT5HifiGan",
    "SpeechT5HifiGanConfig",
    "UNet2DConditionModel",
]
