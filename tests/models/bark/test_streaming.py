"""Streams are the whole result in pieces: the same samples, the same draws, the same tokens."""

from typing import Any

import pytest
import torch

from tests.models.bark.helpers import history

SAMPLED = {"do_sample": True, "temperature": 0.9, "fine_temperature": 0.6}


def text() -> torch.Tensor:
    return torch.randint(0, 100_000, (1, 256))


@pytest.mark.parametrize(
    "settings", [SAMPLED, {"fine_temperature": None}], ids=["sampled", "greedy"]
)
@pytest.mark.parametrize(
    ("voice", "tokens", "pieces"), [(None, 9, 1), ((400, 700), 120, 1), ((400, 700), 500, 2)]
)
def test_pieces_are_the_whole(
    model: Any,
    settings: dict[str, Any],
    voice: tuple[int, int] | None,
    tokens: int,
    pieces: int,
) -> None:
    prompt = None if voice is None else history(*voice)
    kwargs = {**settings, "semantic_max_new_tokens": tokens}
    ids = text()
    torch.manual_seed(3)
    whole, spoken = model.generate(ids, prompt, return_tokens=True, **kwargs)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    stream = model.stream(ids, prompt, **kwargs)
    streamed = list(stream)
    assert len(streamed) == pieces
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(torch.cat(streamed), whole[0], rtol=0, atol=1e-5)
    for key, value in spoken[0].items():
        assert torch.equal(value, stream.tokens[0][key])


def test_the_first_piece_comes_before_the_last_coarse_token(model: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    stream = model.stream(
        text(),
        history(400, 700),
        semantic_max_new_tokens=500,
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    first = next(stream)
    assert [each[1:] for each in seen if each[0] == "fine"] == [(i, 12) for i in range(1, 7)]
    # 512 frames of history and 751 new ones: the last window of 1024 fills the last 512.
    assert first.shape == (320 * (512 + 751 - 512 - 512),)
    stage, done, total = [each for each in seen if each[0] == "coarse"][-1]
    assert stage == "coarse"
    assert done < total
    stream.close()
    assert list(stream) == []


def test_a_streamer_gets_the_pieces(model: Any) -> None:
    class Streamer:
        pieces: list[torch.Tensor]
        ended = 0

        def __init__(self) -> None:
            self.pieces = []

        def put(self, audio: torch.Tensor) -> None:
            self.pieces.append(audio)

        def end(self) -> None:
            self.ended += 1

    streamer, ids = Streamer(), text()
    kwargs = {**SAMPLED, "semantic_max_new_tokens": 10}
    audio, lengths = model.generate(
        ids, seed=1, streamer=streamer, return_output_lengths=True, **kwargs
    )
    assert streamer.ended == 1
    assert torch.equal(torch.cat(streamer.pieces), audio[0])
    torch.testing.assert_close(model.generate(ids, seed=1, **kwargs), audio, rtol=0, atol=1e-5)
    assert lengths == [audio.shape[1]]


def test_only_one_row_streams(model: Any) -> None:
    with pytest.raises(ValueError, match=r"one text at a time, got \(2, 256\)"):
        model.stream(torch.zeros(2, 256, dtype=torch.long))


class Processor:
    """Three sentences and their ids; what `generate_long` asks of a processor."""

    def __init__(self, voice: Any = None) -> None:
        self.voice = voice
        self.asked: list[str] = []

    def split(self, text: str) -> list[str]:
        return [part for part in text.split("|") if part]

    def __call__(self, text: str, voice_preset: Any = None) -> dict[str, Any]:
        self.asked.append(text)
        ids = torch.tensor([[len(text), *[0] * 255]])
        inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
        return inputs if self.voice is None else {**inputs, "history_prompt": self.voice}


@pytest.mark.parametrize("voiced", [True, False])
def test_long_texts(model: Any, voiced: bool) -> None:
    """Sentence by sentence, with silence between, each continuing the voice."""
    voice = history(50, 75) if voiced else None
    processor = Processor(voice)
    kwargs = {**SAMPLED, "semantic_max_new_tokens": 12}
    told: list[tuple[int, int, str]] = []
    spoken_tokens: list[dict[str, torch.Tensor]] = []
    audio = model.generate_long(
        "one|two|three",
        processor,
        silence_s=0.1,
        seed=8,
        on_sentence=lambda *args: told.append(args),
        on_tokens=spoken_tokens.append,
        **kwargs,
    )
    assert told == [(0, 3, "one"), (1, 3, "two"), (2, 3, "three")]
    generator = torch.Generator().manual_seed(8)
    pieces, history_prompt = [], voice
    for sentence in ("one", "two", "three"):
        inputs = processor(sentence)
        inputs["history_prompt"] = history_prompt
        spoken, tokens = model.generate(**inputs, generator=generator, return_tokens=True, **kwargs)
        history_prompt = tokens[0] if history_prompt is None else history_prompt
        pieces += [spoken[0], torch.zeros(2400)]
    torch.testing.assert_close(audio, torch.cat(pieces[:-1]), rtol=0, atol=1e-5)
    assert len(spoken_tokens) == 3
    assert torch.equal(spoken_tokens[2]["fine_prompt"], tokens[0]["fine_prompt"])


def test_long_texts_may_continue_the_sentence_before(model: Any) -> None:
    kwargs = {**SAMPLED, "semantic_max_new_tokens": 12, "silence_s": 0.0, "seed": 8}
    voices: list[Any] = []
    original = model.stream
    model.stream = lambda ids, history, **options: (
        voices.append(history) or original(ids, history, **options)
    )
    try:
        model.generate_long(["a", "bb", "ccc"], Processor(), continue_from="previous", **kwargs)
    finally:
        del model.stream
    assert voices[0] is None
    assert not torch.equal(voices[1]["semantic_prompt"], voices[2]["semantic_prompt"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": " "}, "nothing to speak"),
        ({"text": []}, "nothing to speak"),
        ({"text": "a", "silence_s": -1.0}, "silence_s must be >= 0"),
        ({"text": "a", "continue_from": "x"}, "continue_from must be one of"),
        ({"text": "a", "seed": 1, "generator": torch.Generator()}, "either seed or generator"),
    ],
)
def test_long_texts_refuse(model: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.generate_long(processor=Processor(), **arguments)
