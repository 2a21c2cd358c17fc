"""What DacModel returns: transformers' three output classes, with lengths for padded batches."""

from dataclasses import dataclass

from torch import Tensor

from vivace.models.outputs import ModelOutput


@dataclass
class DacEncoderOutput(ModelOutput):
    """Result of `DacModel.encode`.

    loss (B,); quantized_representation (B, hidden_size, T); audio_codes (B, N, T) int64;
    projected_latents (B, N · codebook_dim, T), T in frames. code_lengths (B,) int64: the frames
    of each clip, given if a padding_mask was.
    """

    loss: Tensor | None = None
    quantized_representation: Tensor | None = None
    audio_codes: Tensor | None = None
    projected_latents: Tensor | None = None
    code_lengths: Tensor | None = None


@dataclass
class DacDecoderOutput(ModelOutput):
    """Result of `DacModel.decode`.

    audio_values (B, L) in (-1, 1). audio_lengths (B,) int64: the samples of each clip, given if
    lengths were.
    """

    audio_values: Tensor | None = None
    audio_lengths: Tensor | None = None


@dataclass
class DacOutput(ModelOutput):
    """Result of `DacModel.forward`: the fields of `DacEncoderOutput` and `DacDecoderOutput`."""

    loss: Tensor | None = None
    audio_values: Tensor | None = None
    quantized_representation: Tensor | None = None
    audio_codes: Tensor | None = None
    projected_latents: Tensor | None = None
    code_lengths: Tensor | None = None
    audio_lengths: Tensor | None = None
