"""SpeechT5HifiGanConfig: the hyper-parameters of the vocoder, by the keys of transformers."""

import math
from pathlib import Path
from typing import Any, ClassVar

from vivace.hub import Source, read_json
from vivace.models.configuration import CONFIG_NAME, PreTrainedConfig

# What the files of 2023 call it.
_OLD_MODEL_TYPE = "hifigan"


class SpeechT5HifiGanConfig(PreTrainedConfig):
    """Configuration of `SpeechT5HifiGan`; the defaults are those of transformers 5.23 (SpeechT5's
    vocoder). Raises StrictDataclassFieldValidationError for a wrong type.
    """

    model_type: ClassVar[str] = "speecht5_hifigan"

    model_in_dim: int = 80
    sampling_rate: int = 16_000
    upsample_initial_channel: int = 512
    upsample_rates: list[int] | tuple[int, ...] = (4, 4, 4, 4)
    upsample_kernel_sizes: list[int] | tuple[int, ...] = (8, 8, 8, 8)
    resblock_kernel_sizes: list[int] | tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: list[Any] | tuple[Any, ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    initializer_range: float = 0.01
    leaky_relu_slope: float = 0.1
    normalize_before: bool = True

    @property
    def hop_length(self) -> int:
        """Samples per frame of the spectrogram."""
        return math.prod(self.upsample_rates)

    @classmethod
    def from_source(cls, source: Source, **kwargs: Any) -> Any:
        """As the base class; the old model type "hifigan" is read without a warning."""
        path = Path(source.name) if Path(source.name).is_file() else source.get(CONFIG_NAME)
        config_dict = read_json(path)
        if config_dict.get("model_type") == _OLD_MODEL_TYPE:
            return cls.from_dict(config_dict, **kwargs)
        return super().from_source(source, **kwargs)
