"""Texts of any length: sentence by sentence, in one voice, as one waveform.

A window of Bark speaks about 13 seconds, so a text is split where sentences end. Every sentence
continues the same voice: the preset that was given, or else the first sentence's own tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

CONTINUE = ("voice", "previous")


def stream_long(
    model: Any,
    text: str | Sequence[str],
    processor: Any,
    *,
    voice_preset: Any = None,
    silence_s: float = 0.25,
    continue_from: str = "voice",
    seed: int | None = None,
    generator: torch.Generator | None = None,
    on_sentence: Callable[[int, int, str], None] | None = None,
    on_tokens: Callable[[dict[str, Tensor]], None] | None = None,
    **kwargs: Any,
) -> Iterator[Tensor]:
    """Pieces of audio (L,) of a text, or of a list of sentences that are spoken as they are given.

    voice_preset: as `BarkProcessor` takes it. silence_s: seconds of zeros between two sentences.
    continue_from: "voice" has every sentence continue the preset (without one: the first sentence),
    "previous" the sentence before it, which lets the intonation flow and the voice drift. seed or
    generator: for all sentences in turn. on_sentence: called with the number of sentences that are
    done, the number of all, and the one that begins. on_tokens: called with each sentence's tokens,
    which may be a voice, when it has been spoken. Other keywords as in `BarkModel.generate`.
    Raises ValueError for an empty text, a negative silence or an unknown continue_from.
    """
    if continue_from not in CONTINUE:
        raise ValueError(
            f"generate_long: continue_from must be one of {CONTINUE}, got {continue_from!r}"
        )
    if not silence_s >= 0.0:
        raise ValueError(f"generate_long: silence_s must be >= 0, got {silence_s}")
    if seed is not None and generator is not None:
        raise ValueError("generate_long: pass either seed or generator, got both")
    sentences = processor.split(text) if isinstance(text, str) else list(text)
    if not sentences or not all(isinstance(s, str) and s.strip() for s in sentences):
        raise ValueError("generate_long: the text holds nothing to speak")
    if seed is not None:
        generator = torch.Generator(model.device).manual_seed(seed)
    options = {"generator": generator, **kwargs}
    return _sentences(
        model,
        sentences,
        processor,
        voice_preset,
        silence_s,
        continue_from,
        on_sentence or _nothing,
        on_tokens or _nothing,
        options,
    )


def _nothing(*_: Any) -> None:
    pass


def _sentences(
    model: Any,
    sentences: list[str],
    processor: Any,
    voice_preset: Any,
    silence_s: float,
    continue_from: str,
    on_sentence: Callable[[int, int, str], None],
    on_tokens: Callable[[dict[str, Tensor]], None],
    options: dict[str, Any],
) -> Iterator[Tensor]:
    pause = round(silence_s * model.generation_config.sample_rate)
    history: Any = None
    for index, sentence in enumerate(sentences):
        on_sentence(index, len(sentences), sentence)
        inputs = processor(sentence, voice_preset=voice_preset if history is None else None)
        history = inputs.get("history_prompt") if history is None else history
        if index and pause:
            yield torch.zeros(pause, dtype=model.dtype, device=model.device)
        stream = model.stream(
            inputs["input_ids"], history, attention_mask=inputs["attention_mask"], **options
        )
        yield from stream
        spoken = stream.tokens[0]
        on_tokens(spoken)
        if history is None or continue_from == "previous":
            # Nothing was said: there is no voice in it.
            history = spoken if len(spoken["semantic_prompt"]) else history
