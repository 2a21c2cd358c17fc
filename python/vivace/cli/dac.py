"""`vivace dac`: audio files to .dac files, back, and both at once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vivace.cli.files import Job, plan
from vivace.cli.report import Record, Report

if TYPE_CHECKING:
    from vivace.cli.codec import Codec

__all__ = ["app"]

DEFAULT_MODEL = "vivace/tiny-16khz"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

app = typer.Typer(
    help="Descript Audio Codec: audio files to codes (.dac) and back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Dtype(str, Enum):
    """What the model computes in; the quantizer stays in float32."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def _positive(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise typer.BadParameter(f"must be above 0, got {value}")
    return value


Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT", help="Files, or folders to search.")]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", file_okay=False, help="Folder to write to."),
]
Model = Annotated[str, typer.Option(metavar="ID_OR_DIR", help="Hub id or folder of a DAC model.")]
Codebooks = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Use the first N codebooks.  [default: all]")
]
ChunkLength = Annotated[
    float | None,
    typer.Option(
        metavar="S",
        callback=_positive,
        help="Work in chunks of S seconds: same result, memory bounded.  [default: whole files]",
    ),
]
DtypeOption = Annotated[Dtype, typer.Option(help="What the model computes in.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: a GPU if there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, no progress bar.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


@app.command()
def encode(
    inputs: Inputs,
    output: Output,
    model: Model = DEFAULT_MODEL,
    codebooks: Codebooks = None,
    chunk_length_s: ChunkLength = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "auto",
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Encode audio files to .dac files. Folders keep their tree under the output folder."""
    jobs = plan(inputs, output, AUDIO_SUFFIXES, ".dac", force)
    report = Report("encode", model, as_json)
    _run(report, jobs, "encoder", codebooks, chunk_length_s, dtype, device)


@app.command()
def decode(
    inputs: Inputs,
    output: Output,
    model: Model = DEFAULT_MODEL,
    chunk_length_s: ChunkLength = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "auto",
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Decode .dac files to .wav files, also those of descript-audio-codec 1.0."""
    jobs = plan(inputs, output, (".dac",), ".wav", force)
    report = Report("decode", model, as_json)
    _run(report, jobs, "decoder", None, chunk_length_s, dtype, device)


@app.command()
def roundtrip(
    inputs: Inputs,
    output: Output,
    model: Model = DEFAULT_MODEL,
    codebooks: Codebooks = None,
    chunk_length_s: ChunkLength = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "auto",
    as_json: Json = False,
    force: Force = False,
) -> None:
    """Encode, decode to .wav files, and report the loss of quality."""
    jobs = plan(inputs, output, AUDIO_SUFFIXES, ".wav", force)
    report = Report("roundtrip", model, as_json)
    _run(report, jobs, None, codebooks, chunk_length_s, dtype, device)


def _run(
    report: Report,
    jobs: list[Job],
    part: str | None,
    codebooks: int | None,
    chunk_length_s: float | None,
    dtype: Dtype,
    device: str,
) -> None:
    """Does the jobs one by one; a job that fails is reported, and the others are still done."""
    codec: Codec | None = None
    if any(job.error is None for job in jobs):
        from vivace.cli.codec import Codec

        try:
            codec = Codec(report.model, part, codebooks, chunk_length_s, dtype.value, device)
        except Exception as error:  # whatever is wrong with the model: one line, not a traceback
            report.abort(error)
    with report.progress(len(jobs)):
        for job in jobs:
            report.add(_do(codec, report.command, job))
    report.finish()


def _do(codec: Codec | None, command: str, job: Job) -> Record:
    if job.error is not None or codec is None:
        return Record(str(job.source), None, error=job.error)
    try:
        return codec.run(command, job.source, job.target)
    except Exception as error:  # one file must not stop the others
        message = str(error) or type(error).__name__
        return Record(str(job.source), str(job.target), error=message)
