"""Residual vector quantisation, encoding: all codebooks in one call (arXiv:2306.06546, 2107.03312).

For each codebook i, on what the codebooks before it left of z: project to d dimensions, take the
nearest row of the normalised codebook, project back, subtract. The rounding of every step is that
of transformers' DacResidualVectorQuantizer: the straight-through p + (q − p), its distance
−(|e|² − 2e·c) + |c|², the lowest index on ties.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace._dispatch import Op, stream_of

# Entries of the (rows, K) table of scores held at once: 256 MiB in float32. The table of minutes of
# audio is not split, so that its products are those of transformers bit for bit.
_TABLE_ENTRIES = 1 << 26


@Op
def rvq_encode(
    z: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    codebooks: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """z (B, T, D) -> codes (B, T, N) int64, latents (B, T, N·d), quantized (B, T, D).

    in_weight (N, d, D), in_bias (N, d), out_weight (N, D, d), out_bias (N, D), codebooks (N, K, d),
    all of z's dtype, which is float32 or float64: in half precision a single stage would choose
    another code for 3 to 6 % of the frames. Raises ValueError and TypeError for what does not fit.
    """
    residual = z.transpose(1, 2)
    quantized = torch.zeros_like(residual)
    all_codes, all_latents = [], []
    for i in range(len(codebooks)):
        latents = F.conv1d(residual, in_weight[i, :, :, None], in_bias[i])
        codes = nearest(latents, codebooks[i])
        rows = codebooks[i][codes].transpose(1, 2)
        rows = latents + (rows - latents)
        step = F.conv1d(rows, out_weight[i, :, :, None], out_bias[i])
        residual, quantized = residual - step, quantized + step
        all_codes.append(codes)
        all_latents.append(latents.transpose(1, 2))
    return torch.stack(all_codes, 2), torch.cat(all_latents, 2), quantized.transpose(1, 2)


def nearest(latents: Tensor, codebook: Tensor) -> Tensor:
    """(B, d, T), (K, d) -> (B, T): the index of the row that is nearest in direction.

    By transformers' distance −(|e|² − 2e·c) + |c|², with the sign that its |c|² has there (the
    descript package subtracts it); the order of roundings is the same too, so ties agree.
    """
    rows = latents.permute(0, 2, 1).reshape(-1, latents.shape[1])
    book = F.normalize(codebook)
    square = book.pow(2).sum(1, keepdim=True).t()
    found = []
    for part in rows.split(max(1, _TABLE_ENTRIES // len(book))):
        unit = F.normalize(part)
        score = (2 * unit) @ book.t()
        score -= unit.pow(2).sum(1, keepdim=True)
        score += square
        found.append(score.max(1).indices)
    return torch.cat(found).reshape(latents.shape[0], -1)


@rvq_encode.check
def _(
    z: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    codebooks: Tensor,
) -> None:
    if z.ndim != 3 or codebooks.ndim != 3:
        raise ValueError(
            "rvq_encode: z must have shape (B, T, D) and codebooks (N, K, d), "
            f"got {tuple(z.shape)} and {tuple(codebooks.shape)}"
        )
    if z.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"rvq_encode: z must be float32 or float64, got {z.dtype}")
    (books, _, dim), width = codebooks.shape, z.shape[2]
    for name, tensor, shape in (
        ("in_weight", in_weight, (books, dim, width)),
        ("in_bias", in_bias, (books, dim)),
        ("out_weight", out_weight, (books, width, dim)),
        ("out_bias", out_bias, (books, width)),
    ):
        if tensor.shape != shape:
            raise ValueError(
                f"rvq_encode: {name} must have shape {shape}, got {tuple(tensor.shape)}"
            )


@rvq_encode.supports
def _(backend: str, z: Tensor, *weights: Tensor) -> str | None:
    if z.dtype == torch.float64:
        return "float64 is computed by torch"
    if backend != "cpu" and (weights[-1].shape[2] > 32 or z.shape[2] > 8192):
        return "a block of its kernel holds 32 dimensions and 8192 channels"
    return None


@rvq_encode.native
def _(
    module: ModuleType,
    z: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    codebooks: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, time, _ = z.shape
    books, _, dim = codebooks.shape
    codes = torch.empty((batch, time, books), dtype=torch.int64, device=z.device)
    latents = torch.empty((batch, time, books * dim), device=z.device)
    quantized = torch.empty(z.shape, device=z.device)
    weights = (in_weight, in_bias, out_weight, out_bias, codebooks)
    module.rvq_encode(
        codes, latents, quantized, z.contiguous(), *(w.contiguous() for w in weights), stream_of(z)
    )
    return codes, latents, quantized
