"""Residual vector quantisation by Euclidean distance, as transformers' EnCodec has it.

The arithmetic is float32 (float64 for double models) whatever the model's dtype: in half precision
the nearest code of a stage would often be a wrong one, and errors add up. Nothing here has a
gradient: codes are integers, and the codebooks are buffers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.encodec.config import EncodecConfig
from vivace.nn.geometry import InputError
from vivace.ops._packed import packed
from vivace.ops.rvq_decode import rvq_decode


class EncodecEuclideanCodebook(nn.Module):
    """A codebook (K, codebook_dim), with the buffers that its training kept."""

    inited: Tensor
    cluster_size: Tensor
    embed: Tensor
    embed_avg: Tensor

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        assert config.codebook_dim is not None  # the configuration has set it
        shape = (config.codebook_size, config.codebook_dim)
        self.codebook_size = config.codebook_size
        self.register_buffer("inited", torch.ones(1))
        self.register_buffer("cluster_size", torch.zeros(config.codebook_size))
        self.register_buffer("embed", torch.zeros(shape))
        self.register_buffer("embed_avg", torch.zeros(shape))

    def nearest(self, rows: Tensor, embed: Tensor) -> Tensor:
        """rows (M, D), embed (K, D) -> the index of the nearest row of embed (M,)."""
        # The formula, and so the rounding, of transformers: nearly equal distances tie alike.
        squares = rows.pow(2).sum(1, keepdim=True)
        distance = squares - 2 * rows @ embed.t() + embed.t().pow(2).sum(0, keepdim=True)
        return (-distance).max(dim=-1).indices


class EncodecVectorQuantization(nn.Module):
    """One stage: its codebook."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.codebook = EncodecEuclideanCodebook(config)


class EncodecResidualVectorQuantizer(nn.Module):
    """N codebooks in a row, each on what the ones before it left (arXiv:2107.03312)."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.codebook_size = config.codebook_size
        self.frame_rate = config.frame_rate
        self.num_quantizers = config.num_quantizers
        self.layers = nn.ModuleList(
            EncodecVectorQuantization(config) for _ in range(config.num_quantizers)
        )

    def get_num_quantizers_for_bandwidth(self, bandwidth: float | None = None) -> int:
        """The number of codebooks that a bandwidth in kbit/s has room for; all for None and 0."""
        if bandwidth is None or bandwidth <= 0.0:
            return self.num_quantizers
        bits_per_second = math.log2(self.codebook_size) * self.frame_rate
        return int(max(1, math.floor(bandwidth * 1000 / bits_per_second)))

    @torch.no_grad()
    def encode(self, embeddings: Tensor, bandwidth: float | None = None) -> Tensor:
        """embeddings (B, D, T) -> codes (N, B, T) int64 of the codebooks of a bandwidth."""
        batch, width, time = embeddings.shape
        residual = _wide(embeddings).transpose(1, 2).reshape(-1, width)
        found = []
        for codebook in self._codebooks(self.get_num_quantizers_for_bandwidth(bandwidth)):
            embed = _wide(codebook.embed)
            codes = codebook.nearest(residual, embed)
            residual = residual - F.embedding(codes, embed)
            found.append(codes.view(batch, time))
        return torch.stack(found)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """codes (n <= N, B, T) of an integer type -> the sum of their rows (B, D, T).

        The rows are read from a table (n, K, D), a copy of the codebooks that is made at the first
        call and again when one of them changes. Raises IndexError for more codebooks than the model
        has and (on the CPU, where looking costs no synchronisation) for ids outside of them;
        InputError, a ValueError, for another shape or type.
        """
        self._check(codes)
        embeds = tuple(codebook.embed for codebook in self._codebooks(len(codes)))
        table = packed(embeds, ("table", len(embeds)), lambda: torch.stack(embeds))
        y: Tensor = rvq_decode(codes.long().permute(1, 2, 0), table)
        return y.transpose(1, 2)

    def state(self) -> tuple[object, ...]:
        """What changes when a codebook does: a captured graph holds their addresses."""
        embeds = (codebook.embed for codebook in self._codebooks(len(self.layers)))
        return tuple((e.data_ptr(), -1 if e.is_inference() else e._version) for e in embeds)

    def _codebooks(self, count: int) -> list[EncodecEuclideanCodebook]:
        layers: list[nn.Module] = list(self.layers)[:count]
        return [x.codebook for x in layers if isinstance(x, EncodecVectorQuantization)]

    def _check(self, codes: Tensor) -> None:
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise InputError(f"EncodecModel: codes must be integers, got {codes.dtype}")
        if codes.dim() != 3 or codes.numel() == 0:
            raise InputError(
                "EncodecModel: codes must have shape (N >= 1 codebooks, B >= 1, T >= 1 frames) in "
                f"the quantizer, got {tuple(codes.shape)}"
            )
        if len(codes) > len(self.layers):
            raise IndexError(
                f"EncodecModel: codes have {len(codes)} codebooks, the model has {len(self.layers)}"
            )
        if codes.device.type == "cpu":
            low, high = (int(value) for value in codes.aminmax())
            if low < 0 or high >= self.codebook_size:
                bad = low if low < 0 else high
                raise IndexError(
                    f"EncodecModel: codes must be in [0, {self.codebook_size}), got {bad}"
                )


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
