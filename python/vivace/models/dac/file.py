"""The .dac file of descript-audio-codec 1.0.0: codes of a clip and what restores its sound."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vivace._files import atomic_path
from vivace.models import npy

if TYPE_CHECKING:
    from vivace.models.dac.model import DacModel

__all__ = ["DacFile", "DacFileError"]

SUPPORTED_VERSIONS = ("1.0.0",)
# 1 GiB holds more than 20 hours of 24 kHz stereo in 32 codebooks.
_MAX_FILE_BYTES = 1 << 30
_MAX_SAMPLE_RATE = 10_000_000


class DacFileError(ValueError, RuntimeError):
    """A .dac file of another version, damaged or not one at all (descript raises RuntimeError)."""


@dataclass(eq=False)
class DacFile:
    """A clip as DAC codes; fields, file layout and meaning of descript's ``DACFile``.

    codes: (clips · channels, N codebooks, T frames) int64, every channel coded on its own
    chunk_length: frames per chunk; original_length: samples per channel at ``sample_rate``
    input_db: (clips,) float32, BS.1770 loudness of each clip, all channels together
    channels, sample_rate: of the original; padding: False where descript coded overlapping chunks

    Avoided traps of descript's reader and writer: stereo balance is kept (loudness is restored by
    one gain for all channels, not one each); silence is not amplified (by 54 dB there); long files
    are resampled like short ones; 16 and 24 kHz files decode to their original length.
    """

    codes: Tensor
    chunk_length: int
    original_length: int
    input_db: Tensor
    channels: int
    sample_rate: int
    padding: bool
    dac_version: str = SUPPORTED_VERSIONS[-1]

    def __post_init__(self) -> None:
        if self.dac_version not in SUPPORTED_VERSIONS:
            versions = ", ".join(SUPPORTED_VERSIONS)
            raise DacFileError(f"DacFile: dac_version must be {versions}, got {self.dac_version!r}")
        self.codes = _checked_codes(self.codes)
        for name in ("chunk_length", "original_length", "channels", "sample_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise DacFileError(f"DacFile: {name} must be a positive integer, got {value!r}")
            setattr(self, name, int(value))
        if self.sample_rate > _MAX_SAMPLE_RATE:
            raise DacFileError(
                f"DacFile: sample_rate must be at most {_MAX_SAMPLE_RATE}, got {self.sample_rate}"
            )
        if not isinstance(self.padding, bool | np.bool_):
            raise DacFileError(f"DacFile: padding must be True or False, got {self.padding!r}")
        self.padding = bool(self.padding)
        rows = self.codes.shape[0]
        if rows % self.channels:
            raise DacFileError(
                f"DacFile: codes must have a multiple of {self.channels} rows, got {rows}"
            )
        loudness = torch.as_tensor(self.input_db, dtype=torch.float32).detach().cpu()
        self.input_db = loudness[None] if loudness.ndim == 0 else loudness
        clips = rows // self.channels
        if self.input_db.shape != (clips,) or not bool(torch.isfinite(self.input_db).all()):
            raise DacFileError(
                f"DacFile: input_db must be {clips} finite values, got {self.input_db.tolist()}"
            )

    @classmethod
    def encode(
        cls,
        model: DacModel,
        audio: Tensor,
        sample_rate: int,
        *,
        n_quantizers: int | None = None,
        chunk_length_s: float | None = None,
        normalize_db: float | None = None,
    ) -> DacFile:
        """Encodes (channels, samples) or (samples,) audio at ``sample_rate`` Hz.

        The audio is resampled to the model's rate and each channel coded alone in one full pass
        (``padding=True``); ``chunk_length_s`` bounds the memory of that pass without changing the
        codes (descript's chunks change them and inflate the file). ``normalize_db`` brings the
        loudness to that value before coding by one gain for all channels, peaks at most ±1; None
        leaves it.
        Raises ValueError for empty, 3-D or NaN audio and for a model in training mode.
        """
        from vivace.models.dac import compress

        return cls(
            **compress.encode(model, audio, sample_rate, n_quantizers, chunk_length_s, normalize_db)
        )

    def decode(
        self,
        model: DacModel,
        *,
        chunk_length_s: float | None = None,
        restore_loudness: bool = True,
    ) -> tuple[Tensor, int]:
        """-> (audio (channels, original_length) float32, sample_rate), as it was before coding.

        A file of several clips gives (clips, channels, original_length). ``restore_loudness``
        brings each clip to its ``input_db`` by one gain for all its channels, as files that were
        normalised before coding need. Raises ValueError where the codes do not fit the model.
        """
        from vivace.models.dac import compress

        audio = compress.decode(model, self, chunk_length_s, restore_loudness)
        return audio, self.sample_rate

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file atomically in descript's layout, with the suffix replaced by .dac.

        Returns the path written: "a.b.wav" becomes "a.b.dac".
        """
        path = Path(path).with_suffix(".dac")
        content = {
            "codes": self.codes.cpu().numpy().astype(np.uint16),
            "metadata": {
                "input_db": self.input_db.numpy().astype(np.float32),
                "original_length": self.original_length,
                "sample_rate": self.sample_rate,
                "chunk_length": self.chunk_length,
                "channels": self.channels,
                "padding": self.padding,
                "dac_version": self.dac_version,
            },
        }
        with atomic_path(path) as temporary, open(temporary, "xb") as file:
            np.save(file, np.array(content, dtype=object), allow_pickle=True)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DacFile:
        """Reads a .dac file without unpickling it; no code in it can run.

        Raises OSError where the file cannot be read, DacFileError (a ValueError and a RuntimeError)
        where it is damaged, of another version, or something else.
        """
        with open(path, "rb") as file:
            data = file.read(len(npy.MAGIC))
            if data == npy.MAGIC:
                data += file.read(_MAX_FILE_BYTES)
        if len(data) > _MAX_FILE_BYTES:
            raise DacFileError(f"DacFile.load: {path} is larger than {_MAX_FILE_BYTES} bytes")
        try:
            return cls(**_fields(npy.parse(data)))
        except ValueError as error:
            raise DacFileError(
                f"DacFile.load: {path} is not a readable .dac file: {error}"
            ) from error


def _checked_codes(codes: Any) -> Tensor:
    """(rows, N, T) int64 on the device where they are; every code must fit uint16."""
    tensor = torch.as_tensor(codes.astype(np.int64) if _is_unsigned(codes) else codes)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise DacFileError(f"DacFile: codes must be integers, got {tensor.dtype}")
    tensor = tensor.detach().to(torch.int64)
    if tensor.ndim != 3 or tensor.numel() == 0:
        shape = tuple(tensor.shape)
        raise DacFileError(
            f"DacFile: codes must have shape (channels, codebooks, frames), got {shape}"
        )
    low, high = int(tensor.min()), int(tensor.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise DacFileError(f"DacFile: codes must lie in [0, 65535], got [{low}, {high}]")
    return tensor


def _is_unsigned(codes: Any) -> bool:
    return isinstance(codes, np.ndarray) and codes.dtype.kind == "u"


def _fields(content: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments out of the dict in the file."""
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        raise ValueError("the entry 'metadata' is missing")
    version = metadata.get("dac_version")
    if version not in SUPPORTED_VERSIONS:
        raise ValueError(
            f"dac_version must be one of {SUPPORTED_VERSIONS}, got {version!r} "
            "(files from before descript-audio-codec 1.0 have none)"
        )
    names = ("input_db", "original_length", "sample_rate", "chunk_length", "channels", "padding")
    missing = [n for n in names if n not in metadata] + ["codes"] * ("codes" not in content)
    if missing:
        raise ValueError(f"entries are missing: {', '.join(missing)}")
    for name, value, kinds in (
        ("codes", content["codes"], ("u2",)),
        ("input_db", metadata["input_db"], ("f4", "f8")),
    ):
        if not isinstance(value, np.ndarray) or value.dtype.str[1:] not in kinds:
            got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise ValueError(f"{name} must be an array of dtype {' or '.join(kinds)}, got {got}")
    return {"codes": content["codes"], "dac_version": version} | {n: metadata[n] for n in names}
