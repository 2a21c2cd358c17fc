"""PreTrainedModel: loading by name or state dict, saving, pushing, on a tiny model."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.tiny import NormedModel, TinyConfig, TinyModel, assert_equal, load, load_with_info
from vivace.models import base


def test_round_trip(model: TinyModel, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded, info = load_with_info(folder)
    assert not caplog.records
    assert_equal(loaded, model.state_dict())
    assert not loaded.training
    assert info == {
        "missing_keys": set(),
        "unexpected_keys": set(),
        "mismatched_keys": set(),
        "error_msgs": [],
    }
    assert loaded.name_or_path == loaded.config.name_or_path == str(folder)
    assert loaded.config.architectures == ["TinyModel"]
    assert loaded.config.dtype == loaded.dtype == torch.float32
    assert torch.equal(loaded.ramp, model.ramp)
    assert all(p.requires_grad and p.is_leaf for p in loaded.parameters())
    loaded.left[0](torch.randn(1, 6, 9)).sum().backward()
    assert loaded.left[0].weight.grad is not None


def test_a_new_model_trains_and_is_initialised() -> None:
    model = TinyModel(TinyConfig(width=4))
    assert model.training
    assert torch.equal(model.left[1].weight, torch.full((4, 4, 3), 0.5))
    assert model.device == torch.device("cpu")
    assert model.dtype == torch.float32
    everything = sum(p.numel() for p in model.parameters())
    assert model.num_parameters() == everything
    assert model.num_parameters(exclude_embeddings=True) == everything - 20
    model.gain.requires_grad_(False)
    assert model.num_parameters(only_trainable=True) == everything - 4
    with pytest.raises(ValueError, match=r"Parameter config in `TinyModel\(config\)`"):
        TinyModel({"width": 4})  # type: ignore[arg-type]


def test_the_loaded_model_does_not_depend_on_the_file(model: TinyModel, folder: Path) -> None:
    loaded = load(folder)
    path = folder / "model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    assert_equal(loaded, model.state_dict())


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("size", ["1GB", 300])
def test_layouts(
    model: TinyModel, tmp_path: Path, variant: str | None, safe: bool, size: int | str
) -> None:
    options = {"variant": variant, "safe_serialization": safe, "max_shard_size": size}
    model.save_pretrained(tmp_path, **options)
    assert_equal(load(tmp_path, variant=variant), model.state_dict())
    assert_equal(load(tmp_path, variant=variant, use_safetensors=safe), model.state_dict())
    with pytest.raises(OSError, match="has no weights"):
        load(tmp_path, variant=variant, use_safetensors=not safe)


def test_keywords_override_the_configuration(folder: Path) -> None:
    config = TinyConfig(width=6, note="mine")
    loaded = load(folder, note="call", config=config, low_cpu_mem_usage=True, max_memory={0: "1GB"})
    assert (loaded.config.note, config.note) == ("call", "mine")
    assert config.name_or_path == ""
    assert load(folder, return_dict=False).config.return_dict is False
    assert load(folder, config=str(folder)).config.width == 6
    assert load(folder, config=folder / "config.json").config.width == 6
    with pytest.raises(TypeError, match=r"unknown keyword arguments \['widht'\]"):
        load(folder, widht=3)


def test_state_dict_instead_of_a_name(model: TinyModel, folder: Path) -> None:
    state = model.state_dict()
    loaded = load(None, config=TinyConfig(), state_dict=state)
    assert_equal(loaded, state)
    assert loaded.gain.data_ptr() != state["gain"].data_ptr()
    assert load(None, config=folder, state_dict=state).config.width == 6
    with pytest.raises(ValueError, match="`state_dict` cannot be passed together"):
        load(folder, state_dict=state)
    for options in ({}, {"config": TinyConfig()}, {"state_dict": state}):
        with pytest.raises(ValueError, match="pass config and state_dict"):
            load(None, **options)
    with pytest.raises(ValueError, match="got int under 'a'"):
        load(None, config=TinyConfig(), state_dict={"a": 3})


def test_weight_norm_is_folded_when_saving(tmp_path: Path) -> None:
    model = NormedModel(TinyConfig())
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    for i in range(2):
        torch.testing.assert_close(loaded.left[i].weight, model.left[i].weight)


def test_subfolder(model: TinyModel, folder: Path) -> None:
    assert_equal(load(folder.parent, subfolder=folder.name), model.state_dict())


def test_nothing_there(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(OSError, match=r"no file named config\.json"):
        load(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"no file named model\.safetensors or pytorch_model\.bin"):
        load(folder)
    with pytest.raises(OSError, match="neither an existing folder"):
        load(tmp_path / "absent")


def test_weights_only_cannot_be_switched_off(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(folder, weights_only=False)
    assert "only tensors are ever unpickled" in caplog.text


def test_saving_into_a_file_or_with_unknown_keywords(model: TinyModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        model.save_pretrained(tmp_path / "file")
    with pytest.raises(TypeError, match="unknown keyword"):
        model.save_pretrained(tmp_path / "x", max_shard_sise=3)
    model.save_pretrained(tmp_path / "y", is_main_process=False)
    assert not (tmp_path / "y").exists()


def test_push_to_hub(model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[Any] = []

    def push(folder: Any, repo_id: str, files: list[str], **options: Any) -> str:
        pushed.append((repo_id, sorted(files), options["token"], load(Path(folder))))
        return "https://hub.invalid/commit"

    monkeypatch.setattr(base, "push_folder", push)
    assert model.push_to_hub("me/codec", token="t", private=True) == "https://hub.invalid/commit"
    model.save_pretrained(tmp_path / "codec", push_to_hub=True, token="t")
    (tmp_path / "codec" / "private.txt").write_text("not part of the model")
    model.save_pretrained(tmp_path / "codec", push_to_hub=True, repo_id="me/codec", token="t")
    assert [entry[0] for entry in pushed] == ["me/codec", "codec", "me/codec"]
    for _, files, token, loaded in pushed:
        assert files == ["config.json", "model.safetensors"]
        assert token == "t"
        assert_equal(loaded, model.state_dict())
