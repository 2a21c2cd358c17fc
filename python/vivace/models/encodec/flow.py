"""How EnCodec's layers are evaluated: whole clips here, streams in vivace.models.encodec.streaming.

Each layer hands itself to a flow, which pads, calls the op, and normalises. Reflected padding
belongs to the ends of a clip alone; ELU may be applied before or after it, so the op applies it.
"""

from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.ops.conv1d import conv1d
from vivace.ops.conv_transpose1d import conv_transpose1d
from vivace.ops.lstm import lstm

if TYPE_CHECKING:
    from vivace.models.encodec.layers import EncodecConv1d, EncodecConvTranspose1d


class Flow(Protocol):
    """What a layer's forward asks of its evaluation. Tensors are time-major: (B, T, C)."""

    def conv(
        self, module: "EncodecConv1d", x: Tensor, activation: str, residual: Tensor | None
    ) -> Tensor: ...

    def conv_transpose(
        self, module: "EncodecConvTranspose1d", x: Tensor, activation: str
    ) -> Tensor: ...

    def lstm(self, module: nn.LSTM, x: Tensor) -> Tensor: ...


def pad_ends(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """x (B, T, C) padded in time. Reflection of a clip that is too short for it sees zeros behind
    the clip, which are cut off again, as transformers has it.
    """
    h = x.transpose(1, 2)
    more = max(left, right) - x.shape[1] + 1
    if mode == "reflect" and more > 0:
        h = F.pad(F.pad(h, (0, more)), (left, right), mode)[..., :-more]
    else:
        h = F.pad(h, (left, right), mode)
    return h.transpose(1, 2)


def run_conv(
    module: "EncodecConv1d",
    x: Tensor,
    left: int,
    right: int,
    activation: str,
    residual: Tensor | None,
) -> Tensor:
    """residual + norm(conv(activation(x))) for x (B, T, C), with padding at the clip's two ends."""
    padded = left > 0 or right > 0
    reflect = padded and module.pad_mode == "reflect" and max(left, right) < x.shape[1]
    if padded and not reflect and module.pad_mode != "constant":
        x, left, right = pad_ends(x, left, right, module.pad_mode), 0, 0
    conv, norm = module.conv, module.norm
    y: Tensor = conv1d(
        x,
        conv.weight,
        conv.bias,
        None,
        residual if norm is None else None,
        None,
        conv.stride[0],
        conv.dilation[0],
        left,
        right,
        activation,
        0.1,
        reflect,
    )
    if norm is None:
        return y
    y = norm(y.transpose(1, 2)).transpose(1, 2)
    return y if residual is None else residual + y


def run_conv_transpose(
    module: "EncodecConvTranspose1d", x: Tensor, left: int, right: int, activation: str
) -> Tensor:
    """norm(conv(activation(x))) for x (B, T, C), then cropped by left and right samples."""
    conv, norm = module.conv, module.norm
    crops = (left, right) if norm is None else (0, 0)
    y: Tensor = conv_transpose1d(
        x, conv.weight, conv.bias, None, None, conv.stride[0], *crops, activation
    )
    if norm is None:
        return y
    y = norm(y.transpose(1, 2)).transpose(1, 2)
    return y[:, left : y.shape[1] - right]


def run_lstm(module: nn.LSTM, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """All layers of an LSTM for x (B, T, C); states: h and c of each layer, before and after."""
    after: list[Tensor] = []
    for layer in range(module.num_layers):
        weights = [
            getattr(module, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        x, h, c = lstm(x, *weights, *states[2 * layer : 2 * layer + 2])
        after += (h, c)
    return x, after


def start_states(module: nn.LSTM, x: Tensor) -> list[Tensor]:
    """The states at the start of a clip x (B, T, C): zeros (B, C) for h and c of every layer."""
    wide = torch.promote_types(x.dtype, torch.float32)
    zeros = x.new_zeros((x.shape[0], module.hidden_size), dtype=wide)
    return [zeros] * (2 * module.num_layers)


class Full:
    """The whole input at once, no state. Use the instance `FULL`."""

    def conv(
        self, module: "EncodecConv1d", x: Tensor, activation: str, residual: Tensor | None
    ) -> Tensor:
        return run_conv(module, x, *module.padding(x.shape[1]), activation, residual)

    def conv_transpose(
        self, module: "EncodecConvTranspose1d", x: Tensor, activation: str
    ) -> Tensor:
        return run_conv_transpose(module, x, *module.trim, activation)

    def lstm(self, module: nn.LSTM, x: Tensor) -> Tensor:
        return run_lstm(module, x, start_states(module, x))[0]


FULL = Full()
