"""The next token from logits: the processors of Bark's decoding, then one draw per row.

As transformers orders them: the end token's priority, temperature, top-k, top-p, min-p, softmax. A
draw is the race argmax(p / e) with e exponential noise, which is how torch.multinomial draws one
sample (the exponential clocks of Efraimidis & Spirakis 2006): noise drawn by torch's generator in
torch's shape gives torch's tokens, whoever runs the race.
"""

import math
from types import ModuleType

import torch
from torch import Tensor

from vivace._dispatch import Op, stream_of


@Op
def sample(
    logits: Tensor,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    eos: int = -1,
    min_eos_p: float = 1.0,
) -> Tensor:
    """logits (M, V), noise (M, V) float32 > 0 or None -> ids (M,) int64 in [0, V).

    Without noise: the largest logit, the first one of equals. With noise: a draw from
    softmax(logits / temperature), after keeping the top_k largest (0: all; ties with the last one
    stay), then the smallest set whose probability reaches top_p (1: all), then those of at least
    min_p times the largest probability (0: all). Where the probability of token `eos` (-1: none)
    exceeds min_eos_p before temperature, the token is eos.
    Computed in float32, float64 for float64 logits. Raises ValueError or TypeError.
    """
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if eos >= 0:
        ended = scores.softmax(-1)[:, eos] > min_eos_p
    if noise is None:
        ids = scores.argmax(-1)
    else:
        scores = scores / temperature
        if 0 < top_k < scores.shape[1]:
            kth = scores.topk(top_k).values[:, -1:]
            scores = scores.masked_fill(scores < kth, -math.inf)
        if top_p < 1.0:
            ascending, order = scores.sort(stable=True)
            dropped = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
            dropped[:, -1] = False
            scores = scores.masked_fill(dropped.scatter(1, order, dropped), -math.inf)
        p = scores.softmax(-1)
        if min_p > 0.0:
            p = p.masked_fill(p < min_p * p.amax(-1, keepdim=True), 0.0)
        ids = (p / noise).argmax(-1)
    return ids.masked_fill(ended, eos) if eos >= 0 else ids


@sample.check
def _(
    logits: Tensor,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    eos: int = -1,
    min_eos_p: float = 1.0,
) -> None:
    if logits.ndim != 2 or logits.shape[1] < 1:
        raise ValueError(f"sample: logits must be (M, V) with V >= 1, got {tuple(logits.shape)}")
    if not logits.dtype.is_floating_point:
        raise TypeError(f"sample: logits must be floating point, got {logits.dtype}")
    if noise is not None and (noise.shape != logits.shape or not noise.dtype.is_floating_point):
        raise ValueError(
            f"sample: noise must be floating point of shape {tuple(logits.shape)}, got "
            f"{noise.dtype} of {tuple(noise.shape)}"
        )
    if not temperature > 0.0:
        raise ValueError(f"sample: temperature must be > 0, got {temperature}")
    if top_k < 0 or not 0.0 < top_p <= 1.0 or not 0.0 <= min_p <= 1.0:
        raise ValueError(
            "sample: top_k must be >= 0, top_p in (0, 1] and min_p in [0, 1], got "
            f"{top_k}, {top_p} and {min_p}"
        )
    if not -1 <= eos < logits.shape[1]:
        raise ValueError(f"sample: eos must be -1 or an id below {logits.shape[1]}, got {eos}")


@sample.supports
def _(
    backend: str,
    logits: Tensor,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    eos: int = -1,
    min_eos_p: float = 1.0,
) -> str | None:
    if logits.dtype != torch.float32 or (noise is not None and noise.dtype != torch.float32):
        return "logits and noise must be float32"
    return None


@sample.native
def _(
    module: ModuleType,
    logits: Tensor,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    eos: int = -1,
    min_eos_p: float = 1.0,
) -> Tensor:
    ids = torch.empty(logits.shape[0], dtype=torch.int64, device=logits.device)
    module.sample(
        ids,
        _rows(logits),
        None if noise is None else _rows(noise),
        temperature,
        top_k,
        top_p,
        min_p,
        eos,
        min_eos_p,
        stream_of(logits),
    )
    return ids


def _rows(x: Tensor) -> Tensor:
    """Rows may lie apart (the noise of a wider vocabulary), the values of one row may not."""
    return x if x.stride(1) == 1 else x.contiguous()
