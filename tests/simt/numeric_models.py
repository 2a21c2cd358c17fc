"""The numeric cases of conformance/numeric.cu in float64, with the errors that NVIDIA documents.

Source: CUDA C++ programming guide, "Mathematical Functions": "Standard Functions" (ulp) and
"Intrinsic Functions" (ulp or absolute).
"""

import math
from collections.abc import Callable

import numpy as np

from tests.simt.models import Expected, Words, floats, from_bf16, from_f16, to_bf16, to_f16

ULP = 2.0**-23  # an upper bound of an ulp, relative


def _relative(exact: np.ndarray, ulps: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return exact, np.abs(exact) * ULP * ulps


def trigonometry(period: bool) -> Callable[[Words], Expected]:
    """2^-21.41 within a period (cosine 2^-21.19). Outside, the error of the float32 product x / 2π,
    half an ulp of it and half an ulp of the constant, comes on top.
    """

    def model(words: Words) -> Expected:
        x = floats(words).astype(float)
        growth = 0.0 if period else np.abs(x) * ULP
        sine, cosine = (np.sin(x), 2.0**-21.41 + growth), (np.cos(x), 2.0**-21.19 + growth)
        return [sine, cosine, sine, cosine]

    return model


def exponential(words: Words) -> Expected:
    x = floats(words)
    ten, tenth = (x * np.float32(0.4)).astype(float), (x * np.float32(0.1)).astype(float)
    x = x.astype(float)
    normal = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in tenth])
    return [
        _relative(np.exp(x), 2 + np.floor(np.abs(1.173 * x))),
        _relative(10.0**ten, 2 + np.floor(np.abs(2.97 * ten))),
        (np.tanh(tenth), np.abs(np.tanh(tenth)) * 2.0**-10.98),
        _relative(normal, 5),
    ]


def positive(words: Words) -> Expected:
    x = floats(words).astype(float)
    near_one = (x >= 0.5) & (x <= 2)

    def logarithm(exact: np.ndarray, ulps: float) -> tuple[np.ndarray, np.ndarray]:
        return exact, np.where(near_one, 2.0**-21.4, np.abs(exact) * ULP * ulps)

    power = x ** np.float64(np.float32(0.3))
    return [
        logarithm(np.log(x), 3),
        logarithm(np.log2(x), 2),
        logarithm(np.log10(x), 3),
        _relative(1 / np.sqrt(x), 2),
        _relative(np.sqrt(x), 0.5),
        _relative(1 / x, 0.5),
        _relative(1 / np.sqrt(x), 0.5),
        # exp2f(y * __log2f(x)): the error of the exponent, and two ulp.
        (power, power * (ULP * 2 + np.abs(0.3 * np.log2(x)) * ULP * 3)),
        _relative(np.cbrt(1 / x), 1),
    ]


def divide(words: Words) -> Expected:
    a32, b32 = np.split(floats(words), 2)
    a, b = a32.astype(float), b32.astype(float)
    turn = np.fmod(a, 2.0) * np.pi
    return [
        _relative(a / b, 2),
        _relative(a / b, 0.5),
        _relative(a * b + a, 0.5),
        (np.clip(a32 - b32, 0, 1), None),
        (np.sin(turn), 2 * ULP),
        (np.cos(turn), 2 * ULP),
    ]


def convert(words: Words) -> Expected:
    x = floats(words)

    def integer(rounded: np.ndarray, low: int, high: int) -> list[int]:
        return [
            0 if math.isnan(v) else high if v >= high else low if v <= low else int(v)
            for v in rounded.tolist()
        ]

    wide = x.astype(float)
    kinds = [np.rint(wide), np.trunc(wide), np.floor(wide), np.ceil(wide)]
    rows = [np.array(integer(k, -(2**31), 2**31 - 1)) & 0xFFFFFFFF for k in kinds]
    rows.append(np.array(integer(np.rint(wide), 0, 2**32 - 1)))
    long = integer(np.rint(wide), -(2**63), 2**63 - 1)
    rows.append(np.array([v >> 16 & 0xFFFFFFFF for v in long]))
    half, brain = to_f16(x), to_bf16(x)
    parts = [half, brain, from_f16(half).view(np.uint32), from_bf16(brain).view(np.uint32), *rows]
    return [(p.astype(np.uint32), None) for p in parts]


def sixteen(
    to_bits: Callable[[np.ndarray], np.ndarray],
    to_float: Callable[[np.ndarray], np.ndarray],
    ulp: float,
) -> Callable[[Words], Expected]:
    """Sums and products are rounded once; the functions may err by one ulp of the type more."""

    def model(words: Words) -> Expected:
        a, b, c = (to_float(to_bits(part)).astype(float) for part in np.split(floats(words), 3))
        m = np.abs(a)
        with np.errstate(divide="ignore"):
            results = [a + b, a * b, a * b + c, np.maximum(a * b + c, 0), np.maximum(a, b)]
            functions = [np.exp(a), np.exp2(a), np.log(m), np.log2(m), np.sin(a), np.cos(a)]
            functions += [np.sqrt(m), 1 / np.sqrt(m), 1 / a, np.tanh(a)]
        smallest = 2.0**-24  # half's denormals; also covers results near a zero of sin, cos, log
        rounded = [(r, np.abs(r) * ulp / 2 + smallest) for r in results]
        return rounded + [(f, np.abs(f) * ulp * 1.5 + smallest + 2.0**-20) for f in functions]

    return model


NUMERIC_MODELS: dict[str, Callable[[Words], Expected]] = {
    "sine_period": trigonometry(True),
    "sine_large": trigonometry(False),
    "exponential": exponential,
    "positive": positive,
    "divide": divide,
    "convert": convert,
    "half": sixteen(to_f16, from_f16, 2.0**-10),
    "bfloat16": sixteen(to_bf16, from_bf16, 2.0**-7),
}
