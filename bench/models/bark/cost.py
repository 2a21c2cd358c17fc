"""Bytes and FLOPs that Bark's stages cannot do without."""

from typing import Any


def _matrices(config: Any) -> int:
    """Values in the matrices of all layers: qkv, out, up, down."""
    return int(12 * config.num_layers * config.hidden_size**2)


def token_cost(config: Any, context: int, rows: int, weight_bytes: int, size: int) -> Any:
    """(bytes, FLOPs) of one token after `context` ones, `rows` rows of the head.

    Every weight is read once, weight_bytes each, and every key and value, `size` bytes each.
    """
    weights = _matrices(config) + rows * config.hidden_size
    cache = 2 * config.num_layers * config.hidden_size * (context + 1)
    return weights * weight_bytes + cache * size, 2 * weights + 2 * cache


def pass_cost(config: Any, tokens: int, rows: int, size: int, causal: bool) -> tuple[int, int]:
    """(bytes, FLOPs) of all layers over `tokens` positions, the head over `rows` products."""
    weights = _matrices(config)
    scores = 4 * config.num_layers * config.hidden_size * tokens**2 // (2 if causal else 1)
    flops = 2 * tokens * weights + scores + 2 * rows * config.hidden_size
    return weights * size, flops


def codec_cost(frames: int, size: int) -> tuple[int, int]:
    """(bytes, FLOPs) of EnCodec's decoder at 24 kHz: 7.43 M weights, 2.98 GFLOP per second."""
    return 7_430_000 * size + 4 * 320 * frames, int(2.98e9 * frames / 75)
