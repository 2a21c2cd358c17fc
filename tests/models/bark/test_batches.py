"""Batches: a row gets what it gets alone, whatever its voice, its length and its neighbours."""

from typing import Any

import pytest
import torch

from tests.models.bark.helpers import history


def text(batch: int) -> torch.Tensor:
    return torch.randint(0, 100_000, (batch, 256))


def generate(model: Any, ids: torch.Tensor, voices: Any, **kwargs: Any) -> Any:
    kwargs = {"semantic_max_new_tokens": 90, "min_eos_p": 1e-4, "fine_temperature": None, **kwargs}
    return model.generate(ids, voices, return_output_lengths=True, return_tokens=True, **kwargs)


@pytest.fixture
def voices() -> list[Any]:
    return [history(158, 237), None, history(400, 700), history(20, 30)]


@pytest.mark.parametrize("sampled", [False, True])
def test_a_row_is_its_solo_run(model: Any, voices: list[Any], sampled: bool) -> None:
    """Voices of different lengths, texts that end at different times; one seed per row."""
    ids = text(4)
    settings = {
        "do_sample": sampled,
        "temperature": 0.9 if sampled else 1.0,
        "fine_temperature": 0.6,
    }
    if not sampled:
        settings["fine_temperature"] = None
    audio, lengths, tokens = generate(model, ids, voices, seed=[1, 2, 3, 4], **settings)
    assert len(set(lengths)) > 1
    for row in range(4):
        alone, length, own = generate(
            model, ids[row : row + 1], [voices[row]], seed=[row + 1], **settings
        )
        assert length == [lengths[row]]
        for key, value in own[0].items():
            assert torch.equal(value, tokens[row][key]), (row, key)
        torch.testing.assert_close(audio[row, : length[0]], alone[0], rtol=0, atol=1e-5)
        assert not audio[row, length[0] :].any()


def test_one_voice_for_all_is_a_list_of_it(model: Any) -> None:
    ids, voice = text(2), history(100, 150)
    kwargs = {"do_sample": True, "seed": 5}
    one = generate(model, ids, voice, **kwargs)
    listed = generate(model, ids, [voice, voice], **kwargs)
    assert torch.equal(one[0], listed[0])


def test_a_seed_is_its_generator(model: Any) -> None:
    ids = text(2)
    by_seed = generate(model, ids, None, do_sample=True, seed=11)
    before = torch.get_rng_state()
    by_generator = generate(
        model, ids, None, do_sample=True, generator=torch.Generator().manual_seed(11)
    )
    assert torch.equal(by_seed[0], by_generator[0])
    assert torch.equal(before, torch.get_rng_state())
    other = generate(model, ids, None, do_sample=True, seed=12)
    assert by_seed[0].shape != other[0].shape or not torch.equal(by_seed[0], other[0])


def test_num_return_sequences_repeats_every_row(model: Any) -> None:
    ids = text(2)
    kwargs = {"do_sample": True, "attention_mask": torch.ones_like(ids)}
    seeds = [1, 2, 3, 4]
    repeated = generate(model, ids, None, num_return_sequences=2, seed=seeds, **kwargs)
    kwargs["attention_mask"] = kwargs["attention_mask"].repeat_interleave(2, 0)
    spelled = generate(model, ids.repeat_interleave(2, 0), None, seed=seeds, **kwargs)
    assert torch.equal(repeated[0], spelled[0])


def test_tokens_are_a_voice(model: Any) -> None:
    """What a call returns may be the history of the next, and has its shapes."""
    *_, tokens = generate(model, text(1), history(30, 45), do_sample=True, seed=3)
    spoken = tokens[0]
    frames = spoken["fine_prompt"].shape[1]
    assert spoken["coarse_prompt"].shape == (2, frames)
    assert torch.equal(spoken["coarse_prompt"], spoken["fine_prompt"][:2])
    assert int(spoken["semantic_prompt"].max()) < 10_000
    audio, lengths, _ = generate(model, text(1), spoken, do_sample=True, seed=4)
    assert lengths == [audio.shape[1]]


def test_a_row_that_says_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end token first: no audio for that row, and no error, alone or in a batch."""
    empty = torch.tensor([[10_000]])
    monkeypatch.setattr(model.semantic, "generate", lambda *args, **kwargs: empty)
    audio, lengths = model.generate(text(1), return_output_lengths=True)
    assert audio.shape == (1, 0)
    assert lengths == [0]
    assert list(model.stream(text(1))) == []
    two = torch.tensor([[10_000, 10_000, 10_000], [5, 6, 7]])
    monkeypatch.setattr(model.semantic, "generate", lambda *args, **kwargs: two)
    audio, lengths = model.generate(text(2), return_output_lengths=True)
    assert lengths == [0, audio.shape[1]]
    assert audio.shape[1] == 320 * 4


def test_more_rows_than_a_kernel_takes(model: Any) -> None:
    ids = text(10)
    kwargs = {"semantic_max_new_tokens": 8, "min_eos_p": None}
    audio, lengths, _ = generate(model, ids, None, **kwargs)
    for row in (0, 9):
        alone, length, _ = generate(model, ids[row : row + 1], None, **kwargs)
        assert length == [lengths[row]]
        torch.testing.assert_close(audio[row, : length[0]], alone[0], rtol=0, atol=1e-5)
