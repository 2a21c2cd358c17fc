"""EncodecConfig: the hyper-parameters of an EnCodec model, by the keys of transformers' config."""

import math
from typing import Any, ClassVar

from vivace.models.configuration import PreTrainedConfig

NORMS = ("weight_norm", "time_group_norm")


class EncodecConfig(PreTrainedConfig):
    """Configuration of `EncodecModel`; the defaults are those of transformers 5.23 (24 kHz).

    `codebook_dim` is `hidden_size` unless it is given. Raises StrictDataclassFieldValidationError
    for a wrong type, ValueError for a norm_type that is neither "weight_norm" nor
    "time_group_norm".
    """

    model_type: ClassVar[str] = "encodec"

    target_bandwidths: list[float] | tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)
    sampling_rate: int = 24_000
    audio_channels: int = 1
    normalize: bool = False
    chunk_length_s: int | float | None = None
    overlap: float | None = None
    hidden_size: int = 128
    num_filters: int = 32
    num_residual_layers: int = 1
    upsampling_ratios: list[int] | tuple[int, ...] = (8, 5, 4, 2)
    norm_type: str = "weight_norm"
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    use_causal_conv: bool = True
    pad_mode: str = "reflect"
    compress: int = 2
    num_lstm_layers: int = 2
    trim_right_ratio: float = 1.0
    codebook_size: int = 1024
    codebook_dim: int | None = None
    use_conv_shortcut: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if self.codebook_dim is None:
            self.codebook_dim = self.hidden_size
        super().__post_init__(**kwargs)
        check_norm(self.norm_type)

    @property
    def chunk_length(self) -> int | None:
        """Samples of a chunk, None where clips are coded whole."""
        if self.chunk_length_s is None:
            return None
        return int(self.chunk_length_s * self.sampling_rate)

    @property
    def chunk_stride(self) -> int | None:
        """Samples from the start of a chunk to that of the next."""
        if self.chunk_length is None or self.overlap is None:
            return None
        return max(1, int((1.0 - self.overlap) * self.chunk_length))

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.upsampling_ratios)

    @property
    def codebook_nbits(self) -> int:
        """Bits of a code."""
        return math.ceil(math.log2(self.codebook_size))

    @property
    def frame_rate(self) -> int:
        """Frames per second, rounded up."""
        return math.ceil(self.sampling_rate / self.hop_length)

    @property
    def num_quantizers(self) -> int:
        """Codebooks: as many as the last bandwidth (kbit/s) has room for."""
        return int(1000 * self.target_bandwidths[-1] // (self.frame_rate * self.codebook_nbits))


def check_norm(norm_type: str) -> None:
    """Raises ValueError for a norm that EnCodec does not have."""
    if norm_type not in NORMS:
        raise ValueError(f"EncodecConfig: norm_type must be one of {NORMS}, got {norm_type!r}")
