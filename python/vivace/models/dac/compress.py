"""Between audio at any sample rate and the codes of a .dac file: what DacFile's methods do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.audio import float_audio, resample
from vivace.loudness import SILENCE_DB, integrated_loudness
from vivace.nn.flow import Unpadded
from vivace.nn.geometry import convolutions, geometry

if TYPE_CHECKING:
    from vivace.models.dac.file import DacFile
    from vivace.models.dac.model import DacModel

__all__ = ["decode", "encode"]


@torch.no_grad()
def encode(
    model: DacModel,
    audio: Tensor,
    sample_rate: int,
    n_quantizers: int | None,
    chunk_length_s: float | None,
    normalize_db: float | None,
) -> dict[str, Any]:
    """The fields of a DacFile; see ``DacFile.encode``."""
    if model.training:
        raise ValueError("DacFile.encode: the model must be in eval mode (model.eval())")
    if (size := model.config.codebook_size) > 1 << 16:
        raise ValueError(f"DacFile.encode: codes must fit 16 bits, got a codebook of {size}")
    original = float_audio(audio, "DacFile.encode: audio")
    original = original[None] if original.ndim == 1 else original
    samples = resample(original, sample_rate, model.config.sampling_rate)
    loudness = integrated_loudness(samples, model.config.sampling_rate)
    if normalize_db is not None:
        samples = samples * _normalizing_gain(samples, loudness, normalize_db)
    hop = _hop(model)
    samples = F.pad(samples, (0, -samples.shape[1] % hop))
    rows = samples[:, None].to(model.device, model.dtype)
    output: Any = model.encode(rows, n_quantizers, True, chunk_length_s=chunk_length_s)
    codes: Tensor = output.audio_codes
    return {
        "codes": codes.cpu(),
        "chunk_length": codes.shape[-1],
        "original_length": original.shape[1],
        "input_db": torch.tensor([loudness]),
        "channels": original.shape[0],
        "sample_rate": sample_rate,
        "padding": True,
    }


@torch.no_grad()
def decode(
    model: DacModel, file: DacFile, chunk_length_s: float | None, restore_loudness: bool
) -> Tensor:
    """(channels, original_length) audio, or (clips, channels, ...); see ``DacFile.decode``."""
    _check_fit(model, file)
    pieces = []
    for codes in torch.split(file.codes.to(model.device), file.chunk_length, dim=-1):
        if file.padding:
            output: Any = model.decode(None, codes, True, chunk_length_s=chunk_length_s)
            pieces.append(output.audio_values)
        else:
            pieces.append(_decode_unpadded(model, codes))
    audio = torch.cat(pieces, dim=-1).float().cpu()
    clips = []
    rows = torch.split(audio, file.channels)
    for clip, loudness in zip(rows, file.input_db.tolist(), strict=True):
        if restore_loudness:
            measured = integrated_loudness(clip, model.config.sampling_rate)
            clip = clip * _normalizing_gain(clip, measured, loudness)
        clip = resample(clip, model.config.sampling_rate, file.sample_rate)
        clips.append(_fit_length(clip, file.original_length, _hop_at(model, file.sample_rate)))
    return clips[0] if len(clips) == 1 else torch.stack(clips)


def _hop(model: DacModel) -> int:
    """Samples per frame; early configs of the 16 and 24 kHz models carry a wrong ``hop_length``."""
    return int(math.prod(model.config.downsampling_ratios))


def _hop_at(model: DacModel, sample_rate: int) -> int:
    rate: int = model.config.sampling_rate
    return -(-_hop(model) * sample_rate // rate)


def _normalizing_gain(audio: Tensor, loudness: float, wanted: float) -> float:
    """One factor for all channels; it leaves silence alone and never amplifies past full scale."""
    if min(loudness, wanted) <= SILENCE_DB:
        return 1.0
    gain = float(10 ** ((wanted - loudness) / 20))
    return min(gain, max(1.0, 1 / float(audio.abs().max())))


def _check_fit(model: DacModel, file: DacFile) -> None:
    if model.decoder is None:
        raise ValueError("DacFile.decode: the model must have its decoder, got part='encoder'")
    _, books, frames = file.codes.shape
    if books > model.config.n_codebooks:
        raise ValueError(
            f"DacFile.decode: the model has {model.config.n_codebooks} codebooks, the file {books}"
        )
    if (highest := int(file.codes.max())) >= model.config.codebook_size:
        raise ValueError(
            f"DacFile.decode: codes must be below {model.config.codebook_size}, got {highest}"
        )
    # Before anything is computed: a damaged length must not make us allocate it.
    if file.original_length > (frames + 1) * _hop_at(model, file.sample_rate):
        raise ValueError(
            f"DacFile.decode: {frames} frames cannot hold {file.original_length} samples "
            f"at {file.sample_rate} Hz"
        )
    if not file.padding:
        length = min(file.chunk_length, frames % file.chunk_length or file.chunk_length)
        for module in convolutions(model.decoder):
            span, stride, _, _ = geometry(module)
            transposed = isinstance(module, nn.ConvTranspose1d)
            length = (length - 1) * stride + span if transposed else (length - span) // stride + 1
            if length <= 0:
                raise ValueError(
                    f"DacFile.decode: chunks of {file.chunk_length} frames are too short to be "
                    "decoded without padding"
                )


def _decode_unpadded(model: DacModel, codes: Tensor) -> Tensor:
    """(rows, N, T) codes of one overlapping chunk -> its own part of the audio (rows, samples)."""
    decoder = cast(nn.Module, model.decoder)  # None was refused by _check_fit
    latents = model.quantizer.from_codes(codes)[0].to(model.dtype)
    return Unpadded().run(decoder, latents)[:, 0]


def _fit_length(audio: Tensor, length: int, hop: int) -> Tensor:
    """Crops; or adds the few zeros that an odd stride lost (8 samples at 16 and 24 kHz)."""
    missing = length - audio.shape[1]
    if missing > hop:
        raise ValueError(
            f"DacFile.decode: the codes give {audio.shape[1]} samples, original_length is {length}"
        )
    return F.pad(audio, (0, missing)) if missing > 0 else audio[:, :length]
