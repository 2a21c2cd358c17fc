"""Chunks of long clips, as the 48 kHz EnCodec codes them: cut, grouped, and added up again."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Rows of chunks that go through the network at once: one LSTM runs over all of them.
ROWS_AT_ONCE = 32


def chunk_spans(time: int, length: int, stride: int, batch: int) -> list[list[slice]]:
    """Where the chunks of ``time`` samples are, grouped: those of one group have one length."""
    groups: list[list[slice]] = []
    for start in range(0, time, stride):
        span = slice(start, min(start + length, time))
        last = groups[-1] if groups else []
        same = bool(last) and last[0].stop - last[0].start == span.stop - span.start
        if same and (len(last) + 1) * batch <= ROWS_AT_ONCE:
            last.append(span)
        else:
            groups.append([span])
    return groups


def grouped(frames: Sequence[Tensor]) -> Iterator[Tensor]:
    """Codes (B, N, T) of consecutive chunks, stacked (F, B, N, T) as far as they have one shape."""
    start = 0
    for end in range(1, len(frames) + 1):
        rows = (end - start + 1) * frames[start].shape[0]
        if end < len(frames) and frames[end].shape == frames[start].shape and rows <= ROWS_AT_ONCE:
            continue
        yield torch.stack(list(frames[start:end]))
        start = end


def overlap_add(frames: Sequence[Tensor], stride: int) -> Tensor:
    """Chunks (..., L) that start ``stride`` samples apart -> their weighted mean, as one clip.

    A sample's weight falls linearly from the middle of its chunk to the ends, so that neighbours
    fade into each other. Raises ValueError if there are gaps between the chunks.
    """
    length = frames[0].shape[-1]
    if len(frames) > 1 and length < stride:
        raise ValueError(
            f"EncodecModel.decode: chunks of {length} samples leave gaps at a stride of {stride}: "
            "`sum_weight` minimum element must be bigger than zero"
        )
    total = stride * (len(frames) - 1) + frames[-1].shape[-1]
    wide = torch.promote_types(frames[0].dtype, torch.float32)
    position = torch.linspace(0, 1, length + 2, device=frames[0].device, dtype=wide)[1:-1]
    weight = 0.5 - (position - 0.5).abs()
    weights = torch.zeros(total, device=weight.device, dtype=wide)
    audio = torch.zeros((*frames[0].shape[:-1], total), device=weight.device, dtype=wide)
    for index, frame in enumerate(frames):
        part = weight[: frame.shape[-1]]
        span = slice(index * stride, index * stride + frame.shape[-1])
        audio[..., span] += part * frame
        weights[span] += part
    return (audio / weights).to(frames[0].dtype)
