"""DAC piece by piece: streams, and whole clips in chunks, both equal to the full pass."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from vivace.generation.graph import Graphs
from vivace.models.dac.layers import DacDecoder, DacEncoder
from vivace.models.dac.quantizer import DacResidualVectorQuantizer
from vivace.nn.geometry import InputError, convolutions, ready_length, through
from vivace.nn.stream import Stream

# Where latencies are read off: far behind the start, where the left padding still counts.
_STEADY = 1 << 20


class _Streaming:
    """A stream's life: pushes, one flush, reset."""

    def __init__(
        self, stack: nn.Module, quantizer: DacResidualVectorQuantizer, batch_size: int
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"{type(self).__name__}: batch_size must be >= 1, got {batch_size}")
        self.batch_size = batch_size
        self._stack = stack
        self._graphs = Graphs(nn.ModuleList([stack, quantizer]), limit=4)
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next push begins another stream."""
        self._stream, self._closed = Stream(), False

    @property
    def state_bytes(self) -> int:
        """Bytes of state that the stream holds now."""
        return self._stream.state_bytes

    def _run(self, x: Tensor, *, flush: bool = False) -> Tensor:
        if x.shape[0] != self.batch_size:
            raise InputError(
                f"{type(self).__name__}: expected a batch of {self.batch_size}, got {x.shape[0]}"
            )
        y = self._stream.run(self._stack, x, flush=flush)
        self._closed = flush
        return y

    def _step(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``function(x)``, as a captured graph once the stream runs evenly."""
        if not self._stream.steady:
            return function(x)
        y: Tensor = self._graphs.call(self._stream.addresses, function, x)
        return y

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                f"{type(self).__name__}: the stream was flushed; call reset() to begin another"
            )


class StreamingDecoder(_Streaming):
    """Codes or latents in, audio out, as early as its right context allows.

    Made by `DacModel.streaming_decoder`. All pushes and the flush, concatenated, equal
    `DacModel.decode` of everything pushed. No gradients.
    """

    def __init__(
        self, decoder: DacDecoder, quantizer: DacResidualVectorQuantizer, batch_size: int = 1
    ) -> None:
        super().__init__(decoder, quantizer, batch_size)
        self._decoder, self._quantizer = decoder, quantizer

    @property
    def latency_samples(self) -> int:
        """Samples by which the audio given lags behind the frames pushed."""
        return _STEADY * _hop(self._decoder) - through(self._decoder, _STEADY, ready_length)

    @torch.no_grad()
    def push(self, frames: Tensor) -> Tensor:
        """Codes (B, N, T) of an integer type or latents (B, hidden_size, T), T >= 0 frames ->
        the audio (B, L), L >= 0, that is final now. Raises RuntimeError after a flush.
        """
        self._check_open()
        return self._step(self._decode, frames)

    def _decode(self, frames: Tensor) -> Tensor:
        where = "StreamingDecoder.push"
        return self._run(_latents_of(self._decoder, self._quantizer, frames, where)).squeeze(1)

    @torch.no_grad()
    def flush(self) -> Tensor:
        """The rest of the audio (B, L); the stream is closed then, until `reset`."""
        self._check_open()
        first = self._decoder.conv1
        nothing = first.weight.new_empty((self.batch_size, first.in_channels, 0))
        return self._run(nothing, flush=True).squeeze(1)


class StreamingEncoder(_Streaming):
    """Audio in, codes out, as early as the right context of their frames allows.

    Made by `DacModel.streaming_encoder`. All pushes and the flush, concatenated, equal the codes
    of `DacModel.encode` in eval mode for everything pushed. No gradients.
    """

    def __init__(
        self,
        encoder: DacEncoder,
        quantizer: DacResidualVectorQuantizer,
        batch_size: int = 1,
        n_quantizers: int | None = None,
    ) -> None:
        super().__init__(encoder, quantizer, batch_size)
        self._encoder, self._quantizer = encoder, quantizer
        self._books = quantizer.books(n_quantizers)

    @property
    def latency_samples(self) -> int:
        """Samples after the end of a frame that must be pushed before its codes are given."""
        hop = _hop(self._encoder)
        frames = _STEADY // hop
        needed = bisect_left(
            range(2 * _STEADY), frames, key=lambda n: through(self._encoder, n, ready_length)
        )
        return needed - frames * hop

    @torch.no_grad()
    def push(self, audio: Tensor) -> Tensor:
        """Audio (B, 1, L) or (B, L), L >= 0 samples -> codes (B, N, T) int64, T >= 0 frames.

        Raises RuntimeError after a flush.
        """
        self._check_open()
        x = audio[:, None] if audio.dim() == 2 else audio
        dtype = self._encoder.conv1.weight.dtype
        if x.dim() != 3 or x.shape[1] != 1 or x.dtype != dtype:
            raise InputError(
                f"StreamingEncoder.push: audio must be {dtype} of shape (B, 1, L) or (B, L), "
                f"got {audio.dtype} {tuple(audio.shape)}"
            )
        return self._step(lambda x: self._codes(self._run(x)), x)

    @torch.no_grad()
    def flush(self) -> Tensor:
        """The codes (B, N, T) of the remaining frames; the stream is closed then, until `reset`."""
        self._check_open()
        nothing = self._encoder.conv1.weight.new_empty((self.batch_size, 1, 0))
        return self._codes(self._run(nothing, flush=True))

    def _codes(self, hidden: Tensor) -> Tensor:
        if hidden.shape[-1] == 0:
            shape = (self.batch_size, len(self._books), 0)
            return torch.empty(shape, dtype=torch.int64, device=hidden.device)
        return self._quantizer.quantize(hidden, self._books)[1]


def _hop(stack: nn.Module) -> int:
    return math.prod(module.stride[0] for module in convolutions(stack))


def check_latents(decoder: DacDecoder, latents: Tensor, where: str) -> None:
    """Raises InputError unless latents (B, hidden_size, T) are floats of the weights' type."""
    width, dtype = decoder.conv1.in_channels, decoder.conv1.weight.dtype
    if not latents.is_floating_point():
        raise InputError(
            f"{where}: latents must be floats, got {latents.dtype} "
            "(codes are passed as audio_codes=)"
        )
    if latents.dim() != 3 or latents.shape[1] != width or len(latents) == 0:
        raise InputError(
            f"{where}: latents must have shape (B >= 1, {width}, T), got {tuple(latents.shape)}"
        )
    if latents.dtype != dtype:
        raise InputError(
            f"{where}: latents and the weights should be the same type, "
            f"got {latents.dtype} and {dtype}"
        )


def _latents_of(
    decoder: DacDecoder, quantizer: DacResidualVectorQuantizer, frames: Tensor, where: str
) -> Tensor:
    """Codes (B, N, T), which are integers, or latents (B, D, T) -> latents (B, D, T)."""
    if frames.is_floating_point():
        check_latents(decoder, frames, where)
        return frames
    if frames.dim() == 3 and frames.shape[2] == 0:
        return decoder.conv1.weight.new_empty((len(frames), decoder.conv1.in_channels, 0))
    return quantizer.dequantize(frames)


@torch.no_grad()
def encode_in_chunks(
    encoder: DacEncoder,
    quantizer: DacResidualVectorQuantizer,
    audio: Tensor,
    n_quantizers: int | None,
    lengths: Sequence[int] | None,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Audio (B, 1, L), ``chunk`` samples at a time -> codes (B, N, T), projected latents in the
    dtype of their arithmetic, commitment_loss (B,), codebook_loss (B,); on the audio's device.
    """
    weight = encoder.conv1.weight
    wide = torch.promote_types(weight.dtype, torch.float32)
    books = quantizer.books(n_quantizers)
    batch, device, frames = len(audio), audio.device, through(encoder, audio.shape[-1])
    width = sum(book.codebook_dim for book in books)
    codes = torch.zeros((batch, len(books), frames), dtype=torch.int64, device=device)
    latents = torch.zeros((batch, width, frames), dtype=wide, device=device)
    losses = torch.zeros((2, batch), dtype=wide, device=device)
    for row, length in _rows(lengths, audio.shape[-1]):
        total, done, stream = through(encoder, length), 0, Stream()
        for part, last in _pieces(audio[row, :, : length if total else 0], chunk):
            hidden = stream.run(encoder, part.to(weight.device), flush=last)
            if hidden.shape[-1] == 0:
                continue
            _, ids, projected, *loss = quantizer.quantize(hidden, books)
            span = slice(done, done + ids.shape[-1])
            codes[row, :, span], latents[row, :, span] = ids, projected
            losses[:, row] += torch.stack(loss).to(device) * (ids.shape[-1] / total)
            done = span.stop
    return codes, latents, losses[0], losses[1]


@torch.no_grad()
def decode_in_chunks(
    decoder: DacDecoder,
    quantizer: DacResidualVectorQuantizer,
    frames: Tensor,
    lengths: Sequence[int] | None,
    chunk: int,
) -> Tensor:
    """Codes (B, N, T) or latents (B, D, T), ``chunk`` frames at a time -> audio (B, L) on their
    device.
    """
    weight = decoder.conv1.weight
    samples = through(decoder, frames.shape[-1])
    audio = torch.zeros((len(frames), samples), dtype=weight.dtype, device=frames.device)
    for row, length in _rows(lengths, frames.shape[-1]):
        total, done, stream = through(decoder, length), 0, Stream()
        for part, last in _pieces(frames[row, :, : length if total else 0], chunk):
            latents = _latents_of(decoder, quantizer, part.to(weight.device), "DacModel.decode")
            y = stream.run(decoder, latents, flush=last)
            audio[row, done : done + y.shape[-1]] = y[:, 0]
            done += y.shape[-1]
    return audio


def _rows(lengths: Sequence[int] | None, time: int) -> list[tuple[slice, int]]:
    """What is one stream: the whole batch, or each row where lengths differ."""
    if lengths is None:
        return [(slice(None), time)]
    return [(slice(row, row + 1), length) for row, length in enumerate(lengths)]


def _pieces(x: Tensor, size: int) -> Iterator[tuple[Tensor, bool]]:
    """(piece, is it the last) along the last axis."""
    for start in range(0, x.shape[-1], size):
        yield x[..., start : start + size], start + size >= x.shape[-1]
