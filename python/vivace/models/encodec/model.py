"""EncodecModel: the neural audio codec EnCodec (Défossez et al. 2022, arXiv:2210.13438).

The class, its arguments and its results are those of transformers' EncodecModel; what it adds:
`part`, `decode_ragged`, `streaming_decoder`, and audio_scales that may be left out.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from vivace.generation.graph import Graphs
from vivace.models.encodec.chunks import chunk_spans, grouped, overlap_add
from vivace.models.encodec.config import EncodecConfig
from vivace.models.encodec.layers import EncodecDecoder, EncodecEncoder
from vivace.models.encodec.outputs import (
    EncodecDecoderOutput,
    EncodecEncoderOutput,
    EncodecOutput,
)
from vivace.models.encodec.pretrained import EncodecPreTrainedModel
from vivace.models.encodec.quantizer import EncodecResidualVectorQuantizer
from vivace.models.encodec.streaming import StreamingDecoder, decode_rows
from vivace.nn.geometry import InputError

_Half = TypeVar("_Half", EncodecEncoder, EncodecDecoder)
_Scales = list[Tensor | None]


class EncodecModel(EncodecPreTrainedModel):
    """Neural audio codec: audio -> codes -> audio; mono at 24 kHz, stereo in chunks at 48 kHz.

    ``part="decoder"`` or ``"encoder"`` builds that half and the quantizer; the other attribute is
    None, and calls that need it raise ValueError. A new model is in training mode and has random
    weights and empty codebooks. Raises ValueError unless ``config.codebook_size`` is a power of 2.
    """

    _init_kwargs = ("part",)

    def __init__(
        self, config: EncodecConfig, *, part: Literal["encoder", "decoder"] | None = None
    ) -> None:
        super().__init__(config)
        if part not in (None, "encoder", "decoder"):
            raise ValueError(
                f"EncodecModel: part must be 'encoder', 'decoder' or None, got {part!r}"
            )
        self.part = part
        self.encoder = EncodecEncoder(config) if part != "decoder" else None
        self.decoder = EncodecDecoder(config) if part != "encoder" else None
        self.quantizer = EncodecResidualVectorQuantizer(config)
        self.bits_per_codebook = int(math.log2(config.codebook_size))
        if 2**self.bits_per_codebook != config.codebook_size:
            raise ValueError("The codebook_size must be a power of 2.")
        absent = {"encoder": "decoder.", "decoder": "encoder."}
        self._unloaded_prefixes = (absent[part],) if part else ()
        self._graphs = Graphs(self)
        self.post_init()

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        bandwidth: float | None = None,
        return_dict: bool | None = None,
    ) -> EncodecEncoderOutput | tuple[Any, ...]:
        """Audio (B, audio_channels, L samples) -> codes (F, B, N, T frames) of its F chunks.

        ``padding_mask`` (B, L) or (B, C, L): samples where it is 0 count as silence. ``bandwidth``
        (kbit/s, one of ``config.target_bandwidths``; by default the first) says how many codebooks
        N. Raises ValueError for another bandwidth, InputError (a ValueError and RuntimeError) for
        shapes and types that have no result.
        """
        fields = self._encode(input_values, padding_mask, bandwidth)
        return EncodecEncoderOutput(*fields) if self._wants_dict(return_dict) else fields

    def _encode(
        self, input_values: Tensor, padding_mask: Tensor | None, bandwidth: float | None
    ) -> tuple[Tensor, _Scales, int]:
        config, encoder = self.config, _present(self.encoder, "encoder", "encode")
        bandwidth = config.target_bandwidths[0] if bandwidth is None else bandwidth
        if bandwidth not in config.target_bandwidths:
            raise ValueError(
                f"This model doesn't support the bandwidth {bandwidth}. Select one of "
                f"{config.target_bandwidths}."
            )
        _check_audio(input_values, config.audio_channels, next(encoder.parameters()).dtype)
        audio = input_values
        if padding_mask is not None:
            audio = _expanded(padding_mask, audio).bool() * audio
        batch, _, time = audio.shape
        chunk, stride = self._chunks(time)
        codes: list[Tensor] = []
        scales: _Scales = []
        for group in chunk_spans(time, chunk, stride, batch):
            part = torch.stack([audio[..., span] for span in group])
            scale = None
            if config.normalize:
                wide = part.to(torch.promote_types(part.dtype, torch.float32))
                scale = wide.mean(2, keepdim=True).pow(2).mean(-1, keepdim=True).sqrt() + 1e-8
                part, scale = (wide / scale).to(part.dtype), scale.to(part.dtype)
            found = self._encode_frames(encoder, part.flatten(0, 1), bandwidth)
            codes += found.unflatten(0, (len(group), batch)).unbind()
            scales += _unbound(scale, len(group))
        missing = codes[0].shape[-1] - codes[-1].shape[-1]
        if missing > 0:
            codes[-1] = torch.nn.functional.pad(codes[-1], (0, missing))
        if any(part.shape != codes[0].shape for part in codes):
            raise InputError(
                f"EncodecModel.encode: at an overlap of {config.overlap}, {time} samples end in "
                "several incomplete chunks: pad them to a whole number of strides"
            )
        return torch.stack(codes), scales, missing

    @torch.no_grad()
    def _encode_frames(self, encoder: EncodecEncoder, audio: Tensor, bandwidth: float) -> Tensor:
        """Audio (B, C, L) -> codes (B, N, T); nothing here has a gradient."""

        def whole(audio: Tensor) -> Tensor:
            return self.quantizer.encode(encoder(audio), bandwidth).transpose(0, 1).contiguous()

        name = ("encode", bandwidth, self.quantizer.state())
        codes: Tensor = self._graphs.call(name, whole, audio)
        return codes

    def decode(
        self,
        audio_codes: Tensor | Sequence[Tensor],
        audio_scales: Sequence[Tensor | None] | None = None,
        padding_mask: Tensor | None = None,
        return_dict: bool | None = None,
        last_frame_pad_length: int | None = 0,
    ) -> EncodecDecoderOutput | tuple[Any, ...]:
        """Codes (F, B, n <= N, T) of F chunks -> audio (B, audio_channels, L samples).

        ``audio_scales``: for each chunk None or a factor (B, 1). ``padding_mask`` (..., L'): the
        audio is cut to L' samples. ``last_frame_pad_length``: frames at the end of the last chunk
        that hold nothing. Raises ValueError for several chunks where the model has none, IndexError
        for codes that the model does not have, InputError for shapes.
        """
        audio = self._decode(audio_codes, audio_scales, padding_mask, last_frame_pad_length)
        return EncodecDecoderOutput(audio) if self._wants_dict(return_dict) else (audio,)

    def _decode(
        self,
        audio_codes: Tensor | Sequence[Tensor],
        audio_scales: Sequence[Tensor | None] | None,
        padding_mask: Tensor | None,
        last_frame_pad_length: int | None,
    ) -> Tensor:
        codes = list(audio_codes)
        chunked = self.config.chunk_length is not None
        if not codes or (len(codes) != 1 and not chunked):
            raise ValueError(f"Expected one frame, got {len(codes)}")
        if any(part.dim() != 3 for part in codes):
            raise InputError(
                "EncodecModel.decode: audio_codes must have shape (F chunks, B, N, T), got "
                f"{(len(codes), *codes[0].shape)}"
            )
        scales = [None] * len(codes) if audio_scales is None else list(audio_scales)
        if len(scales) < len(codes):
            raise ValueError(
                f"EncodecModel.decode: audio_scales must hold {len(codes)} entries, one for each "
                f"chunk of audio_codes, got {len(scales)}"
            )
        if last_frame_pad_length:
            codes[-1] = codes[-1][..., :-last_frame_pad_length]
        frames = [
            frame
            for group in grouped(codes)
            for frame in self._decode_frames(group.flatten(0, 1)).unflatten(0, group.shape[:2])
        ]
        frames = [
            frame if scale is None else frame * scale.view(-1, 1, 1)
            for frame, scale in zip(frames, scales, strict=False)
        ]
        audio = overlap_add(frames, self.config.chunk_stride or 1) if chunked else frames[0]
        if padding_mask is not None:
            audio = audio[..., : padding_mask.shape[-1]]
        return audio

    def _decode_frames(self, codes: Tensor) -> Tensor:
        """Codes (B, N, T) -> audio (B, C, L)."""
        decoder = _present(self.decoder, "decoder", "decode")
        latents = self.quantizer.decode(codes.transpose(0, 1))
        audio: Tensor = self._graphs.call("decode", decoder, latents)
        return audio

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        bandwidth: float | None = None,
        audio_codes: Tensor | None = None,
        audio_scales: Sequence[Tensor | None] | None = None,
        return_dict: bool | None = None,
        last_frame_pad_length: int | None = 0,
    ) -> EncodecOutput | tuple[Any, ...]:
        """`encode`, unless codes and scales are given, then `decode`, cut to the input's length."""
        if audio_codes is not None and audio_scales is None:
            raise ValueError("You specified `audio_codes` but did not specify the `audio_scales`")
        if audio_scales is not None and audio_codes is None:
            raise ValueError("You specified `audio_scales` but did not specify the `audio_codes`")
        if audio_codes is None:
            audio_codes, audio_scales, last_frame_pad_length = self._encode(
                input_values, padding_mask, bandwidth
            )
        limit = input_values if padding_mask is None else padding_mask
        audio = self._decode(audio_codes, audio_scales, limit, last_frame_pad_length)
        fields = audio_codes, audio
        return EncodecOutput(*fields) if self._wants_dict(return_dict) else fields

    def decode_ragged(self, codes: Tensor, lengths: Sequence[int] | Tensor) -> list[Tensor]:
        """Codes (B, n <= N, T) of ``lengths`` (B) frames -> each row's audio (audio_channels, L).

        Each row gets exactly the audio of its solo run; what stands behind its end does not matter.
        Chunks and scales have no part in this.
        """
        decoder = _present(self.decoder, "decoder", "decode_ragged")
        return decode_rows(self.config, decoder, self.quantizer, codes, lengths)

    def streaming_decoder(self, batch_size: int = 1) -> StreamingDecoder:
        """A new stream codes -> audio, equal to `decode`; many may run at once.

        Raises ValueError for a configuration that is not causal.
        """
        decoder = _present(self.decoder, "decoder", "streaming_decoder")
        return StreamingDecoder(self.config, decoder, self.quantizer, batch_size)

    def _chunks(self, time: int) -> tuple[int, int]:
        """(length, stride) of the chunks of a clip, in samples."""
        if self.config.chunk_length is None:
            return time, time
        if self.config.chunk_stride is None:
            raise ValueError("EncodecModel.encode: chunk_length_s needs overlap, which is None")
        return self.config.chunk_length, self.config.chunk_stride

    def _wants_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)


def _present(half: _Half | None, name: str, method: str) -> _Half:
    if half is None:
        other = "decoder" if name == "encoder" else "encoder"
        raise ValueError(
            f"EncodecModel.{method}: this model has no {name}: it was loaded with part={other!r}"
        )
    return half


def _check_audio(x: Tensor, channels: int, dtype: torch.dtype) -> None:
    if x.dim() == 3 and not 1 <= x.shape[1] <= 2:
        raise ValueError(f"Number of audio channels must be 1 or 2, but got {x.shape[1]}")
    if x.dim() != 3 or x.shape[1] != channels or x.numel() == 0:
        raise InputError(
            f"EncodecModel.encode: input_values must have shape (B >= 1, {channels}, L >= 1), "
            f"got {tuple(x.shape)}"
        )
    if x.dtype != dtype:
        raise InputError(
            "EncodecModel.encode: input_values and the weights should be the same type, "
            f"got {x.dtype} and {dtype}"
        )


def _expanded(mask: Tensor, audio: Tensor) -> Tensor:
    """A padding mask (B, L) or (B, C, L) as (B, 1 or C, L)."""
    batch, channels, time = audio.shape
    full = mask[:, None] if mask.dim() == 2 else mask
    if full.shape not in ((batch, 1, time), (batch, channels, time)):
        raise InputError(
            f"EncodecModel.encode: padding_mask must have shape ({batch}, {time}) or "
            f"{tuple(audio.shape)}, got {tuple(mask.shape)}"
        )
    return full


def _unbound(scale: Tensor | None, count: int) -> _Scales:
    """Scales (F, B, 1, 1) as a list of (B, 1)."""
    if scale is None:
        return [None] * count
    return [part.reshape(-1, 1) for part in scale.unbind()]
