"""What EncodecModel returns: transformers' three output classes."""

from dataclasses import dataclass

from torch import Tensor

from vivace.models.outputs import ModelOutput


@dataclass
class EncodecEncoderOutput(ModelOutput):
    """Result of `EncodecModel.encode`.

    audio_codes (F, B, N, T) int64: F chunks (1 where clips are coded whole), N codebooks, T frames.
    audio_scales: for each chunk the loudness (B, 1) that was divided out, None without `normalize`.
    last_frame_pad_length: frames of zeros at the end of the last chunk's codes.
    """

    audio_codes: Tensor | None = None
    audio_scales: list[Tensor | None] | None = None
    last_frame_pad_length: int | None = None


@dataclass
class EncodecDecoderOutput(ModelOutput):
    """Result of `EncodecModel.decode`: audio_values (B, audio_channels, L samples)."""

    audio_values: Tensor | None = None


@dataclass
class EncodecOutput(ModelOutput):
    """Result of `EncodecModel.forward`: audio_codes (F, B, N, T), audio_values (B, C, L)."""

    audio_codes: Tensor | None = None
    audio_values: Tensor | None = None
