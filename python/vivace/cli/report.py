"""What a command tells: a progress bar and a line per file, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

import typer

__all__ = ["Record", "Report"]


@dataclass(frozen=True)
class Record:
    """What happened to one file.

    seconds of audio; codes_shape (channels, codebooks, frames); bitrate in bit/s of all codes;
    real_time_factor: seconds of work per second of audio, reading and writing included.
    """

    input: str
    output: str | None
    seconds: float | None = None
    codes_shape: list[int] | None = None
    bitrate: float | None = None
    real_time_factor: float | None = None
    quality: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        quality: dict[str, float] = values.pop("quality")
        return values | quality

    def line(self) -> str:
        if self.error is not None:
            return f"error: {self.input}: {self.error}"
        shape = " x ".join(map(str, self.codes_shape or ()))
        parts = [
            f"{self.input} -> {self.output}",
            f"{self.seconds:.2f} s",
            f"codes {shape}",
            f"{(self.bitrate or 0) / 1000:.2f} kbit/s",
            f"real-time factor {self.real_time_factor:.3f}",
        ]
        parts += [f"{name} {value:.2f}" for name, value in self.quality.items()]
        return "  ".join(parts)


class Report:
    """Collects the records of one command; results go to stdout, errors and progress to stderr."""

    def __init__(self, command: str, model: str, as_json: bool) -> None:
        self.command, self.model, self.as_json = command, model, as_json
        self.records: list[Record] = []
        self._bar: Any = None

    @contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """A bar over ``total`` files while the block runs; none for JSON or without a terminal."""
        from tqdm import tqdm

        hidden = self.as_json or not sys.stderr.isatty()
        with tqdm(total=total, unit="file", desc=self.command, disable=hidden) as self._bar:
            yield

    def add(self, record: Record) -> None:
        self.records.append(record)
        if not self.as_json:
            stream = sys.stdout if record.error is None else sys.stderr
            self._bar.write(record.line(), file=stream)
        self._bar.update()

    def finish(self) -> None:
        """Prints the document or the count of failures; exits with 1 if a file failed."""
        failed = sum(record.error is not None for record in self.records)
        if self.as_json:
            self._print_document(failed=failed)
        elif failed:
            typer.echo(f"{failed} of {len(self.records)} files failed", err=True)
        if failed:
            raise typer.Exit(1)

    def abort(self, error: Exception) -> NoReturn:
        """Nothing can be done, because the model cannot be used."""
        message = f"cannot use the model {self.model}: {error}"
        if self.as_json:
            self._print_document(error=message)
        else:
            typer.echo(f"error: {message}", err=True)
        raise typer.Exit(1) from None

    def _print_document(self, **more: object) -> None:
        files = [record.as_dict() for record in self.records]
        document = {"command": self.command, "model": self.model, "files": files, **more}
        typer.echo(json.dumps(document, indent=2))
