"""EncodecFeatureExtractor: raw audio -> padded batches for EncodecModel, as in transformers."""

import logging
import math
from typing import Any, ClassVar

import numpy as np

from vivace.models.features import BatchFeature, SequenceFeatureExtractor

logger = logging.getLogger(__name__)


class EncodecFeatureExtractor(SequenceFeatureExtractor):
    """Pads clips with zeros to one length, or to a whole number of chunks.

    feature_size: channels, 1 or 2. sampling_rate in Hz. chunk_length_s and overlap are those of the
    model's configuration; without them clips are coded whole.
    """

    model_input_names: ClassVar[list[str]] = ["input_values", "padding_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 24000,
        padding_value: float = 0.0,
        chunk_length_s: float | None = None,
        overlap: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.chunk_length_s = chunk_length_s
        self.overlap = overlap

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

    def __call__(
        self,
        raw_audio: Any,
        padding: bool | str | None = None,
        truncation: bool | None = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
    ) -> BatchFeature:
        """Makes the model's input of one clip, (L,) mono or (2, L) stereo, or a list of clips.

        Returns input_values (B, channels, L) and, unless padding=False, padding_mask (B, L) int32,
        which is 1 where there is audio; with return_tensors=None the clips stay apart as arrays.
        With chunks, clips are padded (truncation=True: cut) to a whole number of them, unless
        max_length (samples) says otherwise. An array that is given alone keeps its dtype, except
        float64; everything else becomes float32. Raises ValueError for a wrong sampling rate,
        another number of channels, or contradicting options.
        """
        if sampling_rate is None:
            logger.warning(
                "It is strongly recommended to pass the `sampling_rate` argument to `%s()`. "
                "Failing to do so can result in silent errors that might be hard to debug.",
                type(self).__name__,
            )
        elif sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The model corresponding to this feature extractor: {self} was trained using a "
                f"sampling rate of {self.sampling_rate}. Please make sure that the provided audio "
                f"input was sampled with {self.sampling_rate} and not {sampling_rate}."
            )
        if padding and truncation:
            raise ValueError("Both padding and truncation were set. Make sure you only set one.")
        padding = True if padding is None else padding
        clips = _as_clips(raw_audio)
        for clip in clips:
            self._check(clip)
        output = BatchFeature({"input_values": clips})
        whole = self._whole_chunks([len(clip) for clip in clips], bool(truncation))
        if whole is not None and max_length is None:
            if not truncation:
                padding = "max_length" if padding else padding
            if truncation or padding:
                max_length = whole
        if whole is None or max_length is not None:
            output = self.pad(
                output,
                max_length=max_length,
                truncation=bool(truncation),
                padding=padding,
                return_attention_mask=padding,
            )
            if padding:
                output["padding_mask"] = output.pop("attention_mask")
        values = output.pop("input_values")
        # Channels first; a mono clip gets its one channel.
        output["input_values"] = [
            (clip[..., None] if self.feature_size == 1 else clip).T for clip in values
        ]
        return output.convert_to_tensors(return_tensors)

    def _whole_chunks(self, lengths: list[int], truncation: bool) -> int | None:
        """The samples of as many chunks as the longest clip needs, or the shortest fills."""
        length, stride = self.chunk_length, self.chunk_stride
        if length is None or stride is None:
            return None
        steps = (
            math.floor(min(lengths) / stride) if truncation else math.ceil(max(lengths) / stride)
        )
        return (steps - 1) * stride + length

    def _check(self, clip: np.ndarray) -> None:
        if clip.ndim == 0:
            raise ValueError("Expected input shape (length,) but got a single number")
        if clip.ndim > 2:
            raise ValueError(f"Expected input shape (channels, length) but got shape {clip.shape}")
        if self.feature_size == 1 and clip.ndim != 1:
            raise ValueError(f"Expected mono audio but example has {clip.shape[-1]} channels")
        if self.feature_size == 2 and clip.shape[-1] != 2:
            raise ValueError(f"Expected stereo audio but example has {clip.shape[-1]} channels")
        if self.feature_size == 2 and clip.ndim == 1:
            raise ValueError("Expected stereo audio but example has 1 channels")


def _as_clips(raw_audio: Any) -> list[np.ndarray]:
    """The clips of a batch, each transposed: channels come last, as padding wants them."""
    is_sequence = isinstance(raw_audio, (list, tuple))
    if is_sequence and isinstance(raw_audio[0], (np.ndarray, list, tuple)):
        return [np.asarray(clip, dtype=np.float32).T for clip in raw_audio]
    if isinstance(raw_audio, np.ndarray) and raw_audio.dtype != np.float64:
        return [raw_audio.T]
    return [np.asarray(raw_audio, dtype=np.float32).T]
