"""The ops: each a torch reference, which is also its fallback, with kernels beside it."""

from vivace.ops.causal_attention import causal_attention
from vivace.ops.conv1d import conv1d
from vivace.ops.conv_transpose1d import conv_transpose1d
from vivace.ops.gpt_decode_step import gpt_decode_step
from vivace.ops.lstm import lstm
from vivace.ops.residual_unit import residual_unit
from vivace.ops.rvq_decode import rvq_decode
from vivace.ops.rvq_encode import rvq_encode
from vivace.ops.sample import sample
from vivace.ops.snake import snake

__all__ = [
    "causal_attention",
    "conv1d",
    "conv_transpose1d",
    "gpt_decode_step",
    "lstm",
    "residual_unit",
    "rvq_decode",
    "rvq_encode",
    "sample",
    "snake",
]
