"""Weights files of descript-audio-codec: names, weight norm and settings, and foreign files."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.dac.helpers import small_model
from vivace.models.dac import DacModel
from vivace.models.dac.descript import load_descript


def descript_names(blocks: int, codebooks: int) -> dict[str, str]:
    """Descript's module names -> ours, counted through its nn.Sequentials one by one."""
    unit = ["snake1", "conv1", "snake2", "conv2"]
    names = {}

    def sequence(prefix: str, target: str, members: list[str]) -> None:
        for place, member in enumerate(members):
            if member.startswith("res_unit"):
                for i, layer in enumerate(unit):
                    names[f"{prefix}.block.{place}.block.{i}"] = f"{target}.{member}.{layer}"
            else:
                names[f"{prefix}.block.{place}"] = f"{target}.{member}"

    units = [f"res_unit{i}" for i in (1, 2, 3)]
    for block in range(blocks):
        inner = f"block.{block}"
        sequence(f"encoder.block.{1 + block}", f"encoder.{inner}", [*units, "snake1", "conv1"])
        sequence(f"decoder.model.{1 + block}", f"decoder.{inner}", ["snake1", "conv_t1", *units])
    for half, module in (("encoder", "encoder.block"), ("decoder", "decoder.model")):
        names[f"{module}.0"] = f"{half}.conv1"
        names[f"{module}.{blocks + 1}"] = f"{half}.snake1"
        names[f"{module}.{blocks + 2}"] = f"{half}.conv2"
    for i in range(codebooks):
        for layer in ("in_proj", "out_proj", "codebook"):
            names[f"quantizer.quantizers.{i}.{layer}"] = f"quantizer.quantizers.{i}.{layer}"
    return names


def descript_state(model: DacModel, form: str) -> dict[str, Tensor]:
    """The model's weights as descript stores them; the pair of weight norm has a random scale."""
    ours = model.state_dict()
    state: dict[str, Tensor] = {}
    names = descript_names(len(model.config.downsampling_ratios), model.config.n_codebooks)
    for theirs, name in names.items():
        for leaf in ("weight", "bias", "alpha"):
            value = ours.pop(f"{name}.{leaf}", None)
            if value is None:
                continue
            if leaf != "weight" or value.dim() == 2 or form == "plain":
                state[f"{theirs}.{leaf}"] = value
                continue
            g, v = ("weight_g", "weight_v")
            if form == "parametrized":
                g, v = (f"parametrizations.weight.original{i}" for i in (0, 1))
            state[f"{theirs}.{g}"] = torch.stack([row.norm() for row in value])[:, None, None]
            state[f"{theirs}.{v}"] = value * torch.empty(len(value), 1, 1).uniform_(0.5, 3)
    assert not ours, f"no descript name for {list(ours)}"
    return state


def kwargs_of(model: DacModel) -> dict[str, Any]:
    config = model.config
    return {
        "encoder_dim": config.encoder_hidden_size,
        "encoder_rates": list(config.downsampling_ratios),
        "latent_dim": config.hidden_size,
        "decoder_dim": config.decoder_hidden_size,
        "decoder_rates": list(config.upsampling_ratios),
        "n_codebooks": config.n_codebooks,
        "codebook_size": config.codebook_size,
        "codebook_dim": config.codebook_dim,
        "quantizer_dropout": False,
        "sample_rate": config.sampling_rate,
    }


def write(path: Path, model: DacModel, form: str = "old", **changes: Any) -> Path:
    content = {
        "state_dict": descript_state(model, form),
        "metadata": {"kwargs": kwargs_of(model) | changes, "logs": {"loss": 1.0}},
    }
    torch.save(content, path)
    return path


def make(ratios: tuple[int, ...] = (2, 4), **changes: Any) -> DacModel:
    return small_model(ratios, torch.float32, **changes)


@pytest.mark.parametrize("form", ["old", "parametrized", "plain"])
@pytest.mark.parametrize(
    "shape",
    [
        {"ratios": (2, 4, 8, 8), "sampling_rate": 44100},
        {"ratios": (2, 4, 5, 8), "n_codebooks": 12},
        {"ratios": (3,), "n_codebooks": 1},
        {"ratios": (2, 3, 5, 2, 2), "encoder_hidden_size": 2},
        {"ratios": (2, 4, 8, 8), "hidden_size": 12, "n_codebooks": 18},
    ],
    ids=str,
)
def test_weights_and_settings(tmp_path: Path, shape: dict[str, Any], form: str) -> None:
    model = make(**shape)
    loaded = DacModel.from_descript(write(tmp_path / "weights.pth", model, form))
    assert not loaded.training
    assert loaded.config.dtype == loaded.dtype == torch.float32
    expected = model.config.to_diff_dict() | {"dtype": "float32"}
    assert loaded.config.to_diff_dict() == expected
    assert list(loaded.state_dict()) == list(model.state_dict())
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key], rtol=1e-6, atol=1e-7)


def test_the_latents_of_the_16_kbps_model_are_narrow(tmp_path: Path) -> None:
    model = make((2, 4, 8, 8), hidden_size=12)
    loaded = DacModel.from_descript(write(tmp_path / "weights.pth", model))
    assert loaded.config.hidden_size == 12
    codes = torch.randint(0, 32, (1, 4, 3))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.decode(audio_codes=codes).audio_values,
            model.decode(audio_codes=codes).audio_values,
        )


def test_defaults_of_descript(tmp_path: Path) -> None:
    model = make((2, 4, 8, 8), n_codebooks=9, codebook_dim=8)
    path = write(tmp_path / "weights.pth", model)
    content = torch.load(path)
    kwargs = content["metadata"]["kwargs"]
    for name in ("encoder_rates", "latent_dim", "decoder_rates", "n_codebooks", "codebook_dim"):
        del kwargs[name]
    del kwargs["sample_rate"], kwargs["quantizer_dropout"]
    torch.save(content, path)
    config, state = load_descript(path)
    assert config.sampling_rate == 44100
    assert config.to_diff_dict() == model.config.to_diff_dict() | {
        "sampling_rate": 44100,
        "dtype": "float32",
    }
    assert set(state) == set(model.state_dict())


def test_half_models(tmp_path: Path) -> None:
    model = make()
    path = write(tmp_path / "weights.pth", model, codebook_dim=[4, 4, 4, 4])
    for part, other in (("encoder", "decoder"), ("decoder", "encoder")):
        loaded = DacModel.from_descript(path, part=part)
        assert getattr(loaded, other) is None
        kept = [key for key in model.state_dict() if not key.startswith(f"{other}.")]
        assert list(loaded.state_dict()) == kept


def test_the_model_does_not_depend_on_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pth", make())
    loaded = DacModel.from_descript(path)
    before = {key: value.clone() for key, value in loaded.state_dict().items()}
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(loaded.state_dict()[key], before[key]) for key in before)


def change_state(**entries: Any) -> Any:
    def change(content: dict[str, Any]) -> None:
        content["state_dict"].update(entries)

    return change


def drop(key: str) -> Any:
    return lambda content: content["state_dict"].pop(key)


FOREIGN = {
    "no metadata": (lambda c: c.pop("metadata"), "expected the entries 'state_dict'"),
    "no weights": (lambda c: c.pop("state_dict"), "expected the entries 'state_dict'"),
    "no kwargs": (lambda c: c["metadata"].pop("kwargs"), r"metadata\['kwargs'\]"),
    "metadata": (lambda c: c.update(metadata=3), r"metadata\['kwargs'\]"),
    "not tensors": (change_state(x="y"), "expected tensors"),
    "unknown key": (change_state(**{"lm.weight": torch.ones(1)}), r"unexpected key 'lm\.weight'"),
    "a block too many": (
        change_state(**{"encoder.block.5.bias": torch.ones(1)}),
        r"unexpected key 'encoder\.block\.5\.bias'",
    ),
    "a unit too many": (
        change_state(**{"decoder.model.1.block.5.block.0.alpha": torch.ones(1)}),
        r"unexpected key 'decoder\.model\.1\.block\.5",
    ),
    "a layer too deep": (
        change_state(**{"decoder.model.1.block.0.block.4.alpha": torch.ones(1)}),
        r"unexpected key 'decoder\.model\.1\.block\.0\.block\.4",
    ),
    "twice": (
        change_state(**{"encoder.block.1.block.3.block.0.alpha": torch.ones(1)}),
        "unexpected key",
    ),
    "no first layer": (drop("encoder.block.0.weight_g"), r"encoder\.conv1\.weight must have shape"),
    "no bias": (drop("decoder.model.2.block.4.block.1.bias"), "expected 114 tensors, got 113"),
    "more codebooks": (lambda c: set_kwarg(c, n_codebooks=3), "more codebooks than the 3"),
    "fewer codebooks": (lambda c: set_kwarg(c, n_codebooks=5), r"quantizers\.4\.codebook\.weight"),
    "other width": (lambda c: set_kwarg(c, encoder_dim=8), r"must have shape \(8, 1, 7\), got \(4"),
    "other latents": (lambda c: set_kwarg(c, latent_dim=5), "must have shape"),
    "wrong type": (lambda c: set_kwarg(c, codebook_size="32"), "codebook_size"),
    "wrong rates": (lambda c: set_kwarg(c, encoder_rates=3), "no weights of descript"),
    "mixed widths": (lambda c: set_kwarg(c, codebook_dim=[4, 8]), r"different widths \[4, 8\]"),
    "integers": (
        change_state(**{"encoder.block.0.bias": torch.ones(4, dtype=torch.int32)}),
        "expected floating point weights",
    ),
}


def set_kwarg(content: dict[str, Any], **changes: Any) -> None:
    content["metadata"]["kwargs"].update(changes)


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_files(tmp_path: Path, case: str) -> None:
    change, message = FOREIGN[case]
    path = write(tmp_path / "weights.pth", make())
    content = torch.load(path)
    change(content)
    torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        DacModel.from_descript(path)
    assert str(path) in str(caught.value)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_code_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = write(tmp_path / "weights.pth", make())
    content = torch.load(path)
    content["metadata"]["kwargs"]["encoder_dim"] = Malicious(marker)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"asks for posix\.system: refused"):
        load_descript(path)
    assert not marker.exists()


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        load_descript(tmp_path / "absent.pth")
    path = write(tmp_path / "weights.pth", make())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(OSError, match=r"weights\.pth is damaged"):
        load_descript(path)
    torch.save(torch.ones(3), path)
    with pytest.raises(ValueError, match=r"weights\.pth holds no weights"):
        load_descript(path)
