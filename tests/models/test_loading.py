"""From a checkpoint to parameters: names, sizes, dtype, device, half models, weight norm."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.tiny import NormedModel, TinyConfig, TinyModel, assert_equal, load, load_with_info
from vivace import hub
from vivace.models import base


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16, "torch.float64"])
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_dtype(model: TinyModel, folder: Path, name: str, dtype: Any) -> None:
    wanted = getattr(torch, str(dtype).removeprefix("torch."))
    loaded = load(folder, **{name: dtype})
    assert loaded.dtype == loaded.config.dtype == loaded.ramp.dtype == wanted
    assert loaded.count.dtype == torch.int64
    for key, parameter in loaded.named_parameters():
        assert torch.equal(parameter, model.get_parameter(key).to(wanted))
    loaded.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == str(wanted)[6:]
    assert load(folder).dtype == load(folder, dtype="auto").dtype == wanted
    assert load(folder, dtype=torch.float32, torch_dtype="float16").dtype == torch.float32


def test_dtype_of_the_checkpoint_counts_if_config_json_has_none(
    model: TinyModel, folder: Path
) -> None:
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["dtype"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load(folder).dtype == torch.float16


@pytest.mark.parametrize("dtype", ["int8", torch.int64, "float31", 3, {"": "float16"}])
def test_wrong_dtypes(folder: Path, dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"dtype must be .auto., a floating point"):
        load(folder, dtype=dtype)


@pytest.mark.parametrize(
    "device_map", [None, "cpu", "auto", torch.device("cpu"), {"": "cpu"}, {"": torch.device("cpu")}]
)
def test_device_map(folder: Path, device_map: Any) -> None:
    expected = "cuda" if device_map == "auto" and torch.cuda.is_available() else "cpu"
    assert load(folder, device_map=device_map).device.type == expected


@pytest.mark.parametrize(
    "device_map",
    ["balanced", "disk", {"left": "cpu", "right": "cpu"}, {}, [0], -1, True, 3.5, "meta"],
)
def test_wrong_device_maps(folder: Path, device_map: Any) -> None:
    with pytest.raises(ValueError, match=r"from_pretrained: .*(device_map must be|meta device)"):
        load(folder, device_map=device_map)


@pytest.mark.parametrize("device_map", ["cuda:99", 99, {"": "cuda:99"}])
def test_devices_that_are_not_there(folder: Path, device_map: Any) -> None:
    with pytest.raises(ValueError, match=r"torch sees \d+ CUDA devices"):
        load(folder, device_map=device_map)


@pytest.mark.parametrize("device_map", ["cuda", "auto", 0, {"": "cuda:0"}])
def test_loads_to_the_gpu(model: TinyModel, folder: Path, cuda: str, device_map: Any) -> None:
    loaded = load(folder, device_map=device_map)
    tensors = [*loaded.parameters(), *loaded.buffers()]
    assert {tensor.device.type for tensor in tensors} == {cuda}
    assert_equal(loaded.cpu(), model.state_dict())


def test_half_models_read_their_half_only(
    model: TinyModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = hub.open_checkpoint(hub.Source(folder))
    right = {key for key in opened if key.startswith("right.")}
    assert right

    def refuse() -> Tensor:
        raise AssertionError("read a tensor of the other half")

    lazy = {k: v._replace(read=refuse) if k in right else v for k, v in opened.items()}
    monkeypatch.setattr(base, "open_checkpoint", lambda *args: lazy)
    loaded, info = load_with_info(folder, part="left")
    assert loaded.right is None
    assert not info["unexpected_keys"]
    assert not info["missing_keys"]
    state = model.state_dict()
    assert_equal(loaded, {key: value for key, value in state.items() if key not in right})


def test_missing_keys_are_initialised(
    model: TinyModel, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = model.state_dict()
    partial = {k: v for k, v in state.items() if k not in ("left.0.weight", "gain", "count")}
    model.save_pretrained(folder, state_dict=partial)
    loaded, info = load_with_info(folder, dtype="float16")
    assert info["missing_keys"] == {"left.0.weight", "gain", "count"}
    assert "newly initialized: ['count', 'gain', 'left.0.weight']" in caplog.text
    expected = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    expected["left.0.weight"] = torch.full((6, 6, 3), 0.5).half()
    expected["gain"] = torch.full((6,), 3.0).half()
    expected["count"] = torch.tensor(7)
    assert_equal(loaded, expected)


def test_unexpected_keys_are_reported(
    model: TinyModel, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model.save_pretrained(folder, state_dict={**model.state_dict(), "more.bias": torch.ones(1)})
    loaded, info = load_with_info(folder)
    assert info["unexpected_keys"] == {"more.bias"}
    assert "are not used by TinyModel: ['more.bias']" in caplog.text
    assert_equal(loaded, model.state_dict())


def test_sizes_that_differ(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match=r"gain: \(6,\) in the checkpoint, \(7,\) in the model"):
        load(folder, width=7)
    loaded, info = load_with_info(folder, width=7, ignore_mismatched_sizes=True)
    assert ("gain", (6,), (7,)) in info["mismatched_keys"]
    assert not info["missing_keys"]
    assert torch.equal(loaded.gain, torch.full((7,), 3.0))
    assert loaded.count == 11
    assert "gain: (6,) in the checkpoint, (7,) in the model" in caplog.text


def test_a_foreign_checkpoint(model: TinyModel, folder: Path) -> None:
    model.save_pretrained(folder, state_dict={"x.y": torch.ones(1)})
    with pytest.raises(ValueError, match=r"no weights of TinyModel; its first key is 'x\.y'"):
        load(folder)


def test_names_are_mapped(model: TinyModel) -> None:
    state, config = model.state_dict(), TinyConfig()
    prefixed = {f"tiny.{key}": value for key, value in state.items()}
    assert_equal(load(None, config=config, state_dict=prefixed), state)
    renamed = {key.replace("left", "links"): value for key, value in state.items()}
    loaded = load(None, config=config, state_dict=renamed, key_mapping={r"^links\.": "left."})
    assert_equal(loaded, state)
    with pytest.raises(ValueError, match="two keys of the checkpoint are named 'gain'"):
        load(None, config=config, state_dict=state, key_mapping={"^count$": "gain"})


@pytest.mark.parametrize("old", [False, True])
def test_weight_norm_in_the_checkpoint(model: TinyModel, old: bool) -> None:
    state = model.state_dict()
    names = ("weight_g", "weight_v")
    if not old:
        names = tuple(f"parametrizations.weight.original{i}" for i in (0, 1))
    normed = dict(state)
    for stem in ("left.0.", "left.1.", "right."):
        weight = normed.pop(f"{stem}weight")
        normed[stem + names[0]] = weight.flatten(1).norm(dim=1).reshape(-1, 1, 1)
        normed[stem + names[1]] = 2.5 * weight
    loaded = load(None, config=TinyConfig(), state_dict=normed)
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=1e-6, atol=1e-6)
    kept = NormedModel.from_pretrained(None, config=TinyConfig(), state_dict=normed)
    g, v = (f"left.0.parametrizations.weight.original{i}" for i in (0, 1))
    assert torch.equal(kept.state_dict()[g], normed[f"left.0.{names[0]}"])
    assert torch.equal(kept.state_dict()[v], normed[f"left.0.{names[1]}"])


def test_weights_are_initialised_once_or_not_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[nn.Module] = []
    monkeypatch.setattr(TinyModel, "_init_weights", lambda self, module: calls.append(module))
    drawn = torch.get_rng_state()
    load(folder)
    assert not calls
    assert torch.equal(torch.get_rng_state(), drawn), "no random numbers for weights that are read"
    TinyModel(TinyConfig())
    assert calls
