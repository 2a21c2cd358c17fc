"""The work of `vivace bark`: the model, the audio to its file or stdout, progress, the summary."""

from __future__ import annotations

import difflib
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer
from torch import Tensor

from vivace import audio
from vivace.cli.stage_bars import StageBars
from vivace.hub import Source
from vivace.models.bark import BarkModel, BarkProcessor, voices
from vivace.models.bark.processor import SPEAKER_EMBEDDINGS_NAME

if TYPE_CHECKING:
    from vivace.cli.speech_options import SpeechOptions

__all__ = ["list_voices", "speak"]

_VOICE_FRAMES = 512  # of a voice no stage reads more


class _Said:
    """What was said last, as far back as a voice reaches."""

    def __init__(self) -> None:
        self._sentences: list[dict[str, Tensor]] = []

    def add(self, tokens: dict[str, Tensor]) -> None:
        """The tokens of another sentence."""
        self._sentences.append(tokens)
        while sum(each["fine_prompt"].shape[1] for each in self._sentences[1:]) >= _VOICE_FRAMES:
            del self._sentences[0]

    def voice(self) -> dict[str, Tensor]:
        """The tokens of the last sentences, joined. Raises ValueError if nothing was said."""
        if not any(tokens["fine_prompt"].numel() for tokens in self._sentences):
            raise ValueError("the model said nothing: try another seed, or --min-eos-p 0")
        first = self._sentences[0]
        return {key: torch.cat([each[key] for each in self._sentences], dim=-1) for key in first}


def speak(options: SpeechOptions) -> str:
    """Says the text of a request and returns a line about it.

    Raises ValueError and OSError, with messages for the user, and what the library raises.
    """
    voice_file = options.save_voice and voices.npz_path(options.save_voice)
    if voice_file is not None and voice_file.exists() and not options.force:
        raise ValueError(f"{voice_file} exists (--force overwrites)")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    processor = _processor(options.model)
    history = _history(processor, options)
    sentences = processor.split(options.text)
    model = _model(options)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    rate: int = model.generation_config.sample_rate
    hidden = options.quiet or not sys.stderr.isatty()
    start = time.perf_counter()
    samples, first, said = 0, 0.0, _Said()
    with ExitStack() as stack:
        bars = stack.enter_context(StageBars(hidden))
        sinks = list(_sinks(options, rate, stack))
        pieces = model.stream_long(
            sentences,
            processor,
            voice_preset=history,
            silence_s=options.silence_s,
            continue_from=options.continue_from,
            seed=seed,
            on_sentence=bars.sentence,
            on_tokens=said.add,
            progress=bars,
            **options.sampling,
        )
        for piece in pieces:
            for sink in sinks:
                sink(piece)
            first = first if samples else time.perf_counter() - start
            samples += len(piece)
        voice = said.voice()
        # Before the audio gets its name, so that a failure leaves neither.
        if voice_file is not None:
            voice_file.parent.mkdir(parents=True, exist_ok=True)
            voices.save_voice(voice_file, voice)
    seconds, elapsed = samples / rate, time.perf_counter() - start
    parts = [
        f"{options.output or 'stdout'}",
        f"{seconds:.2f} s of audio in {elapsed:.2f} s",
        f"real-time factor {elapsed / seconds:.3f}",
        f"first audio after {first:.2f} s",
        f"seed {seed}",
    ]
    return "  ".join(parts)


def list_voices(model: str) -> list[str]:
    """The names of the voices of a model, in the order of their numbers."""
    return voices.list_voices(_processor(model))


def _processor(model: str) -> BarkProcessor:
    try:
        # Without voices `from_pretrained` warns, unless it is told that none are wanted.
        listed = Source(model).find(SPEAKER_EMBEDDINGS_NAME)
        return BarkProcessor.from_pretrained(model, None if listed is None else listed.name)
    except Exception as error:
        raise ValueError(f"cannot use the model {model}: {error}") from error


def _model(options: SpeechOptions) -> BarkModel:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model: BarkModel = BarkModel.from_pretrained(
            options.model,
            dtype=getattr(torch, options.dtype),
            device_map=device,
            quantize=options.quantize,
        )
    except Exception as error:
        raise ValueError(f"cannot use the model {options.model}: {error}") from error
    model.generation_config.semantic_config.min_eos_p = options.min_eos_p or None
    return model.eval()


def _history(processor: BarkProcessor, options: SpeechOptions) -> Any:
    """The voice's tokens, read before the model is: a wrong name is told at once."""
    name = options.voice
    if name is None:
        return None
    known = processor.available_voice_presets
    if name not in known and not voices.npz_path(name).is_file():
        # The part after the last slash is what people remember.
        short = {each.rpartition("/")[2]: each for each in known}
        close = difflib.get_close_matches(name, known, 3, 0.6)
        close += [short[each] for each in difflib.get_close_matches(name, short, 3, 0.6)]
        hint = f"; close: {', '.join(dict.fromkeys(close))}" if close else ""
        raise ValueError(
            f"{options.model} has no voice {name!r}, and there is no such .npz file{hint}"
        )
    return dict(processor("", voice_preset=name)["history_prompt"])


def _sinks(
    options: SpeechOptions, rate: int, stack: ExitStack
) -> Iterator[Callable[[Tensor], None]]:
    """Where the audio goes, the listener first."""
    if options.stream:
        stdout = typer.get_binary_stream("stdout")

        def send(piece: Tensor) -> None:
            stdout.write(audio.to_pcm16(piece).astype("<i2").tobytes())
            stdout.flush()

        yield send
    if options.output is not None:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
        yield stack.enter_context(audio.writer(options.output, rate))
