"""Audio files in and out, resampling, channels; seconds and Hz stop here, below it all is samples.

Audio is a float32 tensor of shape (channels, samples) with full scale at ±1. soundfile and soxr
are imported at the first call that needs them.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivace._files import atomic_path

__all__ = ["load", "resample", "save", "to_mono", "to_pcm16", "writer"]

Write = Callable[[Tensor | np.ndarray], None]

_FORMAT_OF_SUFFIX = {".aif": "AIFF", ".oga": "OGG", ".opus": "OGG"}
_PCM_BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_UNBOUNDED_SUBTYPES = ("FLOAT", "DOUBLE")
# libsndfile's Vorbis encoder overflows the stack when it gets minutes of audio in one write.
_WRITE_BLOCK = 1 << 16


def load(
    path: str | os.PathLike[str],
    *,
    sample_rate: int | None = None,
    mono: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> tuple[Tensor, int]:
    """Reads an audio file -> (float32 (channels, samples), sample rate in Hz).

    ``sample_rate`` resamples to that rate, ``mono`` averages the channels to one, ``start_s`` and
    ``duration_s`` select a part (a part that runs past the end is cut there).
    Raises OSError where the file cannot be opened, ValueError where it is not audio, is empty,
    holds NaN or infinity, or where ``start_s`` lies past its end.
    """
    import soundfile

    if not start_s >= 0:
        raise ValueError(f"audio.load: start_s must be >= 0, got {start_s}")
    if duration_s is not None and not duration_s > 0:
        raise ValueError(f"audio.load: duration_s must be > 0, got {duration_s}")
    wanted_rate = None if sample_rate is None else _rate(sample_rate, "audio.load: sample_rate")
    # libsndfile calls every failure to open a "system error"; Python's own error says which.
    with open(path, "rb"):
        pass
    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            rate = int(file.samplerate)
            start = round(start_s * rate)
            if 0 < file.frames <= start:
                seconds = file.frames / rate
                raise ValueError(
                    f"audio.load: start_s must be below {seconds:.3f} s, the length of {path}, "
                    f"got {start_s}"
                )
            file.seek(start)
            count = -1 if duration_s is None else max(1, round(duration_s * rate))
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError) as error:
        raise ValueError(f"audio.load: {path} is not an audio file ({error})") from error
    audio = torch.from_numpy(np.ascontiguousarray(samples.T))
    if audio.shape[1] == 0:
        raise ValueError(f"audio.load: {path} holds no samples")
    if not bool(torch.isfinite(audio).all()):
        raise ValueError(f"audio.load: {path} holds NaN or infinite samples")
    if mono:
        audio = to_mono(audio)
    if wanted_rate is not None and wanted_rate != rate:
        audio, rate = resample(audio, rate, wanted_rate), wanted_rate
    return audio, rate


def save(
    path: str | os.PathLike[str],
    audio: Tensor | np.ndarray,
    sample_rate: int,
    *,
    subtype: str | None = None,
    clip: bool = True,
) -> Path:
    """Writes (channels, samples) or (samples,) audio, floating or int16, and returns the path.

    The suffix chooses the format (.wav .flac .ogg .mp3 ...), ``subtype`` libsndfile's sample
    format (PCM_16, PCM_24, FLOAT, VORBIS ...; None: the format's default). Samples beyond ±1 are
    clipped, or raise ValueError with ``clip=False``; FLOAT and DOUBLE keep them. int16 audio
    written as PCM of 16 bits or more comes back bit for bit. The write is atomic.
    Raises ValueError for empty, 3-D or NaN audio and for what the format cannot hold.
    """
    samples = float_audio(audio, "audio.save: audio")
    samples = samples[None] if samples.ndim == 1 else samples
    path, channels = Path(path), samples.shape[0]
    with _writer(path, sample_rate, channels, subtype, clip, "audio.save") as write:
        write(samples)
    return path


@contextmanager
def writer(
    path: str | os.PathLike[str],
    sample_rate: int,
    channels: int = 1,
    *,
    subtype: str | None = None,
    clip: bool = True,
) -> Iterator[Write]:
    """As `save`, piece by piece: yields a function that appends audio to the file.

    The file appears under its name when the block ends, and not at all if the block raises.
    Raises ValueError as `save`, for pieces of another number of channels, and if there were none.
    """
    with _writer(Path(path), sample_rate, channels, subtype, clip, "audio.writer") as write:
        yield write


@contextmanager
def _writer(
    path: Path, sample_rate: int, channels: int, subtype: str | None, clip: bool, name: str
) -> Iterator[Write]:
    import soundfile

    rate = _rate(sample_rate, f"{name}: sample_rate")
    suffix = path.suffix.lower()
    container = _FORMAT_OF_SUFFIX.get(suffix, suffix[1:].upper())
    if container == "RAW" or container not in soundfile.available_formats():
        raise ValueError(
            f"{name}: the path must end in .wav, .flac, .ogg, .mp3 or another suffix that "
            f"libsndfile writes, got {path.name!r}"
        )
    if subtype is None:
        subtype = "OPUS" if suffix == ".opus" else soundfile.default_subtype(container)
    subtype = subtype.upper()
    if not soundfile.check_format(container, subtype):
        known = ", ".join(soundfile.available_subtypes(container))
        raise ValueError(f"{name}: subtype for {suffix} must be one of {known}, got {subtype}")

    written = 0

    def write(audio: Tensor | np.ndarray) -> None:
        nonlocal written
        samples = float_audio(audio, f"{name}: audio")
        samples = samples[None] if samples.ndim == 1 else samples
        if samples.shape[0] != channels:
            raise ValueError(f"{name}: audio must have {channels} channels, got {samples.shape[0]}")
        if subtype not in _UNBOUNDED_SUBTYPES:
            peak = float(samples.abs().max())
            if peak > 1 and not clip:
                raise ValueError(f"{name}: samples must lie within ±1 (clip=False), got {peak:.4g}")
            samples = samples.clamp(-1, 1)
        frames = _to_file_dtype(samples.T, subtype)
        for start in range(0, len(frames), _WRITE_BLOCK):
            file.write(frames[start : start + _WRITE_BLOCK])
        written += len(frames)

    try:
        with atomic_path(path) as temporary:
            with open(temporary, "xb"):  # a missing or read-only folder is Python's own error
                pass
            with soundfile.SoundFile(
                os.fspath(temporary), "w", rate, channels, subtype, format=container
            ) as file:
                yield write
                if written == 0:
                    raise ValueError(f"{name}: no audio was written to {path}")
    except soundfile.SoundFileError as error:
        raise ValueError(
            f"{name}: {container} {subtype} cannot hold {channels} channels at {rate} Hz ({error})"
        ) from error


def to_pcm16(audio: Tensor | np.ndarray) -> np.ndarray:
    """Audio as int16 of the same shape, clipped at ±1: the samples that `save` writes as PCM_16."""
    samples = float_audio(audio, "audio.to_pcm16: audio").clamp(-1, 1)
    return _to_file_dtype(samples, "PCM_16")


def resample(audio: Tensor | np.ndarray, orig: int, new: int) -> Tensor:
    """Changes the sample rate from ``orig`` to ``new`` Hz by soxr's VHQ filter.

    (channels, samples) or (samples,) -> the same rank in float32 on the CPU, with
    round(samples · new / orig) samples, at least one. Raises ValueError for empty, 3-D or NaN audio
    and for rates that are not positive integers.
    """
    samples = float_audio(audio, "audio.resample: audio")
    orig, new = _rate(orig, "audio.resample: orig"), _rate(new, "audio.resample: new")
    if orig == new:
        return samples
    import soxr

    frames = np.ascontiguousarray(samples.numpy().T)
    resampled = np.asarray(soxr.resample(frames, orig, new, quality="VHQ"), dtype=np.float32)
    if len(resampled) == 0:  # a clip shorter than half a sample of the new rate
        resampled = frames[:1]
    return torch.from_numpy(np.ascontiguousarray(resampled.T))


def to_mono(audio: Tensor | np.ndarray) -> Tensor:
    """The mean of the channels: (channels, samples) or (samples,) -> float32 (1, samples)."""
    samples = float_audio(audio, "audio.to_mono: audio")
    return samples[None] if samples.ndim == 1 else samples.mean(0, keepdim=True)


def float_audio(audio: Tensor | np.ndarray, name: str) -> Tensor:
    """Checked audio as float32 on the CPU; int16 is scaled to ±1."""
    tensor = torch.as_tensor(audio).detach().cpu()
    if tensor.dtype == torch.int16:
        tensor = tensor.to(torch.float32) / 32768
    elif not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating or int16, got {tensor.dtype}")
    if tensor.ndim not in (1, 2):
        raise ValueError(
            f"{name} must have shape (samples,) or (channels, samples), got {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(tensor.shape)}")
    tensor = tensor.to(torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return tensor


def _rate(value: int, name: str) -> int:
    try:
        rate = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer in Hz, got {value!r}") from None
    if rate <= 0:
        raise ValueError(f"{name} must be positive, got {rate}")
    return rate


def _to_file_dtype(frames: Tensor, subtype: str) -> np.ndarray:
    """Integers for PCM: libsndfile scales floats by 2^(bits-1) - 1, which is not lossless."""
    if subtype not in _PCM_BITS:
        return np.ascontiguousarray(frames.numpy())
    bits = _PCM_BITS[subtype]
    full_scale = float(1 << (bits - 1))
    values = (frames.double() * full_scale).round().clamp(-full_scale, full_scale - 1)
    if bits == 16:
        return np.ascontiguousarray(values.to(torch.int16).numpy())
    # libsndfile takes the leading bits of an int32.
    return np.ascontiguousarray((values.to(torch.int64) << (32 - bits)).to(torch.int32).numpy())
