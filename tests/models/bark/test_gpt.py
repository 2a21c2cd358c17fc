"""The forwards of the transformers against the live originals."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.bark import helpers


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """With biases everywhere, three layers, and heads of another width."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        folder = tmp_path_factory.mktemp("biased")
        return helpers.pair(folder, bias=True, hidden_size=48, num_layers=3, num_heads=3)


@pytest.fixture(params=["plain", "biased"])
def causal(
    request: pytest.FixtureRequest, models: tuple[Any, Any], biased: tuple[Any, Any]
) -> tuple[Any, Any]:
    both = models if request.param == "plain" else biased
    return both[0].semantic, both[1].semantic


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@torch.no_grad()
def test_causal_forward(causal: tuple[Any, Any]) -> None:
    ids = torch.randint(0, 129_600, (2, 37))
    options = {"output_hidden_states": True, "output_attentions": True}
    theirs, ours = (each(ids, **options) for each in causal)
    close(ours.logits, theirs.logits)
    assert ours.keys() == theirs.keys()
    for name in ("hidden_states", "attentions"):
        assert len(ours[name]) == len(theirs[name])
        for mine, other in zip(ours[name], theirs[name], strict=True):
            close(mine, other)
    close(causal[1](ids).logits, theirs.logits)
    as_tuple = causal[1](ids, return_dict=False)
    close(as_tuple[0], theirs.logits)
    assert len(as_tuple) == len(causal[0](ids, return_dict=False))


@torch.no_grad()
def test_causal_forward_with_a_cache(causal: tuple[Any, Any]) -> None:
    """In pieces of 20, 1, 3 and 13 tokens: the logits of the whole."""
    ids = torch.randint(0, 129_600, (2, 37))
    whole = causal[0](ids).logits
    cache, logits = None, []
    for piece in ids.split([20, 1, 3, 13], dim=1):
        output = causal[1](piece, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits.append(output.logits)
    assert cache is not None
    assert cache.get_seq_length() == 37
    close(torch.cat(logits, 1), whole)


@torch.no_grad()
def test_causal_forward_of_embeddings_masks_and_positions(causal: tuple[Any, Any]) -> None:
    ids = torch.randint(0, 129_600, (2, 9))
    embeds = causal[0].get_input_embeddings()(ids)
    positions = torch.randint(0, 1024, (1, 9))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, 6:] = 0
    for options in (
        {"inputs_embeds": embeds},
        {"inputs_embeds": embeds, "position_ids": positions},
        {"input_ids": ids, "attention_mask": mask},
        {"input_ids": ids, "attention_mask": torch.ones(2, 9)},
        {"input_ids": ids, "use_cache": False},
    ):
        theirs, ours = (each(**options) for each in causal)
        close(ours.logits, theirs.logits)
        assert (ours.past_key_values is None) == (theirs.past_key_values is None)


@pytest.mark.parametrize("codebook", [1, 2, 7])
@torch.no_grad()
def test_fine_forward(models: tuple[Any, Any], biased: tuple[Any, Any], codebook: int) -> None:
    for both in (models, biased):
        fine = both[0].fine_acoustics, both[1].fine_acoustics
        codes = torch.randint(0, 1056, (2, 50, 8))
        options = {"output_hidden_states": True, "output_attentions": True}
        theirs, ours = (each(codebook, codes, **options) for each in fine)
        close(ours.logits, theirs.logits)
        for name in ("hidden_states", "attentions"):
            for mine, other in zip(ours[name], theirs[name], strict=True):
                close(mine, other)
        mask = torch.ones(2, 50)
        mask[1, 30:] = 0
        embeds = torch.randn(2, 50, theirs.hidden_states[0].shape[2])
        for inputs in ({"input_ids": codes, "attention_mask": mask}, {"inputs_embeds": embeds}):
            theirs, ours = (each(codebook, **inputs) for each in fine)
            close(ours.logits, theirs.logits)
        as_tuple = [each(codebook, codes, return_dict=False) for each in fine]
        assert len(as_tuple[0]) == len(as_tuple[1])


def test_gradients_flow(models: tuple[Any, Any]) -> None:
    """Training is not refused: only labels are."""
    ids = torch.randint(0, 129_600, (1, 5))
    gradients = []
    for each in (models[0].semantic, models[1].semantic):
        each(ids).logits.square().mean().backward()
        gradients.append(each.layers[0].attn.att_proj.weight.grad.clone())
        each.zero_grad()
    close(gradients[1], gradients[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision(models: tuple[Any, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    """Logits within what both lose against float32, and audio of the model's dtype."""
    from vivace.models.bark import BarkModel

    models[1].save_pretrained(tmp_path)
    half = BarkModel.from_pretrained(tmp_path, dtype=dtype)
    ids = torch.randint(0, 129_600, (1, 30))
    truth = models[1].semantic(ids).logits
    error = (half.semantic(ids).logits.float() - truth).abs().max() / truth.abs().max()
    assert float(error) < (0.03 if dtype == torch.bfloat16 else 0.004)
    text = torch.randint(0, 1000, (1, 256))
    audio = half.generate(text, semantic_max_new_tokens=6)
    assert audio.dtype == dtype
    assert torch.isfinite(audio).all()


@torch.no_grad()
def test_weights_in_8_bits(models: tuple[Any, Any], tmp_path: Path) -> None:
    """Rounded weights: multiples of a scale per row, and logits near the exact ones."""
    from vivace.models.bark import BarkModel

    models[1].save_pretrained(tmp_path)
    rounded = BarkModel.from_pretrained(tmp_path, quantize="int8")
    weight = rounded.semantic.layers[0].mlp.in_proj.weight
    steps = weight / (weight.abs().amax(1, keepdim=True) / 127)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    assert rounded.semantic.int8
    assert rounded.coarse_acoustics.int8
    ids = torch.randint(0, 129_600, (1, 30))
    exact = models[1].semantic(ids).logits
    error = (rounded.semantic(ids).logits - exact).abs().max() / exact.abs().max()
    assert 0 < float(error) < 0.05
    text = torch.randint(0, 1000, (1, 256))
    assert rounded.generate(text, semantic_max_new_tokens=6).shape[1] > 0


@torch.no_grad()
@pytest.mark.parametrize("rows", [40, 1056, 1100])
def test_embeddings_of_another_size(models: tuple[Any, Any], rows: int) -> None:
    """Old rows stay, new ones are (all but) transformers' mean, tied heads follow."""
    import copy

    theirs, ours = (copy.deepcopy(model.fine_acoustics) for model in models)
    for each in (theirs, ours):
        each.resize_token_embeddings(rows)
        assert each.config.output_vocab_size == rows
    for mine, other in zip(ours.input_embeds_layers, theirs.input_embeds_layers, strict=True):
        assert mine.weight.shape == other.weight.shape == (rows, 32)
        torch.testing.assert_close(mine.weight, other.weight, rtol=0, atol=1e-3)
    assert ours.lm_heads[2].weight is ours.input_embeds_layers[3].weight
    codes = torch.randint(0, min(rows, 1056), (1, 9, 8))
    torch.testing.assert_close(ours(3, codes).logits, theirs(3, codes).logits, rtol=0, atol=0.05)
    causal = copy.deepcopy(models[1].semantic)
    before = causal.input_embeds_layer.weight[:40].clone()
    causal.resize_token_embeddings(rows, pad_to_multiple_of=64)
    assert causal.input_embeds_layer.num_embeddings == -(-rows // 64) * 64
    assert torch.equal(causal.input_embeds_layer.weight[:40], before)
    assert causal.resize_token_embeddings() is causal.input_embeds_layer
    with pytest.raises(ValueError, match="must be >= 1, got 0"):
        causal.resize_token_embeddings(0)
