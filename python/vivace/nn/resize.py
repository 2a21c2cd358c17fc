"""Embeddings of another number of rows."""

import torch
from torch import nn


@torch.no_grad()
def resized_embedding(
    old: nn.Embedding, rows: int, multiple_of: int | None, mean: bool, std: float
) -> nn.Embedding:
    """A copy of `old` with `rows` rows, rounded up to a multiple.

    New rows are the mean of the old ones, or N(0, std²). Raises ValueError for rows < 1.
    """
    if multiple_of is not None:
        rows = -(-rows // multiple_of) * multiple_of
    if rows < 1:
        raise ValueError(f"resize_token_embeddings: the number of tokens must be >= 1, got {rows}")
    weight = old.weight.new_empty((rows, old.embedding_dim))
    kept = min(rows, old.num_embeddings)
    weight[:kept] = old.weight[:kept]
    if mean:
        weight[kept:] = old.weight.float().mean(0).to(weight.dtype)
    else:
        weight[kept:].normal_(std=std)
    new: nn.Embedding = nn.Embedding.from_pretrained(weight, freeze=not old.weight.requires_grad)
    return new
