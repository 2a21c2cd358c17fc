"""What the ops of the conv1d family share: activations, valid lengths, the precision of products.

All of them take and give time-major tensors (B, T, C). A torch body transposes around torch's
convolution, which costs nothing: a (B, T, C) tensor that came from torch is a view of (B, C, T).
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace._dispatch import stream_of
from vivace.ops._packed import packed
from vivace.ops.snake import snake

# The order is the native modules' enumeration (csrc/core/conv.h), as is that of the products.
ACTIVATIONS = ("none", "snake", "elu", "leaky_relu")
PRODUCTS = ("float32", "tf32", "bfloat16", "float16")


def activate(x: Tensor, activation: str, alpha: Tensor | None, slope: float) -> Tensor:
    """The activation in front of a convolution, on (B, C, T). Each maps 0 to 0."""
    if activation == "snake":
        assert alpha is not None
        y: Tensor = snake(x, alpha.reshape(-1))
        return y
    if activation == "elu":
        return F.elu(x)
    return F.leaky_relu(x, slope) if activation == "leaky_relu" else x


def clear_past_end(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (B, C, T) with zeros from each row's own length on; None: every row is full."""
    if lengths is None:
        return x
    past = torch.arange(x.shape[-1], device=x.device) >= lengths[:, None]
    return x.masked_fill(past[:, None], 0)


def reflect(x: Tensor, left: int, right: int, lengths: Tensor | None) -> Tensor:
    """x (B, C, T) mirrored at its ends (each row at its own end), zeros after the right mirror."""
    if lengths is None:
        return F.pad(x, (left, right), mode="reflect")
    time = x.shape[-1]
    position = torch.arange(-left, time + right, device=x.device).abs().expand(len(x), -1)
    last = lengths[:, None] - 1
    source = torch.where(position > last, 2 * last - position, position).clamp(0, time - 1)
    mirrored = x.gather(2, source[:, None].expand(-1, x.shape[1], -1))
    return clear_past_end(mirrored, lengths + left + right)


def check_family(
    op: str,
    x: Tensor,
    weight: Tensor,
    channels_in: int,
    channels_out: int,
    bias: Tensor | None,
    alpha: Tensor | None,
    lengths: Tensor | None,
    activation: str,
) -> None:
    """The checks that every op of the family shares."""
    if x.ndim != 3 or weight.ndim != 3 or x.shape[2] != channels_in:
        raise ValueError(
            f"{op}: x must have shape (B, T, {channels_in}) for a weight of shape "
            f"{tuple(weight.shape)}, got {tuple(x.shape)}"
        )
    if x.dtype != weight.dtype or not x.is_floating_point():
        raise TypeError(
            f"{op}: x and weight must share a float dtype, got {x.dtype}, {weight.dtype}"
        )
    if 0 in (*x.shape[1:], *weight.shape):
        raise ValueError(
            f"{op}: x and weight must hold frames and channels, got shapes {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if bias is not None and bias.dtype != x.dtype:
        raise TypeError(f"{op}: bias must have x's dtype {x.dtype}, got {bias.dtype}")
    for name, vector, size in (("bias", bias, channels_out), ("alpha", alpha, channels_in)):
        # (1, C, 1) is how Snake's parameter stands in checkpoints.
        if vector is not None and vector.shape not in ((size,), (1, size, 1)):
            raise ValueError(f"{op}: {name} must have shape ({size},), got {tuple(vector.shape)}")
    if lengths is not None and lengths.shape != (x.shape[0],):
        raise ValueError(
            f"{op}: lengths must have shape ({x.shape[0]},), got {tuple(lengths.shape)}"
        )
    if lengths is not None and lengths.dtype != torch.int64:
        raise TypeError(f"{op}: lengths must be int64, got {lengths.dtype}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"{op}: activation must be one of {ACTIVATIONS}, got {activation!r}")
    if (activation == "snake") != (alpha is not None):
        raise ValueError(f"{op}: alpha belongs to activation='snake', got {activation!r}")


def _setting(backend: str, kind: str) -> str:
    """torch's precision of float32 products. Its public getters raise where a script mixes the two
    interfaces that set it (set_float32_matmul_precision, torch.backends.*.fp32_precision)."""
    found: str = torch._C._get_fp32_precision_getter(backend, kind)
    return found


def products(module: ModuleType, x: Tensor, channels_out: int) -> str:
    """What the factors of products are rounded to for x: torch's own precision settings decide.

    Sums are float32 always. On the CPU a bfloat16 tensor is multiplied in bfloat16 where AMX is,
    and in float32 (exactly) elsewhere; a float32 tensor in float32, or like bfloat16 where
    `torch.set_float32_matmul_precision("medium")` or `torch.backends.mkldnn.conv.fp32_precision =
    "bf16"` allows it; a float16 tensor in float32. Products
    with one channel in or out cost nothing, and are float32 always. On CUDA, float32 means tf32,
    which `supports` refuses where torch forbids it.
    """
    if not module.__name__.endswith("_cpu"):
        short = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
        return short.get(x.dtype, "tf32")
    if x.dtype == torch.float16 or min(x.shape[2], channels_out) == 1:
        return "float32"
    allowed = "bf16" in (_setting("mkldnn", "matmul"), _setting("mkldnn", "conv"))
    if x.dtype == torch.float32 and not allowed:
        return "float32"
    return "bfloat16" if module.active_isa() == "amx" else "float32"


def refuse(backend: str, x: Tensor) -> str | None:
    """Why a backend may not multiply x: the precision that it has, or the size of x."""
    if x.dtype == torch.float64:
        return "float64 is computed by torch"
    if x.shape[1] >= 1 << 30 or x.shape[2] >= 1 << 20:
        return "kernels count frames and channels in 32 bits"
    if backend != "cpu" and x.dtype == torch.float32 and _setting("cuda", "conv") != "tf32":
        return "its float32 products are tf32, which torch.backends.cudnn.allow_tf32 forbids"
    return None


def rows(x: Tensor) -> Tensor:
    """x itself if its frames are contiguous and follow each other, else such a copy."""
    dense = (x.stride(2) == 1 or x.shape[2] == 1) and (x.stride(1) == x.shape[2] or x.shape[1] == 1)
    return x if dense else x.contiguous()


def aligned(x: Tensor) -> Tensor:
    """x itself if its clips start at multiples of 16 bytes, else a copy, which does."""
    starts = (x.data_ptr(), x.stride(0) * x.element_size() if x.shape[0] > 1 else 0)
    return x if starts[0] % 16 == 0 and starts[1] % 16 == 0 else x.clone()


def contiguous(lengths: Tensor | None) -> Tensor | None:
    """Valid lengths as kernels read them."""
    return None if lengths is None else lengths.contiguous()


def float32(vector: Tensor | None) -> Tensor | None:
    """A bias or alpha as (C,) float32; the converted copy is remembered."""
    if vector is None:
        return None
    if vector.dtype == torch.float32 and vector.is_contiguous():
        return vector.view(-1)
    return packed((vector,), ("float32",), lambda: vector.float().reshape(-1).contiguous())


def pack(module: ModuleType, op: str, weights: tuple[Tensor, ...], product: str) -> Tensor:
    """The weights in the order of the op's kernels, as bytes: `<op>_packed_bytes`, `<op>_pack`."""
    kind = PRODUCTS.index(product)

    def make() -> Tensor:
        dense = tuple(w.contiguous() for w in weights)
        shapes = [n for w in dense for n in w.shape]
        size = getattr(module, f"{op}_packed_bytes")(*shapes, kind)
        # 64-byte aligned like every torch allocation: tile and vector loads rely on it.
        out = torch.empty(size, dtype=torch.uint8, device=weights[0].device)
        getattr(module, f"{op}_pack")(out, *dense, kind, stream_of(out))
        return out

    return packed(weights, (module.__name__, op, product), make)
