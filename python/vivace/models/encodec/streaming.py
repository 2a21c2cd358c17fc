"""EnCodec's decoder piece by piece, and batches of clips of unequal length, both exact.

The causal decoder reads nothing of the future, except at its start: there each convolution reads
the reflection of its first samples. So a stream waits for the few frames that all reflections
reach into, and is from then on as far as its input.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vivace.generation.graph import Graphs
from vivace.models.encodec.config import EncodecConfig
from vivace.models.encodec.flow import (
    pad_ends,
    run_conv,
    run_conv_transpose,
    run_lstm,
    start_states,
)
from vivace.models.encodec.layers import EncodecConv1d, EncodecConvTranspose1d, EncodecDecoder
from vivace.models.encodec.quantizer import EncodecResidualVectorQuantizer
from vivace.nn.geometry import InputError, check_lengths


class Stream:
    """A causal stack evaluated piece by piece; a flow (vivace.models.encodec.flow).

    The state is, in the order of calls, the last samples that a convolution still reads, and an
    LSTM's h and c. Pieces hold at least one frame, the first at least `least_frames`.
    """

    def __init__(self) -> None:
        self._sites: list[list[Tensor]] = []
        self._cursor = 0

    @property
    def addresses(self) -> tuple[int, ...]:
        """Where the state is; it stays there."""
        return tuple(x.data_ptr() for site in self._sites for x in site)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state."""
        return sum(x.numel() * x.element_size() for site in self._sites for x in site)

    def run(self, stack: nn.Module, x: Tensor) -> Tensor:
        """``stack(x, flow)`` for the next piece x (B, C, T)."""
        self._cursor = 0
        y: Tensor = stack(x, self)
        return y

    def conv(
        self, module: EncodecConv1d, x: Tensor, activation: str, residual: Tensor | None
    ) -> Tensor:
        left = module.padding_total
        if left > 0:
            past = self._past()
            x = torch.cat((past[0], x), dim=1) if past else pad_ends(x, left, 0, module.pad_mode)
            self._keep(past, [x[:, -left:]])
        return run_conv(module, x, 0, 0, activation, residual)

    def conv_transpose(self, module: EncodecConvTranspose1d, x: Tensor, activation: str) -> Tensor:
        past = self._past()
        # The first block of the raw result has been given, but where the clip starts; the last
        # one waits for the next sample.
        crop = module.conv.stride[0]
        left = crop if past else 0
        if past:
            x = torch.cat((past[0], x), dim=1)
        self._keep(past, [x[:, -1:]])
        return run_conv_transpose(module, x, left, crop, activation)

    def lstm(self, module: nn.LSTM, x: Tensor) -> Tensor:
        past = self._past()
        y, states = run_lstm(module, x, past or start_states(module, x))
        self._keep(past, states)
        return y

    def _past(self) -> list[Tensor]:
        """The state of the next call site, [] at the start of the clip."""
        if self._cursor == len(self._sites):
            self._sites.append([])
        self._cursor += 1
        return self._sites[self._cursor - 1]

    def _keep(self, site: list[Tensor], state: Sequence[Tensor]) -> None:
        # In place: a captured step has fixed addresses.
        if not site:
            site.extend(x.clone() for x in state)
        else:
            for kept, x in zip(site, state, strict=True):
                kept.copy_(x)


class StreamingDecoder:
    """Codes in, audio out: every frame's samples at once, but for the wait at the start.

    Made by `EncodecModel.streaming_decoder`. All pushes and the flush, concatenated, equal
    `EncodecModel.decode` of everything pushed. No gradients.
    """

    def __init__(
        self,
        config: EncodecConfig,
        decoder: EncodecDecoder,
        quantizer: EncodecResidualVectorQuantizer,
        batch_size: int = 1,
    ) -> None:
        check_streamable(config)
        if batch_size < 1:
            raise ValueError(f"StreamingDecoder: batch_size must be >= 1, got {batch_size}")
        self.batch_size = batch_size
        self._decoder, self._quantizer = decoder, quantizer
        self._graphs = Graphs(decoder, limit=4)
        self._shape = config.audio_channels, config.hidden_size
        self.first_frames = least_frames(decoder)
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next push begins another stream."""
        self._stream, self._started, self._closed = Stream(), False, False
        self._waiting = self._empty(self._shape[1])

    @property
    def state_bytes(self) -> int:
        """Bytes of state that the stream holds now."""
        waiting = self._waiting
        return self._stream.state_bytes + waiting.numel() * waiting.element_size()

    @torch.no_grad()
    def push(self, codes: Tensor) -> Tensor:
        """Codes (B, N, T) of an integer type, T >= 0 frames -> the audio (B, audio_channels, L),
        L >= 0 samples, that is final now: none before `first_frames` frames have been pushed, all
        of it from then on. Raises RuntimeError after a flush.
        """
        self._check_open()
        if codes.dim() != 3 or codes.shape[0] != self.batch_size:
            raise InputError(
                f"StreamingDecoder.push: codes must have shape ({self.batch_size}, N, T), "
                f"got {tuple(codes.shape)}"
            )
        if codes.shape[2] == 0:
            return self._empty(self._shape[0])
        latents = self._quantizer.decode(codes.transpose(0, 1))
        if self._started:
            return self._step(latents)
        self._waiting = torch.cat((self._waiting, latents), dim=2)
        if self._waiting.shape[2] < self.first_frames:
            return self._empty(self._shape[0])
        latents, self._waiting = self._waiting, self._empty(self._shape[1])
        self._started = True
        return self._stream.run(self._decoder, latents)

    @torch.no_grad()
    def flush(self) -> Tensor:
        """The rest of the audio: what still waits if the stream was shorter than `first_frames`.

        The stream is closed then, until `reset`.
        """
        self._check_open()
        self._closed = True
        latents, self._waiting = self._waiting, self._empty(self._shape[1])
        if latents.shape[2] == 0:
            return self._empty(self._shape[0])
        audio: Tensor = self._decoder(latents)
        return audio

    def _step(self, latents: Tensor) -> Tensor:
        y: Tensor = self._graphs.call(
            self._stream.addresses, lambda z: self._stream.run(self._decoder, z), latents
        )
        return y

    def _empty(self, channels: int) -> Tensor:
        weight = next(self._decoder.parameters())
        return weight.new_empty((self.batch_size, channels, 0)).detach()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                "StreamingDecoder: the stream was flushed; call reset() to begin another"
            )


def check_streamable(config: EncodecConfig) -> None:
    """Raises ValueError for a configuration whose decoder needs all of a clip, or its future."""
    wanted = (
        ("use_causal_conv", config.use_causal_conv, "True"),
        ("norm_type", config.norm_type == "weight_norm", "'weight_norm'"),
        ("trim_right_ratio", config.trim_right_ratio == 1.0, "1.0"),
        ("pad_mode", config.pad_mode != "circular", "'reflect', 'constant' or 'replicate'"),
        ("chunk_length_s", config.chunk_length_s is None, "None"),
    )
    for name, fits, expected in wanted:
        if not fits:
            raise ValueError(
                f"StreamingDecoder: only a causal decoder streams: {name} must be {expected}, "
                f"got {getattr(config, name)!r}"
            )


def least_frames(decoder: EncodecDecoder) -> int:
    """The fewest frames for which every reflection fits into the clip that it reflects."""
    least, rate = 1, 1
    for module in decoder.modules():
        if isinstance(module, EncodecConvTranspose1d):
            rate *= module.conv.stride[0]
        elif isinstance(module, EncodecConv1d) and module.pad_mode == "reflect":
            least = max(least, max(module.padding(0)) // rate + 1)
    return least


def decode_rows(
    config: EncodecConfig,
    decoder: EncodecDecoder,
    quantizer: EncodecResidualVectorQuantizer,
    codes: Tensor,
    lengths: Sequence[int] | Tensor,
) -> list[Tensor]:
    """The audio (audio_channels, L) of each row of codes (B, N, T), of ``lengths`` (B) frames.

    A causal decoder gives a batch the samples of its rows alone: what stands behind a row's end
    reaches only what is cut off. Where that does not hold (another configuration, or rows shorter
    than a reflection) the rows of one length are a batch of their own.
    """
    if codes.dim() != 3:
        raise InputError(
            f"EncodecModel.decode_ragged: codes must have shape (B, N, T), got {tuple(codes.shape)}"
        )
    limits = check_lengths(lengths, codes.shape[0], codes.shape[2], "EncodecModel.decode_ragged")
    alone = least_frames(decoder)
    causal = config.use_causal_conv and config.norm_type == "weight_norm"
    together = causal and config.trim_right_ratio == 1.0 and config.pad_mode != "circular"
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(limits):
        groups.setdefault(max(limits) if together and length >= alone else length, []).append(row)
    hop = config.hop_length
    empty = next(decoder.parameters()).new_empty((config.audio_channels, 0))
    audio = [empty] * len(limits)
    for longest, rows in groups.items():
        if longest == 0:
            continue
        part = codes[rows, :, :longest]
        ends = torch.tensor([limits[row] for row in rows], device=codes.device)
        past = torch.arange(longest, device=codes.device) >= ends[:, None]
        # What stands there need not be codes at all.
        part = part.masked_fill(past[:, None], 0)
        samples = decoder(quantizer.decode(part.transpose(0, 1)))
        for row, y in zip(rows, samples, strict=True):
            audio[row] = y[:, : limits[row] * hop]
    return audio
