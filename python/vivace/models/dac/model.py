"""DacModel: the Descript Audio Codec (Kumar et al. 2023, arXiv:2306.06546).

The class, its arguments and its results are those of transformers' DacModel; what it adds is
keyword-only: padded batches, chunks, streams, and models with one half.
"""

import itertools
import math
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from vivace.generation.graph import Graphs
from vivace.models.base import PreTrainedModel
from vivace.models.dac.config import DacConfig
from vivace.models.dac.descript import load_descript
from vivace.models.dac.layers import DacDecoder, DacEncoder
from vivace.models.dac.outputs import DacDecoderOutput, DacEncoderOutput, DacOutput
from vivace.models.dac.quantizer import DacResidualVectorQuantizer
from vivace.models.dac.streaming import (
    StreamingDecoder,
    StreamingEncoder,
    check_latents,
    decode_in_chunks,
    encode_in_chunks,
)
from vivace.models.outputs import Deferred
from vivace.nn.flow import FULL, Full, Ragged
from vivace.nn.geometry import InputError, check_lengths, mask_lengths, through
from vivace.nn.snake1d import Snake1d
from vivace.nn.weight_norm import WeightNormed

_Half = TypeVar("_Half", DacEncoder, DacDecoder)
# loss, quantized_representation, audio_codes, projected_latents, code_lengths
_Encoded = tuple[Tensor, Any, Tensor, Tensor, Tensor | None]


class DacPreTrainedModel(WeightNormed, PreTrainedModel):
    """Initialisation and weight norm, which transformers keeps in a class of this name."""

    config_class = DacConfig
    base_model_prefix = "dac"
    main_input_name = "input_values"
    input_modalities: ClassVar[str] = "audio"
    _no_split_modules: ClassVar[list[str]] = ["DacResidualUnit"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Snake1d):
            nn.init.ones_(module.alpha)
        elif isinstance(module, nn.ConvTranspose1d):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)


class DacModel(DacPreTrainedModel):
    """Neural audio codec: mono audio -> codes -> mono audio.

    ``part="decoder"`` or ``"encoder"`` builds that half and the quantizer; the other attribute is
    None, and calls that need it raise ValueError. A new model is in training mode and has random
    weights. Raises ValueError unless ``config.codebook_size`` is a power of 2.
    """

    _init_kwargs = ("part",)

    def __init__(
        self, config: DacConfig, *, part: Literal["encoder", "decoder"] | None = None
    ) -> None:
        super().__init__(config)
        if part not in (None, "encoder", "decoder"):
            raise ValueError(f"DacModel: part must be 'encoder', 'decoder' or None, got {part!r}")
        self.bits_per_codebook = int(math.log2(config.codebook_size))
        if 2**self.bits_per_codebook != config.codebook_size:
            raise ValueError("The codebook_size must be a power of 2.")
        self.part = part
        self.encoder = DacEncoder(config) if part != "decoder" else None
        self.decoder = DacDecoder(config) if part != "encoder" else None
        self.quantizer = DacResidualVectorQuantizer(config)
        absent = {"encoder": "decoder.", "decoder": "encoder."}
        self._unloaded_prefixes = (absent[part],) if part else ()
        self._graphs = Graphs(self)
        self.post_init()

    def encode(
        self,
        input_values: Tensor,
        n_quantizers: int | None = None,
        return_dict: bool | None = None,
        *,
        padding_mask: Tensor | None = None,
        chunk_length_s: float | None = None,
    ) -> DacEncoderOutput | tuple[Any, ...]:
        """Audio (B, 1, L samples) -> codes (B, N, T frames) and what led to them.

        ``n_quantizers``: the first codebooks alone (eval mode). ``padding_mask`` (B, L): clips of
        unequal length, padded on the right; each gets the result (and the loss) of its solo run.
        ``chunk_length_s``: the same result in memory that does not grow with L, without
        gradients. Raises InputError (a ValueError and RuntimeError) for shapes and lengths that
        have no result.
        """
        fields = self._encode(input_values, n_quantizers, padding_mask, chunk_length_s)
        return DacEncoderOutput(*fields) if self._wants_dict(return_dict) else _given(fields)

    def _encode(
        self,
        input_values: Tensor,
        n_quantizers: int | None,
        padding_mask: Tensor | None,
        chunk_length_s: float | None = None,
    ) -> _Encoded:
        encoder = _present(self.encoder, "encoder", "encode")
        _check_audio(input_values, encoder.conv1.weight.dtype)
        batch, _, time = input_values.shape
        lengths = None
        if padding_mask is not None:
            lengths = mask_lengths(padding_mask, batch, time, "DacModel.encode")
        frames = _after(encoder, lengths or [time], "encode", "samples")
        ragged = None if lengths is None else frames
        if chunk_length_s is None:

            def whole(audio: Tensor) -> tuple[Tensor, ...]:
                hidden = _flow(lengths, time).run(encoder, audio)
                found: tuple[Tensor, ...] = self.quantizer(hidden, n_quantizers, lengths=ragged)
                return found

            if self.training or lengths is not None:
                z, codes, latents, *losses = whole(input_values)
            else:
                name = ("encode", n_quantizers)
                z, codes, latents, *losses = self._graphs.call(name, whole, input_values)
        else:
            if self.training:
                raise ValueError("DacModel.encode: chunk_length_s needs eval mode: model.eval()")
            z, codes, latents, *losses = self._encode_in_chunks(
                input_values, n_quantizers, lengths, ragged, chunk_length_s
            )
        loss = (
            self.config.commitment_loss_weight * losses[0]
            + self.config.codebook_loss_weight * losses[1]
        )
        return loss, z, codes, latents, _tensor(ragged, codes)

    def decode(
        self,
        quantized_representation: Tensor | None = None,
        audio_codes: Tensor | None = None,
        return_dict: bool | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        chunk_length_s: float | None = None,
    ) -> DacDecoderOutput | tuple[Any, ...]:
        """Latents (B, hidden_size, T frames), or codes (B, n <= N, T), which win -> audio (B, L).

        ``lengths`` (B): the frames of each row of a right-padded batch; each row gets the audio of
        its solo run, then zeros (what stands in the padding does not matter). ``chunk_length_s``:
        the same result in memory that does not grow with T, without gradients. Raises ValueError
        without input, IndexError for codes that the model does not have, InputError for shapes.
        """
        fields = self._decode(quantized_representation, audio_codes, lengths, chunk_length_s)
        return DacDecoderOutput(*fields) if self._wants_dict(return_dict) else _given(fields)

    def _decode(
        self,
        quantized_representation: Tensor | None,
        audio_codes: Tensor | None,
        lengths: Sequence[int] | Tensor | None,
        chunk_length_s: float | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        frames = audio_codes if audio_codes is not None else quantized_representation
        if frames is None:
            raise ValueError("Either `quantized_representation` or `audio_codes` must be provided.")
        decoder = _present(self.decoder, "decoder", "decode")
        if audio_codes is not None:
            self.quantizer.check_codes(audio_codes)
        else:
            check_latents(decoder, frames, "DacModel.decode")
        batch, _, time = frames.shape
        limits = None
        if lengths is not None:
            limits = check_lengths(lengths, batch, time, "DacModel.decode")
            if audio_codes is not None:
                frames = Ragged(limits).clear(frames)
        samples = _after(decoder, limits or [time], "decode", "frames")
        if chunk_length_s is None:

            def whole(frames: Tensor) -> Tensor:
                latents = self.quantizer.dequantize(frames) if audio_codes is not None else frames
                return _flow(limits, time).run(decoder, latents).squeeze(1)

            if limits is None:
                audio = self._graphs.call(("decode", audio_codes is None), whole, frames)
            else:
                audio = whole(frames)
        else:
            chunk = self._chunk_frames(chunk_length_s)
            audio = decode_in_chunks(decoder, self.quantizer, frames, limits, chunk)
        return audio, None if limits is None else _tensor(samples, audio)

    def forward(
        self,
        input_values: Tensor,
        n_quantizers: int | None = None,
        return_dict: bool | None = None,
        *,
        padding_mask: Tensor | None = None,
    ) -> DacOutput | tuple[Any, ...]:
        """`encode`, then `decode` of the latents, cut to the input's length: audio (B, <= L)."""
        loss, z, codes, latents, ends = self._encode(input_values, n_quantizers, padding_mask)
        audio, samples = self._decode(z, None, ends)
        audio = audio[..., : input_values.shape[-1]]
        if padding_mask is not None and samples is not None:
            samples = torch.minimum(samples, padding_mask.to(samples.device).sum(1))
            audio = Ragged(samples.tolist()).clear(audio)
        fields = loss, audio, z, codes, latents, ends, samples
        return DacOutput(*fields) if self._wants_dict(return_dict) else _given(fields)

    def streaming_encoder(
        self, batch_size: int = 1, n_quantizers: int | None = None
    ) -> StreamingEncoder:
        """A new stream audio -> codes, equal to `encode` in eval mode; many may run at once."""
        encoder = _present(self.encoder, "encoder", "streaming_encoder")
        return StreamingEncoder(encoder, self.quantizer, batch_size, n_quantizers)

    def streaming_decoder(self, batch_size: int = 1) -> StreamingDecoder:
        """A new stream codes or latents -> audio, equal to `decode`; many may run at once."""
        decoder = _present(self.decoder, "decoder", "streaming_decoder")
        return StreamingDecoder(decoder, self.quantizer, batch_size)

    @classmethod
    def from_descript(
        cls,
        path: str | os.PathLike[str],
        *,
        part: Literal["encoder", "decoder"] | None = None,
    ) -> "DacModel":
        """A model from a weights file (.pth) of descript-audio-codec, in eval mode.

        Weight norm is folded. Raises OSError for a file that is missing or damaged, ValueError
        for one that holds something else.
        """
        config, state = load_descript(path)
        with torch.device("meta"):
            model = cls(config, part=part)
        kept = {k: v for k, v in state.items() if not k.startswith(model._unloaded_prefixes)}
        model.load_state_dict(kept, assign=True)
        return model.eval()

    def _encode_in_chunks(
        self,
        audio: Tensor,
        n_quantizers: int | None,
        lengths: list[int] | None,
        frames: list[int] | None,
        chunk_length_s: float,
    ) -> tuple[Any, Tensor, Tensor, Tensor, Tensor]:
        """`quantizer`'s results; the quantized latents, the largest of them, only on demand."""
        encoder = _present(self.encoder, "encoder", "encode")
        chunk = self._chunk_frames(chunk_length_s) * self.config.hop_length
        codes, latents, commitment, codebook = encode_in_chunks(
            encoder, self.quantizer, audio, n_quantizers, lengths, chunk
        )

        @torch.no_grad()
        def quantized() -> Tensor:
            z = self.quantizer.from_latents(latents)[0]
            return z if frames is None else Ragged(frames).clear(z)

        return Deferred(quantized), codes, latents.to(self.dtype), commitment, codebook

    def _chunk_frames(self, chunk_length_s: float) -> int:
        if not 0 < chunk_length_s < math.inf:
            raise ValueError(
                f"DacModel: chunk_length_s must be a positive number of seconds, "
                f"got {chunk_length_s}"
            )
        frames: float = chunk_length_s * self.config.sampling_rate / self.config.hop_length
        return max(1, round(frames))

    def _wants_dict(self, return_dict: bool | None) -> bool:
        return bool(self.config.return_dict if return_dict is None else return_dict)


def _present(half: _Half | None, name: str, method: str) -> _Half:
    if half is None:
        other = "decoder" if name == "encoder" else "encoder"
        raise ValueError(
            f"DacModel.{method}: this model has no {name}: it was loaded with part={other!r}"
        )
    return half


def _given(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """The fields of an output as transformers' plain tuple."""
    values = (f.value() if isinstance(f, Deferred) else f for f in fields)
    return tuple(value for value in values if value is not None)


def _check_audio(x: Tensor, dtype: torch.dtype) -> None:
    if x.dim() != 3 or x.shape[1] != 1 or len(x) == 0 or not x.is_floating_point():
        raise InputError(
            "DacModel.encode: input_values must be floats of shape (B >= 1, 1, L), "
            f"got {x.dtype} {tuple(x.shape)}"
        )
    if x.dtype != dtype:
        raise InputError(
            "DacModel.encode: input_values and the weights should be the same type, "
            f"got {x.dtype} and {dtype}"
        )


def _after(stack: nn.Module, lengths: list[int], method: str, unit: str) -> list[int]:
    """The lengths that a stack gives; InputError if no row gives anything."""
    after = [through(stack, length) for length in lengths]
    if max(after) == 0:
        least = next(n for n in itertools.count(1) if through(stack, n))
        raise InputError(
            f"DacModel.{method}: at least {least} {unit} are needed, got {max(lengths)}"
        )
    return after


def _flow(lengths: list[int] | None, time: int) -> Full | Ragged:
    return FULL if lengths is None or min(lengths) == time else Ragged(lengths)


def _tensor(lengths: list[int] | None, like: Tensor) -> Tensor | None:
    return None if lengths is None else torch.tensor(lengths, device=like.device)
