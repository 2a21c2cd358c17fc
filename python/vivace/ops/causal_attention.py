"""Causal attention of new tokens over a key-value cache of fixed size (Vaswani et al. 2017).

softmax(q·kᵀ / √D) v, token t of the new ones seeing the cache and the new tokens up to itself. The
cache is preallocated, so its addresses never change: a step can be captured as a graph.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace._dispatch import Op, stream_of

# Beyond these a prefill is a matrix product, which torch's attention does at the hardware's speed.
MOST_NEW_TOKENS = 8
MOST_HEAD_DIM = 128


@Op.mutating("keys", "values")
def causal_attention(
    qkv: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, longest: int
) -> Tensor:
    """qkv (B, T, 3·H·D), keys and values (B, H, S, D), lengths (B,) int64 -> (B, T, H·D).

    qkv holds the queries, keys and values of T new tokens, in this order. Row b of the cache holds
    lengths[b] tokens; the new ones are written behind them, so lengths[b] + T <= S. `longest` is a
    bound of lengths that is known without looking at them: nothing beyond longest + T is read. No
    kernel's result depends on it, so a captured graph, which freezes it, is best given S - T.
    Raises ValueError or TypeError for other shapes and dtypes; lengths are not looked at.
    """
    batch, time, _ = qkv.shape
    heads, _, dim = keys.shape[1:]
    q, k, v = qkv.view(batch, time, 3, heads, dim).permute(2, 0, 3, 1, 4)
    if longest == 0:
        keys[:, :, :time], values[:, :, :time] = k, v
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        # The position of each new token in its row.
        at = lengths[:, None] + torch.arange(time, device=qkv.device)
        rows = torch.arange(batch, device=qkv.device)[:, None]
        keys[rows, :, at], values[rows, :, at] = k.transpose(1, 2), v.transpose(1, 2)
        reach = longest + time
        seen = torch.arange(reach, device=qkv.device) <= at[:, None, :, None]
        y = F.scaled_dot_product_attention(
            q, keys[:, :, :reach], values[:, :, :reach], attn_mask=seen
        )
    return y.transpose(1, 2).reshape(batch, time, heads * dim)


@causal_attention.check
def _(qkv: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, longest: int) -> None:
    if qkv.ndim != 3 or keys.ndim != 4 or keys.shape != values.shape:
        raise ValueError(
            "causal_attention: qkv must be (B, T, 3·H·D), keys and values (B, H, S, D), got "
            f"{tuple(qkv.shape)}, {tuple(keys.shape)} and {tuple(values.shape)}"
        )
    batch, time, width = qkv.shape
    heads, capacity, dim = keys.shape[1:]
    if width != 3 * heads * dim or keys.shape[0] != batch or lengths.shape != (batch,):
        raise ValueError(
            f"causal_attention: for qkv {tuple(qkv.shape)} keys must be ({batch}, H, S, D) with "
            f"3·H·D = {width}, and lengths ({batch},), got {tuple(keys.shape)} and "
            f"{tuple(lengths.shape)}"
        )
    if not qkv.dtype == keys.dtype == values.dtype or lengths.dtype != torch.int64:
        raise TypeError(
            "causal_attention: qkv, keys and values must share a dtype and lengths be int64, got "
            f"{qkv.dtype}, {keys.dtype}, {values.dtype} and {lengths.dtype}"
        )
    if not 0 <= longest <= capacity - time:
        raise ValueError(
            f"causal_attention: {time} new tokens after {longest} do not fit a cache of {capacity}"
        )


@causal_attention.supports
def _(
    backend: str, qkv: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, longest: int
) -> str | None:
    if qkv.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"{qkv.dtype} is computed by torch"
    if qkv.shape[1] > MOST_NEW_TOKENS:
        return f"more than {MOST_NEW_TOKENS} new tokens are torch's attention"
    if keys.shape[3] > MOST_HEAD_DIM or keys.shape[3] % 8:
        return f"heads wider than {MOST_HEAD_DIM} or no multiple of 8 are computed by torch"
    if keys.stride() != values.stride() or keys.stride()[2:] != (keys.shape[3], 1):
        return "a cache whose tokens do not follow each other is read by torch"
    return None


@causal_attention.native
def _(
    module: ModuleType,
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    longest: int,
) -> Tensor:
    batch, time, width = qkv.shape
    y = torch.empty((batch, time, width // 3), dtype=qkv.dtype, device=qkv.device)
    module.causal_attention(
        y, qkv.contiguous(), keys, values, lengths.contiguous(), longest, stream_of(qkv)
    )
    return y
