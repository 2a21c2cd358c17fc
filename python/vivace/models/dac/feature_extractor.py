"""DacFeatureExtractor: raw mono audio -> padded batches for DacModel, as in transformers."""

import logging
from typing import Any, ClassVar

import numpy as np

from vivace.models.features import BatchFeature, SequenceFeatureExtractor

logger = logging.getLogger(__name__)


class DacFeatureExtractor(SequenceFeatureExtractor):
    """Pads mono clips with zeros to a multiple of `hop_length` samples.

    sampling_rate in Hz; feature_size must be 1: transformers accepts 2 here but no stereo audio.
    """

    model_input_names: ClassVar[list[str]] = ["input_values", "n_quantizers"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        hop_length: int = 512,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.hop_length = hop_length

    def __call__(
        self,
        raw_audio: Any,
        padding: bool | str | None = None,
        truncation: bool | None = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
    ) -> BatchFeature:
        """Makes the model's input of one clip (L,) or a list of clips of any lengths.

        Returns input_values (B, 1, L) and, unless padding=False, padding_mask (B, L) int32, which
        is 1 where there is audio; with return_tensors=None the clips stay apart as arrays (1, L).
        truncation cuts to max_length samples, rounded up to a multiple of the hop. An array that is
        given alone keeps its dtype, except float64; everything else becomes float32. Raises
        ValueError for a wrong sampling rate, more than one channel, or contradicting options.
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
        padded = self.pad(
            {"input_values": clips},
            padding=padding,
            max_length=max_length,
            truncation=bool(truncation),
            pad_to_multiple_of=self.hop_length,
            return_attention_mask=padding,
        )
        output = BatchFeature()
        if padding and len({len(clip) for clip in padded["input_values"]}) > 1:
            raise ValueError(
                "the clips differ in length after padding: pass truncation=True to cut them to "
                f"max_length={max_length}, or padding=False to keep them apart"
            )
        if padding:
            output["padding_mask"] = padded["attention_mask"]
        output["input_values"] = [clip[np.newaxis, :] for clip in padded["input_values"]]
        return output.convert_to_tensors(return_tensors)

    def _check(self, clip: np.ndarray) -> None:
        if clip.ndim == 0:
            raise ValueError("Expected input shape (length,) but got a single number")
        if clip.ndim > 2:
            raise ValueError(f"Expected input shape (channels, length) but got shape {clip.shape}")
        if self.feature_size == 1 and clip.ndim != 1:
            raise ValueError(f"Expected mono audio but example has {clip.shape[-1]} channels")
        if self.feature_size == 2:
            raise ValueError("Stereo audio isn't supported for now")


def _as_clips(raw_audio: Any) -> list[np.ndarray]:
    """The clips of a batch, each transposed: channels come last, as the messages count them."""
    is_sequence = isinstance(raw_audio, (list, tuple))
    if is_sequence and isinstance(raw_audio[0], (np.ndarray, list, tuple)):
        return [np.asarray(clip, dtype=np.float32).T for clip in raw_audio]
    if isinstance(raw_audio, np.ndarray) and raw_audio.dtype != np.float64:
        return [raw_audio.T]
    return [np.asarray(raw_audio, dtype=np.float32).T]
