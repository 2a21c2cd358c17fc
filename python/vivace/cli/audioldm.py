"""`vivace audioldm`: text to sound, and sound changed by a text."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vivace.cli import speech_options as checks
from vivace.cli.dac import Dtype
from vivace.cli.sound_options import SoundOptions

__all__ = ["generate"]

DEFAULT_MODEL = "cvssp/audioldm-s-full-v2"


class Scheduler(str, Enum):
    """How the noise is taken away; the names that people use."""

    ddim = "ddim"
    pndm = "pndm"
    lms = "lms"
    euler = "euler"
    euler_ancestral = "euler-ancestral"
    dpm = "dpm++"
    dpm_karras = "dpm++-karras"
    unipc = "unipc"


def _seconds(value: float | None) -> float | None:
    if value is not None and not 0 < value <= 3600:
        raise typer.BadParameter(f"must be above 0 and at most 3600 seconds, got {value}")
    return value


def _guidance(value: float) -> float:
    if not (value >= 0 and math.isfinite(value)):
        raise typer.BadParameter(f"must be at least 0, got {value}")
    return value


def _image(value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() != ".png":
        raise typer.BadParameter(f"must end in .png, got {value}")
    return value


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What is to be heard.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            dir_okay=False,
            callback=checks.audio_file,
            help="Audio file to write, by its suffix.",
        ),
    ] = Path("audioldm.wav"),
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S", callback=_seconds, help="Length.  [default: the model's, 5.12 s]"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Denoising steps.")] = 50,
    guidance: Annotated[
        float,
        typer.Option(
            metavar="G", callback=_guidance, help="How strictly to follow the prompt; 1: off."
        ),
    ] = 2.5,
    negative: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What is not to be heard.")
    ] = None,
    scheduler: Annotated[
        Scheduler | None,
        typer.Option(help="How the noise is taken away.  [default: the model's, ddim]"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**64 - 1, metavar="N", help="Same seed, same audio.  [default: drawn]"
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="ID_OR_DIR", help="Hub id or folder of an AudioLDM.")
    ] = DEFAULT_MODEL,
    init_audio: Annotated[
        Path | None,
        typer.Option(
            metavar="AUDIO",
            exists=True,
            dir_okay=False,
            help="Change this sound instead, at its length.",
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            callback=checks.probability,
            help="How much of --init-audio to change, 0 to 1.  [default: 0.5]",
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="N", help="Sounds to make, of seeds one apart: out-1.wav ..."
        ),
    ] = 1,
    dtype: Annotated[Dtype, typer.Option(help="What the model computes in.")] = Dtype.float32,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: a GPU if there is one.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            dir_okay=False,
            callback=_image,
            help="Draw the mel spectrogram (needs matplotlib).",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no summary, errors only.")
    ] = False,
) -> None:
    """Make sound from a text with AudioLDM, or change a sound by a text."""
    if init_audio is not None and seconds is not None:
        raise typer.BadParameter("the sound has the length of --init-audio", param_hint="--seconds")
    if init_audio is None and strength is not None:
        raise typer.BadParameter("needs --init-audio", param_hint="--strength")
    if not prompt.strip():
        _fail("the prompt is empty")
    options = SoundOptions(
        prompt,
        model,
        output,
        seconds=seconds,
        steps=steps,
        guidance=guidance,
        negative=negative,
        scheduler=None if scheduler is None else scheduler.value,
        seed=seed,
        init_audio=init_audio,
        strength=0.5 if strength is None else strength,
        count=count,
        dtype=dtype.value,
        device=device,
        threads=threads,
        plot=plot,
        quiet=quiet,
    )
    for target in (*options.outputs, *([] if plot is None else [plot])):
        if init_audio is not None and target.resolve() == init_audio.resolve():
            _fail(f"{target} is the input and would be overwritten")
        if target.exists() and not force:
            _fail(f"{target} exists (--force overwrites)")
    from vivace.cli.sound import generate

    try:
        summary = generate(options)
    except Exception as error:  # whatever is wrong: one line, not a traceback
        _fail(error)
    if not quiet:
        typer.echo(summary)


def _fail(error: Exception | str) -> NoReturn:
    message = " ".join(str(error).split()) or type(error).__name__
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1) from None
