"""Bad input: the argument, what was expected and what came."""

from typing import Any

import pytest
import torch

from tests.models.bark.helpers import history, stage_settings


def ids(batch: int = 1, length: int = 256) -> torch.Tensor:
    return torch.zeros(batch, length, dtype=torch.long)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "input_ids must be given"),
        ({"input_ids": ids().float()}, r"input_ids must be integers of shape \(B, T\), got"),
        ({"input_ids": ids()[0]}, r"input_ids must be integers of shape \(B, T\), got"),
        ({"input_ids": ids() - 1}, r"input_ids must be in \[0, 119547\), got -1..-1"),
        ({"input_ids": ids() + 119_547}, r"input_ids must be in \[0, 119547\), got 119547"),
        ({"input_ids": ids(), "attention_mask": ids(1, 5)}, r"attention_mask must have shape"),
        ({"input_ids": ids(), "tempreature": 1.0}, r"not used: \['tempreature'\]"),
        ({"input_ids": ids(), "num_beams": 4}, "num_beams can only be 1, got 4"),
        ({"input_ids": ids(), "num_return_sequences": 0}, "num_return_sequences must be"),
        ({"input_ids": ids(), "do_sample": True, "temperature": 0.0}, "temperature must be > 0"),
        ({"input_ids": ids(), "fine_temperature": -1.0}, "temperature must be > 0 or None"),
        ({"input_ids": ids(), "top_p": 1.5}, r"top_p in \(0, 1\]"),
        ({"input_ids": ids(), "top_k": -1}, "top_k must be >= 0"),
        ({"input_ids": ids(), "min_eos_p": -0.1}, r"min_eos_p must be >= 0"),
        ({"input_ids": ids(), "max_new_tokens": 0}, "max_new_tokens must be an integer >= 1"),
        ({"input_ids": ids(), "coarse_max_new_tokens": 6}, "use semantic_max_new_tokens"),
        ({"input_ids": ids(), "seed": 1, "generator": torch.Generator()}, "either seed or"),
        ({"input_ids": ids(2), "seed": [1]}, "one for each of 2 rows, got 1"),
        ({"input_ids": ids(2), "history_prompt": [None]}, r"one prompt per row \(2\), got 1"),
    ],
)
def test_generate_refuses(model: Any, arguments: dict[str, Any], message: str) -> None:
    arguments = {"semantic_max_new_tokens": 3, **arguments}
    if "max_new_tokens" in arguments:
        del arguments["semantic_max_new_tokens"]
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("semantic_prompt", None, ValueError, "missing 'semantic_prompt'"),
        ("semantic_prompt", torch.rand(4), TypeError, "semantic_prompt must hold integers"),
        ("semantic_prompt", [1, 2], TypeError, "semantic_prompt must be an array of integers"),
        ("semantic_prompt", torch.full((4,), 10_001), ValueError, r"ids in \[0, 10000\]"),
        ("coarse_prompt", torch.zeros(4).long(), ValueError, "coarse_prompt must have 2 dim"),
        ("coarse_prompt", torch.full((2, 4), 1024), ValueError, r"codes in \[0, 1024\)"),
        ("fine_prompt", torch.zeros(7, 4).long(), ValueError, r"fine_prompt must be \(8, T\)"),
    ],
)
def test_voices_are_checked(
    model: Any, key: str, value: Any, error: type[Exception], message: str
) -> None:
    voice: dict[str, Any] = history(30, 45)
    if value is None:
        del voice[key]
    else:
        voice[key] = value
    with pytest.raises(error, match=message):
        model.generate(ids(), voice, semantic_max_new_tokens=3)


def test_voices_of_any_integers(model: Any) -> None:
    """suno's own files hold uint16, int32 and int64."""
    voice = history(30, 45)
    kwargs = {"semantic_max_new_tokens": 3, "seed": 1}
    expected = model.generate(ids(), voice, **kwargs)
    for kind in ("uint16", "int32", "int64"):
        arrays = {key: value.numpy().astype(kind) for key, value in voice.items()}
        assert torch.equal(model.generate(ids(), arrays, **kwargs), expected)


def test_long_ids_are_cut_with_a_warning(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    text = torch.randint(0, 1000, (1, 300))
    kwargs = {"semantic_max_new_tokens": 3, "seed": 1}
    cut = model.generate(text, **kwargs)
    assert "more than 256 tokens" in caplog.text
    assert torch.equal(cut, model.generate(text[:, :256], **kwargs))


def test_short_ids_are_padded(model: Any) -> None:
    """As if the processor had padded them and masked the padding."""
    text = torch.randint(0, 1000, (1, 20))
    padded = torch.nn.functional.pad(text, (0, 236))
    mask = (torch.arange(256) < 20)[None].long()
    kwargs = {"semantic_max_new_tokens": 3, "seed": 1}
    expected = model.generate(padded, attention_mask=mask, **kwargs)
    assert torch.equal(model.generate(text, **kwargs), expected)


def test_more_tokens_than_fit(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The window holds 768 new tokens: more are not made, and nothing fails."""
    config = stage_settings()["semantic_generation_config"]
    tokens = model.semantic.generate(ids(), config, max_new_tokens=900)
    assert tokens.shape == (1, 768)
    assert "768 are made" in caplog.text


@pytest.mark.parametrize("stage", ["semantic", "coarse_acoustics", "fine_acoustics"])
def test_stages_want_their_configuration(model: Any, stage: str) -> None:
    with pytest.raises(ValueError, match="has to be provided"):
        getattr(model, stage).generate(ids())


def test_forwards_refuse(model: Any) -> None:
    with pytest.raises(NotImplementedError, match="no forward"):
        model(ids())
    with pytest.raises(NotImplementedError, match="pass no labels"):
        model.semantic(ids(), labels=ids())
    with pytest.raises(ValueError, match="got both"):
        model.semantic(ids(), inputs_embeds=torch.zeros(1, 1, 32))
    with pytest.raises(ValueError, match="got neither"):
        model.semantic()
    with pytest.raises(ValueError, match="1025 tokens exceed block_size=1024"):
        model.semantic(ids(1, 1025))
    with pytest.raises(ValueError, match="Cannot predict 0th codebook"):
        model.fine_acoustics(0, torch.zeros(1, 4, 8).long())
    with pytest.raises(NotImplementedError, match="pass no labels"):
        model.fine_acoustics(1, torch.zeros(1, 4, 8).long(), labels=ids())


def test_quantize_and_offload_refuse(model: Any) -> None:
    with pytest.raises(ValueError, match="kind must be 'int8', got 'int4'"):
        model.quantize("int4")
    if not torch.accelerator.is_available():
        with pytest.raises(ValueError, match="no accelerator"):
            model.enable_cpu_offload()


def test_offload_moves_the_stages(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage is moved for its part and back; here from the CPU to the CPU."""
    expected = model.generate(ids(), semantic_max_new_tokens=3, seed=1)
    moved: list[str] = []
    for name in ("semantic", "coarse_acoustics", "fine_acoustics", "codec_model"):
        stage = getattr(model, name)
        monkeypatch.setattr(stage, "to", lambda device, name=name: moved.append(f"{name} {device}"))
    monkeypatch.setattr(model.offload, "device", None)
    model.enable_cpu_offload(device="cpu")
    assert model.device == torch.device("cpu")
    assert torch.equal(model.generate(ids(), semantic_max_new_tokens=3, seed=1), expected)
    assert moved[0::2] == moved[1::2]
    assert [each.split()[0] for each in moved[::2]] == [
        "semantic",
        "coarse_acoustics",
        "fine_acoustics",
        "codec_model",
    ]
