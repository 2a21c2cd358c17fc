"""One token through a GPT-2 block stack and its head, as one native call (Radford et al. 2019).

Per layer: x += W_o attention(LN(x) W_qkv); x += W_2 gelu(W_1 LN(x)), with the exact (erf) GELU.
Every weight is read once per token, so this is bound by memory: packed weights are streamed in the
order of the kernel's loops.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace._dispatch import Op, stream_of
from vivace.ops._packed import packed
from vivace.ops.causal_attention import MOST_HEAD_DIM, causal_attention

# What weights are stored as, in the order of the kernels' enumeration.
STORED = ("float32", "bfloat16", "float16", "int8")
PER_LAYER = 12
MOST_ROWS = 8
EPS = 1e-5
# Stands in a list of weights for a bias that is not there.
ABSENT = torch.empty(0)


class DecodeWeights(list[Tensor]):
    """The weights of a step for the length of one generation: packed at its first step and not
    looked at again, so that a step does not compare hundreds of tensors."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__(weights)
        self.stored: dict[tuple[str, str], list[Tensor]] = {}


@Op.mutating("keys", "values")
def gpt_decode_step(
    x: Tensor,
    weights: list[Tensor],
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    longest: int,
    first: int,
    rows: int,
    int8: bool = False,
) -> Tensor:
    """x (B, C), keys and values (L, B, H, S, D), lengths (B,) int64 -> logits (B, rows) float32.

    x: the embedding of each row's token plus that of its position. weights: 12 per layer, weight
    and bias of norm1 (C,), qkv (3C, C), out (C, C), norm2 (C,), up (F, C), down (C, F); then weight
    and bias of the last norm (C,) and the head (V, C), of which rows first.. are wanted. `ABSENT`
    stands for a bias that is not there. The cache is `causal_attention`'s, one per layer: the step
    writes the token's keys and values behind the lengths[b] <= longest < S tokens of row b, and
    leaves `lengths` as it is. A captured graph, in which `longest` is frozen, takes S − 1.
    int8: the matrices of the layers and the head hold multiples of (the row's largest magnitude) /
    127, as `vivace.nn.quantize` makes them, so that a kernel may store them in 8 bits.
    """
    width = x.shape[1]
    for layer in range(keys.shape[0]):
        norm1, norm1_bias, qkv, qkv_bias, out, out_bias, *mlp = weights[
            PER_LAYER * layer : PER_LAYER * (layer + 1)
        ]
        norm2, norm2_bias, up, up_bias, down, down_bias = mlp
        x_norm = F.layer_norm(x, (width,), norm1, _given(norm1_bias), EPS)
        new = F.linear(x_norm, qkv, _given(qkv_bias))
        seen = causal_attention.reference(
            new[:, None], keys[layer], values[layer], lengths, longest
        )
        x = x + F.linear(seen[:, 0], out, _given(out_bias))
        x_norm = F.layer_norm(x, (width,), norm2, _given(norm2_bias), EPS)
        inner = F.gelu(F.linear(x_norm, up, _given(up_bias)))
        x = x + F.linear(inner, down, _given(down_bias))
    norm, norm_bias, head = weights[-3:]
    x = F.layer_norm(x, (width,), norm, _given(norm_bias), EPS)
    logits = F.linear(x, head[first : first + rows])
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _given(bias: Tensor) -> Tensor | None:
    return None if bias.numel() == 0 else bias


@gpt_decode_step.check
def _(
    x: Tensor,
    weights: list[Tensor],
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    longest: int,
    first: int,
    rows: int,
    int8: bool = False,
) -> None:
    if x.ndim != 2 or keys.ndim != 5 or keys.shape != values.shape:
        raise ValueError(
            "gpt_decode_step: x must be (B, C), keys and values (L, B, H, S, D), got "
            f"{tuple(x.shape)}, {tuple(keys.shape)} and {tuple(values.shape)}"
        )
    batch, width = x.shape
    layers, cached, heads, capacity, dim = keys.shape
    if heads * dim != width or cached != batch or lengths.shape != (batch,):
        raise ValueError(
            f"gpt_decode_step: for x {tuple(x.shape)} keys must be (L, {batch}, H, S, D) with "
            f"H·D = {width}, and lengths ({batch},), got {tuple(keys.shape)} and "
            f"{tuple(lengths.shape)}"
        )
    if len(weights) != PER_LAYER * layers + 3:
        raise ValueError(
            f"gpt_decode_step: {layers} layers and a head have {PER_LAYER * layers + 3} weights, "
            f"got {len(weights)}"
        )
    if not x.dtype == keys.dtype == values.dtype or lengths.dtype != torch.int64:
        raise TypeError(
            "gpt_decode_step: x, keys and values must share a dtype and lengths be int64, got "
            f"{x.dtype}, {keys.dtype}, {values.dtype} and {lengths.dtype}"
        )
    if not 0 <= longest < capacity:
        raise ValueError(
            f"gpt_decode_step: a token after {longest} does not fit a cache of {capacity}"
        )
    if rows < 1 or first < 0 or first + rows > weights[-1].shape[0]:
        raise ValueError(
            f"gpt_decode_step: the head has {weights[-1].shape[0]} rows, got first {first} and "
            f"rows {rows}"
        )


@gpt_decode_step.supports
def _(
    backend: str,
    x: Tensor,
    weights: list[Tensor],
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    longest: int,
    first: int,
    rows: int,
    int8: bool = False,
) -> str | None:
    width, dim = x.shape[1], keys.shape[4]
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"{x.dtype} is computed by torch"
    if weights[-1].dtype != x.dtype:
        return "weights of another dtype than x are computed by torch"
    if not 1 <= x.shape[0] <= MOST_ROWS:
        return f"more than {MOST_ROWS} rows are a matrix product, which is torch's"
    if dim > MOST_HEAD_DIM or dim % 8 or width % 16:
        return f"widths that are no multiple of 16, or heads over {MOST_HEAD_DIM}, are torch's"
    if not keys.is_contiguous() or not values.is_contiguous():
        return "a cache that is not contiguous is read by torch"
    return None


@gpt_decode_step.native
def _(
    module: ModuleType,
    x: Tensor,
    weights: list[Tensor],
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    longest: int,
    first: int,
    rows: int,
    int8: bool = False,
) -> Tensor:
    stored = "int8" if int8 else str(x.dtype).removeprefix("torch.")
    batch, width = x.shape
    inner = weights[8].shape[0] if keys.shape[0] else width
    logits = torch.empty((batch, rows), dtype=torch.float32, device=x.device)
    room = module.gpt_decode_step_workspace_bytes(batch, width, inner, keys.shape[2])
    module.gpt_decode_step(
        logits,
        x.contiguous(),
        _as_stored(module, weights, width, inner, stored),
        keys,
        values,
        lengths.contiguous(),
        longest,
        first,
        STORED.index(stored),
        torch.empty(room, dtype=torch.uint8, device=x.device),
        stream_of(x),
    )
    return logits


def _as_stored(
    module: ModuleType, weights: list[Tensor], width: int, inner: int, stored: str
) -> list[Tensor]:
    """What the module's kernel reads: the weights themselves, or one tensor of packed ones."""
    kept = weights.stored if isinstance(weights, DecodeWeights) else {}
    key = (module.__name__, stored)
    if key not in kept:
        kept[key] = _pack(module, list(weights), width, inner, stored)
    return kept[key]


def _pack(
    module: ModuleType, weights: list[Tensor], width: int, inner: int, stored: str
) -> list[Tensor]:
    layers, vocabulary = len(weights) // PER_LAYER, weights[-1].shape[0]
    index = STORED.index(stored)
    size = module.gpt_decode_step_packed_bytes(layers, width, inner, vocabulary, index)
    if size == 0:
        return [w.detach().contiguous() for w in weights]

    def make() -> Tensor:
        out = torch.empty(size, dtype=torch.uint8, device=weights[-1].device)
        dense = [w.detach().contiguous() for w in weights]
        module.gpt_decode_step_pack(out, dense, inner, index, stream_of(weights[-1]))
        return out

    # The head is a parameter of its own in every model: the entry lives as long as it does.
    ordered = (weights[-1], *weights[:-1])
    return [packed(ordered, ("gpt_decode_step", module.__name__, stored), make)]
