"""KVCache: the keys and values of all layers, in memory whose addresses never change."""

import torch
from torch import Tensor


class KVCache:
    """keys and values (L, B, H, S, D), of which row b holds lengths[b] tokens.

    `lengths` (B,) int64 is on the device, for kernels; `longest` bounds it on the host. Memory that
    no token has reached is zeros, which the system gives only when it is written to.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        heads: int,
        capacity: int,
        dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, batch, heads, capacity, dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.longest = 0

    @property
    def capacity(self) -> int:
        """The most tokens of a row."""
        return self.keys.shape[3]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The tokens of the longest row, as transformers' caches call it."""
        return self.longest

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """The keys and values (B, H, S, D) of one layer."""
        return self.keys[index], self.values[index]

    def advance(self, tokens: int) -> None:
        """Counts tokens that every row has got."""
        self.lengths += tokens
        self.longest += tokens

    def set_lengths(self, lengths: list[int]) -> None:
        """Says how many tokens of each row count: what lies behind them will be overwritten."""
        self.lengths.copy_(torch.tensor(lengths))
        self.longest = max(lengths, default=0)

    def reorder(self, rows: Tensor) -> None:
        """Keeps these rows (a tensor of indices), in this order."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.lengths = self.lengths[rows]
