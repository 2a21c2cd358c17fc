"""`vivace bark`: text to speech, and the list of voices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from vivace.cli import speech_options as checks
from vivace.cli.dac import Dtype
from vivace.cli.speech_options import DEFAULT_MODEL, Model, SpeechOptions, StageTemperature

__all__ = ["speak", "voices"]

DEFAULT_OUTPUT = Path("bark.wav")


def speak(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT", help="What to say. Without it, or with -, it is read from stdin."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="TXT", exists=True, dir_okay=False, help="Say what this file holds."),
    ] = None,
    model: Model = DEFAULT_MODEL,
    voice: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_NPZ", help="A voice of the model, or a file.  [default: a random one]"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            dir_okay=False,
            callback=checks.audio_file,
            help=f"Audio file to write, by its suffix.  [default: {DEFAULT_OUTPUT}]",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Write raw audio to stdout as it is made: 16-bit little-endian, mono, 24 kHz. "
            "A file is written only with -o.",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**64 - 1, metavar="N", help="Same seed, same audio.  [default: drawn]"
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T", callback=checks.temperature, help="Of all stages.  [default: the model's]"
        ),
    ] = None,
    semantic_temperature: StageTemperature = None,
    coarse_temperature: StageTemperature = None,
    fine_temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T|none",
            parser=checks.fine_temperature,
            help="Of this stage alone; none or 1.0: the likeliest codes.",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=0, metavar="K", help="Draw from the K likeliest.  [default: the model's]"),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            callback=checks.nucleus,
            help="Draw from the likeliest that add up to P.  [default: the model's]",
        ),
    ] = None,
    min_eos_p: Annotated[
        float,
        typer.Option(
            metavar="P",
            callback=checks.probability,
            help="End where an end is this likely; 0: off.",
        ),
    ] = 0.2,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Take the likeliest tokens, draw nothing.")
    ] = False,
    dtype: Annotated[Dtype, typer.Option(help="What the model computes in.")] = Dtype.float32,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: a GPU if there is one.")
    ] = "auto",
    quantize: Annotated[
        checks.Quantize | None, typer.Option(help="Round the weights that every token reads.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads.")] = None,
    silence: Annotated[
        float,
        typer.Option(metavar="S", callback=checks.seconds, help="Seconds between two sentences."),
    ] = 0.25,
    continue_from: Annotated[
        checks.ContinueFrom,
        typer.Option(help="What a sentence goes on from: the voice, or the one before it."),
    ] = checks.ContinueFrom.voice,
    save_voice: Annotated[
        Path | None,
        typer.Option(
            metavar="NPZ", dir_okay=False, help="Keep the voice of the speech for --voice."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no summary, errors only.")
    ] = False,
) -> None:
    """Speak a text of any length with Bark.

    A long text is spoken sentence by sentence, in one voice.

    `vivace bark voices` lists the voices of a model. (`vivace bark -- voices` says "voices".)
    """
    stages = {
        "temperature": temperature,
        "semantic_temperature": semantic_temperature,
        "coarse_temperature": coarse_temperature,
        "fine_temperature": fine_temperature,
    }
    sampling: dict[str, Any] = {k: v for k, v in stages.items() if v is not None}
    if greedy and sampling:
        wrong = next(iter(sampling)).replace("_", "-")
        raise typer.BadParameter("greedy draws nothing", param_hint=f"--{wrong}")
    if greedy:
        sampling["fine_temperature"] = 1.0
    choices = {"do_sample": not greedy, "top_k": top_k, "top_p": top_p}
    sampling |= {k: v for k, v in choices.items() if v is not None}
    if stream and _is_terminal(sys.stdout):
        raise typer.BadParameter("stdout is a terminal: pipe it", param_hint="--stream")
    words = _text(text, file)
    if output is None and not stream:
        output = DEFAULT_OUTPUT
    if output is not None and output.exists() and not force:
        _fail(f"{output} exists (--force overwrites)")
    options = SpeechOptions(
        words,
        model,
        voice,
        output,
        stream=stream,
        force=force,
        quiet=quiet,
        seed=seed,
        min_eos_p=min_eos_p,
        dtype=dtype.value,
        device=device,
        quantize=None if quantize is None else quantize.value,
        threads=threads,
        silence_s=silence,
        continue_from=continue_from.value,
        save_voice=save_voice,
        sampling=sampling,
    )
    from vivace.cli.speech import speak

    try:
        summary = speak(options)
    except BrokenPipeError:  # whoever listened has left: typer ends the process without a word
        raise
    except Exception as error:  # whatever is wrong: one line, not a traceback
        _fail(error)
    if not quiet:
        typer.echo(summary, err=stream)


def voices(model: Model = DEFAULT_MODEL) -> None:
    """List the voices of a Bark, one per line."""
    from vivace.cli.speech import list_voices

    try:
        names = list_voices(model)
    except Exception as error:  # whatever is wrong with the model: one line, not a traceback
        _fail(error)
    if not names:
        typer.echo(f"{model} has no voices", err=True)
    for name in names:
        typer.echo(name)


def _text(text: str | None, file: Path | None) -> str:
    """The argument, the file or stdin, as UTF-8. Ends the command if there is nothing to say."""
    if file is not None and text is not None:
        raise typer.BadParameter("there is a TEXT already", param_hint="--file")
    if file is None and text is None and _is_terminal(sys.stdin):
        raise typer.BadParameter("give a text, --file, or pipe one", param_hint="TEXT")
    if file is not None or text in (None, "-"):
        data = typer.get_binary_stream("stdin").read() if file is None else file.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            _fail(f"{file or 'stdin'} is not UTF-8 text: {error}")
    assert text is not None
    if not text.strip():
        _fail("the text is empty")
    return text


def _is_terminal(stream: Any) -> bool:
    """Of a standard stream; one that was closed counts, because nothing can come or go there."""
    return stream is None or bool(stream.isatty())


def _fail(error: Exception | str) -> NoReturn:
    message = " ".join(str(error).split()) or type(error).__name__
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1) from None
