"""Whether a DAC result may be timed: against float32, with eager's own rounding as the measure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.case import Variant, precision

# Relative error that float32 may have: sixty layers of a few units in the last place.
_EXACT = 1e-4
# Narrower dtypes: this, or twice the error of the eager peer in the same dtype, if that is more.
_ROUNDED = 1e-2


def check_audio(y: Tensor, truth: Tensor) -> tuple[dict[str, float], float]:
    """All errors, and the one that counts: the norm of the difference over that of the truth."""
    assert y.shape == truth.shape, f"expected shape {tuple(truth.shape)}, got {tuple(y.shape)}"
    assert y.isfinite().all(), "the result is not finite"
    difference = y.double() - truth.double()
    relative = float(difference.norm() / truth.double().norm())
    errors = {"max_abs": float(difference.abs().max()), "rel_l2": relative}
    if relative > 0:
        errors["snr_db"] = -20 * math.log10(relative)
    return errors, relative


def check_codes(codes: Tensor, truth: Tensor) -> tuple[dict[str, float], float]:
    """All rates, and the one that counts: the share of other codes in the first codebook.

    (One other code makes all later codebooks of the frame code another residual.)
    """
    assert codes.shape == truth.shape, f"expected {tuple(truth.shape)}, got {tuple(codes.shape)}"
    equal = (codes == truth).double()
    first = float(equal[:, 0].mean())
    return {"match": float(equal.mean()), "match_first": first}, 1 - first


@dataclass
class Check:
    """verify() of encode and decode. `call` runs the float32 model, `eager` a model in `dtype`."""

    call: Callable[[Tensor], Any]
    eager: Callable[[Tensor], Any]
    compare: Callable[[Tensor, Tensor], tuple[dict[str, float], float]]
    x: Tensor
    dtype: str
    _truth: Tensor | None = None
    _limit: float = 0.0

    def __call__(self, variant: Variant) -> dict[str, float]:
        if self._truth is None:
            exact = self.x.float() if self.x.is_floating_point() else self.x
            with precision("float32"):
                self._truth = self.call(exact)
            _, own = self.compare(self.eager(self.x), self._truth)
            self._limit = _EXACT if self.dtype == "float32" else max(_ROUNDED, 2 * own)
        errors, error = self.compare(variant.call(self.x), self._truth)
        assert error <= self._limit, f"error {error:.3g}, allowed {self._limit:.3g}: {errors}"
        return errors


def check_stream(
    call: Callable[[Tensor], Any],
    new_stream: Callable[[], Any],
    x: Tensor,
    step: int,
    variant: Variant,
) -> dict[str, float]:
    """A new stream, pushed `step` positions at a time, gives what `call` gives for all of x.

    Kernels choose by shape, so half-precision roundings differ: 2 % of the norm, or of the codes.
    """
    stream, truth = new_stream(), call(x)
    y = torch.cat([*(stream.push(piece) for piece in x.split(step, -1)), stream.flush()], -1)
    codes = not truth.is_floating_point()
    errors, error = (check_codes if codes else check_audio)(y, truth)
    exact = codes or truth.dtype == torch.float32
    limit = _EXACT if exact else 2 * _ROUNDED
    if codes:
        limit = max(2 * _ROUNDED, 1 / truth.shape[-1])  # where two are equally near: one frame
    assert error <= limit, f"{variant.name}: error {error:.3g}, allowed {limit:.3g}: {errors}"
    return errors
