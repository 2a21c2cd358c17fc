"""Snake1d: x + sin²(αx) / (α + 1e-9) with one trainable α per channel (arXiv:2006.08195)."""

import torch
from torch import Tensor, nn

from vivace.ops import snake


class Snake1d(nn.Module):
    """Snake activation, as transformers' ``Snake1d``: ``alpha`` is a (1, C, 1) parameter of ones.

    forward: x (B, C, ...) -> same shape.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, hidden_dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == 0:  # most layers of a stream get nothing from a push of one sample
            return x
        flat = x if x.dim() == 3 else x.reshape(x.shape[0], x.shape[1], -1)
        y: Tensor = snake(flat, self.alpha.view(-1))
        return y if x.dim() == 3 else y.reshape(x.shape)
