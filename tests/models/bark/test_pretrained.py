"""Checkpoints in both directions: layouts of the Hub, parts, settings, saving."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import BarkModel as TheirModel

import vivace
from tests.models.bark import helpers
from vivace.models.bark import (
    BarkCoarseModel,
    BarkFineModel,
    BarkGenerationConfig,
    BarkModel,
    BarkSemanticModel,
)


@pytest.fixture
def folder(oracle: Any, tmp_path: Path) -> Path:
    oracle.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def own_fields(config: Any) -> dict[str, Any]:
    """Without what says where a configuration came from."""
    whence = {"transformers_version", "architectures", "dtype"}
    return {key: value for key, value in config.to_diff_dict().items() if key not in whence}


def audio(model: Any) -> torch.Tensor:
    torch.manual_seed(2)
    ids = torch.arange(256)[None]
    return model.generate(ids, semantic_max_new_tokens=8, do_sample=True)


def test_nothing_is_missing(folder: Path) -> None:
    _, info = BarkModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_the_layout_of_2023(oracle: Any, model: Any, folder: Path) -> None:
    """pytorch_model.bin with weight_g and weight_v, with heads and masks."""
    state = load_file(folder / "model.safetensors")
    old = {}
    for key, value in state.items():
        key = key.replace("parametrizations.weight.original0", "weight_g")
        old[key.replace("parametrizations.weight.original1", "weight_v")] = value
    for i in range(7):
        source = f"fine_acoustics.input_embeds_layers.{i + 1}.weight"
        old[f"fine_acoustics.lm_heads.{i}.weight"] = old[source].clone()
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    loaded, info = BarkModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(audio(loaded), audio(model))


def test_masks_may_be_absent(model: Any, folder: Path) -> None:
    from safetensors.torch import save_file

    state = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in state.items() if not key.endswith("attn.bias")}
    assert len(kept) < len(state)
    save_file(kept, folder / "model.safetensors")
    loaded, info = BarkModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(audio(loaded), audio(model))


def test_heads_share_the_memory_of_embeddings(folder: Path) -> None:
    fine = BarkModel.from_pretrained(folder).fine_acoustics
    assert len(fine.lm_heads) == 7
    for i, head in enumerate(fine.lm_heads):
        assert head.weight is fine.input_embeds_layers[i + 1].weight


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (BarkSemanticModel, "semantic"),
        (BarkCoarseModel, "coarse_acoustics"),
        (BarkFineModel, "fine_acoustics"),
    ],
)
def test_a_part_from_the_whole(model: Any, folder: Path, kind: Any, name: str) -> None:
    part, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    whole = getattr(model, name)
    assert own_fields(part.config) == own_fields(whole.config)
    for key, value in whole.state_dict().items():
        assert torch.equal(part.state_dict()[key], value), key


def test_transformers_loads_what_is_saved(oracle: Any, model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    theirs, info = TheirModel.from_pretrained(tmp_path, output_loading_info=True)
    # The masks are computed, by transformers too.
    assert all(key.endswith("attn.bias") for key in info["missing_keys"])
    assert not info["unexpected_keys"]
    theirs.eval()
    settings = theirs.generation_config
    assert settings.fine_acoustics_config["temperature"] == 0.5
    torch.testing.assert_close(audio(theirs), audio(oracle), rtol=0, atol=1e-5)


def test_saved_and_loaded_again(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert not [key for key in load_file(tmp_path / "model.safetensors") if "lm_heads" in key]
    again = BarkModel.from_pretrained(tmp_path)
    assert again.generation_config == model.generation_config
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert torch.equal(audio(again), audio(model))


def test_the_file_of_the_configuration_is_theirs(oracle: Any, model: Any, tmp_path: Path) -> None:
    oracle.config.save_pretrained(tmp_path / "theirs")
    model.config.save_pretrained(tmp_path / "ours")
    theirs, ours = (
        json.loads((tmp_path / x / "config.json").read_text()) for x in ("theirs", "ours")
    )
    assert ours == theirs


def test_second_names_and_parts_of_the_configuration() -> None:
    config = vivace.BarkConfig(semantic_config={"num_layers": 3, "vocab_size": 77})
    assert config.semantic_config.input_vocab_size == 77
    assert config.semantic_config.vocab_size == 77
    assert config.semantic_config.num_hidden_layers == 3
    config.semantic_config.num_attention_heads = 6
    assert config.semantic_config.num_heads == 6
    assert config.coarse_acoustics_config.block_size == config.fine_acoustics_config.window_size
    again = vivace.BarkConfig.from_dict(config.to_dict())
    assert own_fields(again.semantic_config) == own_fields(config.semantic_config)
    with pytest.raises(AttributeError, match="no_such"):
        _ = config.no_such
    with pytest.raises(ValueError, match="num_layers"):
        vivace.BarkSemanticConfig(num_layers="2")
    with pytest.raises(ValueError, match="hidden_size must be a multiple of num_heads"):
        BarkSemanticModel(vivace.BarkSemanticConfig(hidden_size=30, num_heads=4))


def test_generation_settings() -> None:
    """As objects, entries and files; transformers' own object is taken too."""
    config = BarkGenerationConfig(fine_acoustics_config={"temperature": 0.3}, sample_rate=16_000)
    assert config.fine_acoustics_config["temperature"] == 0.3
    assert {**config.semantic_config}["eos_token_id"] == 10_000
    assert config.semantic_config.semantic_pad_token == 10_000
    config.coarse_acoustics_config["sliding_window_len"] = 30
    assert config.coarse_acoustics_config.sliding_window_len == 30
    assert config.coarse_acoustics_config.update(top_k=3, unknown=4) == {"unknown": 4}
    again = BarkGenerationConfig.from_dict(config.to_dict())
    assert again == config
    theirs = helpers.settings.BarkGenerationConfig(fine_acoustics_config={"temperature": 0.2})
    assert BarkGenerationConfig.of(theirs).fine_acoustics_config.temperature == 0.2
    parts = BarkGenerationConfig.from_sub_model_configs(
        config.semantic_config, config.coarse_acoustics_config, config.fine_acoustics_config
    )
    assert parts.coarse_acoustics_config == config.coarse_acoustics_config


def test_settings_of_every_form_work(oracle: Any, model: Any) -> None:
    """A BarkGenerationConfig object breaks transformers' generate; a model without a file too."""
    expected = audio(model)
    before = model.generation_config
    try:
        for settings in (copy.deepcopy(before), oracle.generation_config, before.to_dict()):
            model.generation_config = settings
            assert torch.equal(audio(model), expected)
    finally:
        model.generation_config = before


def test_min_eos_p_of_the_file_is_used(model: Any) -> None:
    """transformers reads it from the keyword alone."""
    before = model.generation_config
    model.generation_config = copy.deepcopy(before)
    model.generation_config.semantic_config.min_eos_p = 3e-5
    try:
        ids = torch.arange(256)[None]
        kwargs = {"semantic_max_new_tokens": 150, "do_sample": True, "return_tokens": True}
        by_file = model.generate(ids, seed=1, **kwargs)[1][0]
        model.generation_config.semantic_config.min_eos_p = None
        by_keyword = model.generate(ids, seed=1, min_eos_p=3e-5, **kwargs)[1][0]
        model.generation_config.semantic_config.min_eos_p = 3e-5
        off = model.generate(ids, seed=1, min_eos_p=0.0, **kwargs)[1][0]
    finally:
        model.generation_config = before
    assert torch.equal(by_file["semantic_prompt"], by_keyword["semantic_prompt"])
    assert len(by_file["semantic_prompt"]) < len(off["semantic_prompt"]) == 150


def test_copies(model: Any) -> None:
    expected = audio(model)
    assert torch.equal(audio(copy.deepcopy(model)), expected)
    assert torch.equal(audio(pickle.loads(pickle.dumps(model))), expected)


def test_golden_ids_of_the_released_model() -> None:
    """transformers' own test publishes the first greedy ids of suno/bark."""
    import os

    path = os.environ.get("VIVACE_TEST_WEIGHTS", "")
    if not path:
        pytest.skip("not run: VIVACE_TEST_WEIGHTS names no folder with suno/bark")
    model = BarkModel.from_pretrained(Path(path) / "suno" / "bark")
    processor = vivace.BarkProcessor.from_pretrained(Path(path) / "suno" / "bark")
    inputs = processor(
        "In the light of the moon, a little egg lay on a leaf", voice_preset="en_speaker_6"
    )
    _, tokens = model.generate(
        **inputs,
        do_sample=False,
        fine_temperature=None,
        semantic_max_new_tokens=10,
        return_tokens=True,
    )
    semantic = [7363, 321, 41, 1461, 6915, 952, 326, 41, 41, 927]
    assert tokens[0]["semantic_prompt"].tolist() == semantic
