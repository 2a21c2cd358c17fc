"""What `vivace audioldm` is asked for. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SoundOptions"]


@dataclass(frozen=True)
class SoundOptions:
    """One request. seconds, scheduler and seed are None where nothing was said; strength has a
    meaning with init_audio alone."""

    prompt: str
    model: str
    output: Path
    seconds: float | None
    steps: int
    guidance: float
    negative: str | None
    scheduler: str | None
    seed: int | None
    init_audio: Path | None
    strength: float
    count: int
    dtype: str
    device: str
    threads: int | None
    plot: Path | None
    quiet: bool

    @property
    def outputs(self) -> list[Path]:
        """The files to write: the output itself, or out-1.wav ... beside it."""
        if self.count == 1:
            return [self.output]
        path = self.output
        return [path.with_name(f"{path.stem}-{i + 1}{path.suffix}") for i in range(self.count)]
