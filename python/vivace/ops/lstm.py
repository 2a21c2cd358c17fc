"""One layer of a long short-term memory (Hochreiter & Schmidhuber 1997), torch's gates and order.

    i, f, g, o = W_ih·x[t] + b_ih + W_hh·h + b_hh      (four blocks of C rows)
    c = σ(f)·c + σ(i)·tanh(g);  h = y[t] = σ(o)·tanh(c)

What does not depend on h is one product for all frames, done before; the kernel does the rest, step
by step. h and c are kept in float32, so a stream that carries them equals the whole clip.
"""

from types import ModuleType

import torch
from torch import Tensor

from vivace._dispatch import Op, stream_of
from vivace.ops._packed import packed
from vivace.ops.conv1d import conv1d


@Op
def lstm(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    h0: Tensor,
    c0: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """x (B, T, Cin), w_ih (4C, Cin), w_hh (4C, C), biases (4C,), h0 and c0 (B, C) -> y (B, T, C),
    and h, c (B, C) after the last frame.

    h0, c0, h and c are float32 (float64 where x is). T >= 1. Raises ValueError and TypeError for
    shapes and dtypes that do not fit.
    """
    wide = _state_dtype(x)
    weights = [w.to(wide) for w in (w_ih, w_hh, b_ih, b_hh)]
    # cuDNN has gradients in training mode only.
    train = torch.is_grad_enabled()
    y, h, c = torch.lstm(
        x.to(wide), [h0[None], c0[None]], weights, True, 1, 0.0, train, False, True
    )
    return y.to(x.dtype), h[0], c[0]


@lstm.check
def _(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, h0: Tensor, c0: Tensor
) -> None:
    if x.ndim != 3 or w_hh.ndim != 2 or w_hh.shape[0] != 4 * w_hh.shape[1]:
        raise ValueError(
            "lstm: x must have shape (B, T, Cin) and w_hh (4C, C), "
            f"got {tuple(x.shape)} and {tuple(w_hh.shape)}"
        )
    rows, channels = w_hh.shape
    if 0 in (*x.shape, channels):
        raise ValueError(
            f"lstm: x and w_hh must hold frames and channels, got shapes {tuple(x.shape)} and "
            f"{tuple(w_hh.shape)}"
        )
    if not x.is_floating_point():
        raise TypeError(f"lstm: x must have a float dtype, got {x.dtype}")
    for name, weight, shape in (
        ("w_ih", w_ih, (rows, x.shape[2])),
        ("w_hh", w_hh, (rows, channels)),
        ("b_ih", b_ih, (rows,)),
        ("b_hh", b_hh, (rows,)),
    ):
        if weight.shape != shape:
            raise ValueError(f"lstm: {name} must have shape {shape}, got {tuple(weight.shape)}")
        if weight.dtype != x.dtype:
            raise TypeError(f"lstm: {name} must have x's dtype {x.dtype}, got {weight.dtype}")
    for name, state in (("h0", h0), ("c0", c0)):
        if state.shape != (x.shape[0], channels):
            raise ValueError(
                f"lstm: {name} must have shape {(x.shape[0], channels)}, got {tuple(state.shape)}"
            )
        if state.dtype != _state_dtype(x):
            raise TypeError(f"lstm: {name} must be {_state_dtype(x)}, got {state.dtype}")


# Rows of a batch from which a step is a matrix product, which is faster in torch on a CPU (float32:
# 30 against 26 ms for 8 rows of 75 frames; bfloat16: 65 against 72 ms for 32).
_ROWS = {torch.float32: 8, torch.float16: 33, torch.bfloat16: 33}

# A kernel per frame: until a GPU has shown a win, pieces of a stream alone.
_FRAMES = 8


@lstm.supports
def _(backend: str, x: Tensor, *_: object) -> str | None:
    if x.dtype == torch.float64:
        return "float64 is computed by torch"
    if backend == "cpu" and x.shape[0] >= _ROWS[x.dtype]:
        return f"{_ROWS[x.dtype]} rows and more are a matrix product, which is torch's"
    if backend == "cuda" and x.shape[1] > _FRAMES:
        return f"more than {_FRAMES} frames are as many launches; cuDNN's one stays on the device"
    return None


@lstm.native
def _(
    module: ModuleType,
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    h0: Tensor,
    c0: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, time, _ = x.shape
    channels = w_hh.shape[1]
    # A convolution with one tap: its order of summation does not depend on the number of frames,
    # as a library's matrix product may, so pieces of a stream equal the whole clip bit for bit.
    taps = packed((w_ih,), ("one tap",), lambda: w_ih.detach().unsqueeze(2))
    bias = packed((b_ih, b_hh), ("sum",), lambda: b_ih + b_hh)
    gates = conv1d(x, taps, bias)
    y = torch.empty((batch, time, channels), dtype=x.dtype, device=x.device)
    h, c = (torch.empty(h0.shape, dtype=h0.dtype, device=x.device) for _ in range(2))
    module.lstm(
        y,
        h,
        c,
        gates.contiguous(),
        w_hh.contiguous(),
        h0.contiguous(),
        c0.contiguous(),
        stream_of(x),
    )
    return y, h, c


def _state_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
