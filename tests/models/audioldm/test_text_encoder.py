"""ClapTextModelWithProjection against transformers' class, live: embeddings, masks, files."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from tests.models.audioldm.helpers_text import (
    PRECISION_IDS,
    PRECISIONS,
    TEXT,
    close,
    randomize,
    text_pair,
)
from vivace.models.audioldm import (
    ClapTextConfig,
    ClapTextModelOutput,
    ClapTextModelWithProjection,
)

COUNTERS = {f"text_model.embeddings.{n}" for n in ("position_ids", "token_type_ids")}
VARIANTS: dict[str, dict[str, Any]] = {
    "released": {},
    "one layer": {"num_hidden_layers": 1, "layer_norm_eps": 1e-3},
    "activations": {"hidden_act": "gelu_new", "projection_hidden_act": "tanh"},
    "types, padding": {
        "type_vocab_size": 3,
        "pad_token_id": 5,
        "max_position_embeddings": 70,
    },
}


@pytest.fixture(autouse=True)
def exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers takes the softmax of float64 scores in float32, which would hide differences."""
    softmax: Callable[..., Tensor] = torch.nn.functional.softmax

    def wide(x: Tensor, *args: Any, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
        dtype = None if x.dtype == torch.float64 else dtype
        return softmax(x, *args, dtype=dtype, **options)

    monkeypatch.setattr(torch.nn.functional, "softmax", wide)


def texts(lengths: list[int], time: int, pad: int = 1) -> tuple[Tensor, Tensor]:
    """Random ids (B, T) of texts, padded on the right, and their mask."""
    ids = torch.randint(6, TEXT["vocab_size"], (len(lengths), time))
    mask = (torch.arange(time) < torch.tensor(lengths)[:, None]).long()
    return torch.where(mask == 1, ids, pad), mask


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=PRECISION_IDS)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_equals_transformers(variant: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = text_pair(dtype, **VARIANTS[variant])
    assert set(ours.state_dict()) == set(theirs.state_dict()) - COUNTERS
    pad = theirs.config.pad_token_id
    for lengths, time in (([1], 1), ([7, 7], 7), ([64, 2, 30], 64)):
        ids, mask = texts(lengths, time, pad)
        for options in ({"attention_mask": mask}, {"attention_mask": mask.bool()}, {}):
            found, expected = ours(ids, **options), theirs(ids, **options)
            assert isinstance(found, ClapTextModelOutput)
            assert list(found) == list(expected)
            close(found.text_embeds, expected.text_embeds, tolerance)
            close(found.last_hidden_state, expected.last_hidden_state, tolerance)
    assert found.text_embeds.shape == (3, TEXT["projection_dim"])


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=PRECISION_IDS)
@torch.no_grad()
def test_other_inputs_and_outputs(dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = text_pair(dtype, type_vocab_size=2)
    ids, mask = texts([9, 4], 9)
    positions = torch.randint(2, 66, (2, 9))
    words = torch.randn(2, 9, 32, dtype=dtype)
    types = torch.randint(0, 2, (2, 9))
    ids[0, 3] = 1  # padding inside a text has no position of its own
    for options in (
        {"input_ids": ids, "position_ids": positions},
        {"input_ids": ids, "token_type_ids": types},
        {"inputs_embeds": words},
        {"inputs_embeds": words, "position_ids": positions, "token_type_ids": types},
    ):
        more = {"output_hidden_states": True, "output_attentions": True, "attention_mask": mask}
        found, expected = ours(**options, **more), theirs(**options, **more)
        assert list(found) == list(expected)
        for key in expected:
            one, other = found[key], expected[key]
            one, other = ([x] if isinstance(x, Tensor) else x for x in (one, other))
            assert len(one) == len(other)
            for a, b in zip(one, other, strict=True):
                close(a, b, tolerance)
        # The weights are spelled out where they are asked for; the result is the same.
        close(ours(attention_mask=mask, **options).text_embeds, expected.text_embeds, tolerance)
        rows = ours(**options, return_dict=False)
        assert isinstance(rows, tuple)
        assert len(rows) == 2


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=PRECISION_IDS)
@torch.no_grad()
def test_texts_at_their_true_length(dtype: torch.dtype, tolerance: float) -> None:
    """Padding to 512 under a mask changes nothing, nor does the company of longer texts."""
    ours, theirs = text_pair(dtype, max_position_embeddings=514)
    lengths = [2, 14, 77]
    ids, mask = texts(lengths, 512)
    padded = ours(ids, mask)
    close(padded.text_embeds, theirs(ids, attention_mask=mask).text_embeds, tolerance)
    together = ours(ids[:, :77], mask[:, :77])
    close(together.text_embeds, padded.text_embeds, tolerance)
    for row, length in enumerate(lengths):
        alone = ours(ids[row : row + 1, :length])
        close(alone.text_embeds, padded.text_embeds[row : row + 1], tolerance)
        whole = padded.last_hidden_state[row : row + 1, :length]
        close(alone.last_hidden_state, whole, tolerance)


@torch.no_grad()
def test_a_text_that_is_masked_throughout() -> None:
    ours, theirs = text_pair(torch.float32)
    ids, mask = texts([5, 5], 5)
    mask[1] = 0
    close(ours(ids, mask).text_embeds, theirs(ids, attention_mask=mask).text_embeds, 1e-5)


@torch.no_grad()
def test_padding_does_not_count_as_length() -> None:
    """70 ids where the model has 64 positions: allowed as long as 64 are no padding."""
    ours, theirs = text_pair()
    ids, mask = texts([64, 3], 70)
    close(ours(ids, mask).text_embeds, theirs(ids, attention_mask=mask).text_embeds, 1e-10)
    ids[0, 64] = 9
    with pytest.raises(ValueError, match="at most 64 tokens, got 65"):
        ours(ids, mask)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_as_near_to_float64_as_transformers(dtype: torch.dtype) -> None:
    ours, theirs = text_pair(dtype)
    exact = copy.deepcopy(theirs).double()
    ids, mask = texts([20, 12, 5, 2], 20)
    found, reference, expected = (m(ids, attention_mask=mask) for m in (ours, theirs, exact))
    assert found.text_embeds.dtype == dtype
    target = expected.text_embeds
    error, allowed = ((y.text_embeds - target).square().mean().sqrt() for y in (found, reference))
    assert error < 1.5 * allowed
    assert allowed < 0.1 * target.square().mean().sqrt()


def test_gradients_and_dropout() -> None:
    ours, theirs = text_pair()
    ids, mask = texts([6, 3], 6)
    for model in (ours, theirs):
        model(ids, attention_mask=mask).text_embeds.square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if name.endswith("key.bias"):  # all scores move alike, which the softmax ignores
            assert parameter.grad.abs().max() < 1e-13
        else:
            close(parameter.grad, expected[name].grad, 1e-10)
    with torch.no_grad():
        ours.train()
        assert not torch.equal(ours(ids, mask).text_embeds, ours(ids, mask).text_embeds)


def test_initialisation_and_configuration() -> None:
    torch.manual_seed(0)
    model = ClapTextModelWithProjection(ClapTextConfig(**TEXT))
    reference = transformers.ClapTextModelWithProjection(transformers.ClapTextConfig(**TEXT))
    state = model.state_dict()
    for key, value in reference.state_dict().items():
        if key in COUNTERS:
            continue
        assert state[key].shape == value.shape
        assert state[key].std().item() == pytest.approx(value.std().item(), rel=0.35, abs=1e-6), key
    found, expected = ClapTextConfig().to_dict(), transformers.ClapTextConfig().to_dict()
    assert {k: v for k, v in found.items() if k != "_name_or_path"}.items() <= expected.items()
    words = torch.nn.Embedding(99, 32)
    model.set_input_embeddings(words)
    assert model.get_input_embeddings() is words


@pytest.mark.parametrize("safe", [True, False])
@torch.no_grad()
def test_each_loads_what_the_other_saved(
    tmp_path: Path, safe: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = text_pair(torch.float32)
    ids, mask = texts([9, 5], 9)
    ours.save_pretrained(tmp_path / "ours", safe_serialization=safe)
    theirs.save_pretrained(tmp_path / "theirs")
    if not safe:
        (tmp_path / "theirs" / "model.safetensors").unlink()
        torch.save(theirs.state_dict(), tmp_path / "theirs" / "pytorch_model.bin")
    with caplog.at_level(logging.WARNING):
        for name in ("ours", "theirs"):
            for kind in (ClapTextModelWithProjection, transformers.ClapTextModelWithProjection):
                loaded, info = kind.from_pretrained(tmp_path / name, output_loading_info=True)
                assert not any(info.values())
                for key, value in loaded.state_dict().items():
                    assert torch.equal(value, theirs.state_dict()[key]), key
                embeds = loaded(ids, attention_mask=mask).text_embeds
                close(embeds, ours(ids, mask).text_embeds, 1e-5)
    assert not caplog.records


@torch.no_grad()
def test_counters_may_be_present_or_absent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = text_pair(torch.float32)
    ours.save_pretrained(tmp_path)
    state = theirs.state_dict()
    bare = ours.state_dict()
    with caplog.at_level(logging.WARNING):
        for present in (set(), {min(COUNTERS)}, COUNTERS):
            more = {key: state[key] for key in present}
            torch.save(bare | more, tmp_path / "pytorch_model.bin")
            (tmp_path / "model.safetensors").unlink(missing_ok=True)
            loaded = ClapTextModelWithProjection.from_pretrained(tmp_path)
            assert loaded.state_dict().keys() == bare.keys()
            ours.load_state_dict(bare | more, strict=True)
    assert not caplog.records
    copied = pickle.loads(pickle.dumps(loaded))
    ids, mask = texts([4, 2], 4)
    assert torch.equal(copied(ids, mask).text_embeds, ours(ids, mask).text_embeds)


@torch.no_grad()
def test_the_text_half_of_a_whole_clap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audio = {
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "spec_size": 32,
        "num_mel_bins": 8,
    }
    config = transformers.ClapConfig(text_config=TEXT, audio_config=audio, projection_dim=24)
    whole = transformers.ClapModel(config).eval()
    randomize(whole)
    whole.save_pretrained(tmp_path)
    assert "text_config" in json.loads((tmp_path / "config.json").read_text())
    with caplog.at_level(logging.WARNING):
        ours = ClapTextModelWithProjection.from_pretrained(tmp_path)
    assert not caplog.records
    assert ours.config.projection_dim == 24
    theirs = transformers.ClapTextModelWithProjection.from_pretrained(tmp_path)
    ids, mask = texts([9, 5], 9)
    close(ours(ids, mask).text_embeds, theirs(ids, attention_mask=mask).text_embeds, 1e-5)


IDS = torch.full((2, 4), 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs one of input_ids and inputs_embeds, got neither"),
        ({"input_ids": IDS, "inputs_embeds": torch.zeros(2, 4, 32)}, "got both"),
        ({"input_ids": IDS[0]}, r"shape \(B, T\) and .* got \(4,\)"),
        ({"input_ids": IDS[:, :0]}, r"got \(2, 0\)"),
        ({"inputs_embeds": torch.zeros(2, 32)}, r"got \(2, 32\)"),
        (
            {"input_ids": IDS, "attention_mask": IDS[:1]},
            r"attention_mask .* \(2, 4\), got \(1, 4\)",
        ),
        ({"input_ids": torch.full((1, 65), 7)}, "at most 64 tokens, got 65"),
        ({"inputs_embeds": torch.zeros(1, 65, 32)}, "at most 64 tokens, got 65"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    ours = ClapTextModelWithProjection(ClapTextConfig(**TEXT)).eval()
    with pytest.raises(ValueError, match=message):
        ours(**options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "must be a multiple of num_attention_heads, got 32 and 5"),
        ({"hidden_act": "snake"}, "activations must be among .*, got 'snake'"),
        ({"hidden_size": "32"}, "hidden_size"),
    ],
)
def test_errors_of_the_configuration(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClapTextModelWithProjection(ClapTextConfig(**(TEXT | changes)))
