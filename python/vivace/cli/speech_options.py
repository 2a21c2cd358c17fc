"""What `vivace bark` is asked for: the checked values of its options. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from vivace.cli.dac import AUDIO_SUFFIXES

__all__ = [
    "DEFAULT_MODEL",
    "ContinueFrom",
    "Model",
    "Quantize",
    "SpeechOptions",
    "StageTemperature",
    "audio_file",
    "fine_temperature",
    "nucleus",
    "probability",
    "seconds",
    "temperature",
]

DEFAULT_MODEL = "suno/bark-small"


class ContinueFrom(str, Enum):
    """Whose voice the sentences of a long text continue."""

    voice = "voice"
    previous = "previous"


class Quantize(str, Enum):
    """How the weights that every token reads are rounded."""

    int8 = "int8"


@dataclass(frozen=True)
class SpeechOptions:
    """One request. sampling: the keyword arguments of `BarkModel.generate` that were given;
    min_eos_p of 0 is off; output is None where nothing is written but the stream."""

    text: str
    model: str
    voice: str | None
    output: Path | None
    stream: bool
    force: bool
    quiet: bool
    seed: int | None
    min_eos_p: float
    dtype: str
    device: str
    quantize: str | None
    threads: int | None
    silence_s: float
    continue_from: str
    save_voice: Path | None
    sampling: dict[str, Any] = field(default_factory=dict)


def temperature(value: float | None) -> float | None:
    """Finite and above 0."""
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise typer.BadParameter(f"must be above 0, got {value} (--greedy: the likeliest tokens)")
    return value


def fine_temperature(value: str) -> float:
    """As `temperature`; none becomes 1.0, which in the fine stage is greedy."""
    try:
        fixed = 1.0 if value.lower() == "none" else float(value)
    except ValueError:
        raise typer.BadParameter(f"must be a number or none, got {value!r}") from None
    temperature(fixed)
    return fixed


def probability(value: float | None) -> float | None:
    """From 0 to 1."""
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(f"must be from 0 to 1, got {value}")
    return value


def nucleus(value: float | None) -> float | None:
    """Above 0, at most 1."""
    if value is not None and not 0 < value <= 1:
        raise typer.BadParameter(f"must be above 0 and at most 1, got {value}")
    return value


def seconds(value: float) -> float:
    """Of silence."""
    if not 0 <= value <= 3600:
        raise typer.BadParameter(f"must be from 0 to 3600 seconds, got {value}")
    return value


def audio_file(value: Path | None) -> Path | None:
    """A path whose suffix names a format."""
    if value is not None and value.suffix.lower() not in AUDIO_SUFFIXES:
        raise typer.BadParameter(f"must end in {' '.join(AUDIO_SUFFIXES)}, got {value}")
    return value


Model = Annotated[str, typer.Option(metavar="ID_OR_DIR", help="Hub id or folder of a Bark.")]
StageTemperature = Annotated[
    float | None,
    typer.Option(metavar="T", callback=temperature, help="Of this stage alone."),
]
