"""Tokens, draws and audio of `BarkModel.generate` against transformers, stage by stage."""

from typing import Any

import pytest
import torch

from tests.models.bark.helpers import history, stage_settings

SAMPLED = {"do_sample": True, "temperature": 0.8}
GREEDY = {"do_sample": False}


def text(batch: int = 1) -> torch.Tensor:
    return torch.randint(0, 100_000, (batch, 256))


def both(oracle: Any, model: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The results of both from one seed; asserts that both leave the generator alike."""
    results, states = [], []
    for each in (oracle, model):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            results.append(each(*args, **kwargs))
            states.append(torch.get_rng_state())
    assert torch.equal(*states)
    return results[0], results[1]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("voice", [None, (158, 237), (309, 464)])
@pytest.mark.parametrize("mode", [SAMPLED, GREEDY], ids=["sampled", "greedy"])
def test_semantic_tokens(
    oracle: Any, model: Any, mode: dict[str, Any], voice: tuple[int, int] | None, batch: int
) -> None:
    prompt = None if voice is None else history(*voice)
    kwargs = {**mode, "max_new_tokens": 30, "history_prompt": prompt}
    config = {"semantic_generation_config": stage_settings()["semantic_generation_config"]}
    ids = text(batch)
    mask = (torch.arange(256) < torch.tensor([[40], [256], [1]][:batch])).long()
    theirs, ours = both(
        oracle.semantic.generate,
        model.semantic.generate,
        ids,
        attention_mask=mask,
        **kwargs,
        **config,
    )
    assert torch.equal(theirs, ours)


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 5},
        {"top_p": 0.6},
        {"min_p": 0.3},
        {"top_k": 0, "temperature": 1.7},
        {"top_k": 3, "top_p": 0.9, "min_eos_p": 1e-4},
    ],
)
def test_semantic_processors(oracle: Any, model: Any, settings: dict[str, Any]) -> None:
    config = {"semantic_generation_config": stage_settings()["semantic_generation_config"]}
    kwargs = {**SAMPLED, "max_new_tokens": 40, **settings, **config}
    theirs, ours = both(oracle.semantic.generate, model.semantic.generate, text(2), **kwargs)
    assert torch.equal(theirs, ours)


def test_rows_that_end_early(oracle: Any, model: Any) -> None:
    """Rows of different lengths: filled with the end token, which the longest row ends with."""
    config = {"semantic_generation_config": stage_settings()["semantic_generation_config"]}
    kwargs = {**SAMPLED, "max_new_tokens": 300, "min_eos_p": 3e-5, **config}
    theirs, ours = both(oracle.semantic.generate, model.semantic.generate, text(4), **kwargs)
    assert torch.equal(theirs, ours)
    lengths = (ours != 10_000).sum(1)
    assert len(set(lengths.tolist())) > 1
    assert ours.shape[1] < 200


@pytest.mark.parametrize("voice", [None, (158, 237), (309, 464), (7, 9)])
@pytest.mark.parametrize("mode", [SAMPLED, GREEDY], ids=["sampled", "greedy"])
def test_coarse_tokens(
    oracle: Any, model: Any, mode: dict[str, Any], voice: tuple[int, int] | None
) -> None:
    prompt = None if voice is None else history(*voice)
    config = stage_settings()
    del config["fine_generation_config"]
    semantic = torch.randint(0, 10_000, (2, 75))
    semantic[1, 60:] = 10_000
    kwargs = {**mode, **config, "history_prompt": prompt, "return_output_lengths": True}
    (theirs, their_lengths), (ours, lengths) = both(
        oracle.coarse_acoustics.generate,
        model.coarse_acoustics.generate,
        semantic.clone(),
        **kwargs,
    )
    assert torch.equal(their_lengths, lengths)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(theirs[row, :length], ours[row, :length])
        assert (ours[row, length:] == 12_048).all()
    assert (semantic[1, 60:] == 10_000).all()


def test_windows_continue_without_a_prefill(
    oracle: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten windows, one prefill, transformers' tokens: nothing slides before 630 tokens."""
    config = stage_settings()
    del config["fine_generation_config"]
    prefills = []
    original = model.coarse_acoustics.prefill
    monkeypatch.setattr(
        model.coarse_acoustics,
        "prefill",
        lambda *args: prefills.append(args[0].shape[1]) or original(*args),
    )
    semantic = torch.randint(0, 10_000, (1, 240))
    kwargs = {**SAMPLED, **config}
    theirs, ours = both(
        oracle.coarse_acoustics.generate, model.coarse_acoustics.generate, semantic, **kwargs
    )
    assert torch.equal(theirs, ours)
    assert ours.shape[1] == 720
    assert prefills == [257, 257 + 630]


@pytest.mark.parametrize("temperature", [None, 1.0, 0.5])
@pytest.mark.parametrize("voice", [None, (50, 600)])
@pytest.mark.parametrize("frames", [3, 700])
def test_fine_codes(
    oracle: Any, model: Any, frames: int, voice: tuple[int, int] | None, temperature: float | None
) -> None:
    prompt = None if voice is None else history(*voice)
    books = torch.randint(0, 1024, (2, frames, 2)) + torch.tensor([10_000, 11_024])
    kwargs = {**stage_settings(temperature), "history_prompt": prompt}
    theirs, ours = both(
        oracle.fine_acoustics.generate, model.fine_acoustics.generate, books.view(2, -1), **kwargs
    )
    assert torch.equal(theirs, ours)


@pytest.mark.parametrize("voice", [None, (309, 464)])
def test_audio_of_a_whole_call(oracle: Any, model: Any, voice: tuple[int, int] | None) -> None:
    prompt = None if voice is None else history(*voice)
    kwargs = {
        **SAMPLED,
        "semantic_max_new_tokens": 30,
        "coarse_temperature": 0.6,
        "fine_temperature": 0.4,
        "history_prompt": prompt,
        "return_output_lengths": True,
    }
    (theirs, their_lengths), (ours, lengths) = both(
        oracle.generate, model.generate, text(2), **kwargs
    )
    assert their_lengths == lengths
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_an_entirely_greedy_call(oracle: Any, model: Any) -> None:
    kwargs = {"do_sample": False, "temperature": 1.0, "semantic_max_new_tokens": 20}
    theirs, ours = both(oracle.generate, model.generate, text(), **kwargs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_settings_of_the_file_are_used(oracle: Any, model: Any) -> None:
    """Without arguments: greedy stages, a fine stage that samples at the file's 0.5."""
    assert model.generation_config.fine_acoustics_config.temperature == 0.5
    kwargs = {"semantic_max_new_tokens": 12}
    theirs, ours = both(oracle.generate, model.generate, text(), **kwargs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
