"""Residual vector quantisation, decoding: a gather from folded tables and a sum.

The table holds out_proj(codebook row) for every row of every codebook, so a frame costs N rows read
and added instead of N small products. Rounding differs from projecting the sum by a few ulp.
"""

from types import ModuleType

import torch
from torch import Tensor

from vivace._dispatch import Op, stream_of


@Op
def rvq_decode(codes: Tensor, table: Tensor) -> Tensor:
    """codes (B, T, N) int64 in [0, K), table (>= N, K, D) -> Σ_n table[n, codes[..., n]] (B, T, D).

    Summed in float32 (float64 for a float64 table) in the order of the codebooks, rounded once.
    The ids are not looked at on a GPU; a kernel reads row 0 for an id outside the table.
    """
    wide = torch.promote_types(table.dtype, torch.float32)
    total = torch.zeros((*codes.shape[:2], table.shape[2]), dtype=wide, device=table.device)
    for n in range(codes.shape[2]):
        total += table[n][codes[..., n]].to(wide)
    return total.to(table.dtype)


@rvq_decode.check
def _(codes: Tensor, table: Tensor) -> None:
    if codes.ndim != 3 or table.ndim != 3 or codes.shape[2] > table.shape[0]:
        raise ValueError(
            "rvq_decode: codes must have shape (B, T, N) and table (>= N, K, D), "
            f"got {tuple(codes.shape)} and {tuple(table.shape)}"
        )
    if codes.dtype != torch.int64:
        raise TypeError(f"rvq_decode: codes must be int64, got {codes.dtype}")


@rvq_decode.supports
def _(backend: str, codes: Tensor, table: Tensor) -> str | None:
    return "float64 is computed by torch" if table.dtype == torch.float64 else None


@rvq_decode.native
def _(module: ModuleType, codes: Tensor, table: Tensor) -> Tensor:
    shape = (*codes.shape[:2], table.shape[2])
    y = torch.empty(shape, dtype=table.dtype, device=table.device)
    module.rvq_decode(y, codes, table.contiguous(), stream_of(table))
    return y
