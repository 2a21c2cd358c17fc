"""The ops: each a torch reference, which is also its fallback, with kernels beside it."""

from vivace.ops.snake import snake

__all__ = ["snake"]
