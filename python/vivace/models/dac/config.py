"""DacConfig: the hyper-parameters of a DAC codec, by the keys of transformers' config.json."""

import math
from typing import Any, ClassVar

from vivace.models.configuration import PreTrainedConfig


class DacConfig(PreTrainedConfig):
    """Configuration of `DacModel`; the defaults and checks are those of transformers 5.23.

    `upsampling_ratios`, `hidden_size` (channels of the latents) and `hop_length` (samples per
    frame) are computed from the fields, unless they are given: a keyword or an entry of config.json
    wins. That is how a model whose latents have 128 channels is described. Setting a field later
    does not compute them again. Raises StrictDataclassFieldValidationError for a wrong type.
    """

    model_type: ClassVar[str] = "dac"

    encoder_hidden_size: int = 64
    downsampling_ratios: list[int] | tuple[int, ...] = (2, 4, 8, 8)
    decoder_hidden_size: int = 1536
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    quantizer_dropout: float | int = 0.0
    commitment_loss_weight: float = 0.25
    codebook_loss_weight: float = 1.0
    sampling_rate: int = 16000

    def __post_init__(self, **kwargs: Any) -> None:
        self.upsampling_ratios = self.downsampling_ratios[::-1]
        self.hidden_size = self.encoder_hidden_size * 2 ** len(self.downsampling_ratios)
        self.hop_length = math.prod(self.downsampling_ratios)
        super().__post_init__(**kwargs)

    @property
    def frame_rate(self) -> int:
        """Frames per second, rounded up as in transformers (87 at 44.1 kHz; exactly 86.13)."""
        return math.ceil(self.sampling_rate / math.prod(self.upsampling_ratios))
