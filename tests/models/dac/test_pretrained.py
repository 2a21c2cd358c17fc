"""Models that vivace saves load in transformers without a complaint, and the other way round."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.models.dac.helpers import audio, pair, randomize, settings, small_model
from vivace.models.dac import DacConfig, DacModel

NOTHING = {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set()}


def load(cls: Any, folder: Path, **options: Any) -> Any:
    """The loaded model, after a look at the report: no key missing, unexpected or misfitting."""
    model, info = cls.from_pretrained(folder, output_loading_info=True, **options)
    assert {key: info[key] for key in NOTHING} == NOTHING
    assert not info["error_msgs"]
    return model


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    assert list(one.state_dict()) == list(other.state_dict())
    for key, value in one.state_dict().items():
        assert value.dtype == other.state_dict()[key].dtype
        assert torch.equal(value, other.state_dict()[key]), key


def assert_same_results(ours: DacModel, theirs: Any) -> None:
    x = audio(1, 1400, ours.dtype)
    with torch.no_grad():
        result, expected = ours(x), theirs(x)
    assert torch.equal(result.audio_codes, expected.audio_codes)
    torch.testing.assert_close(result.audio_values, expected.audio_values, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        {"ratios": (2, 4, 5, 8)},
        {"ratios": (3,), "n_codebooks": 1, "codebook_size": 2},
        {"ratios": (2, 4), "hidden_size": 9, "sampling_rate": 24000},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", ["50GB", "20KB"])
def test_both_ways(tmp_path: Path, shape: dict[str, Any], size: str) -> None:
    ours, theirs = pair(**shape, dtype=torch.float32)
    ours.save_pretrained(tmp_path / "ours", max_shard_size=size)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=size)
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == sorted(
        path.name for path in (tmp_path / "theirs").iterdir()
    )
    configs = [json.loads((tmp_path / n / "config.json").read_text()) for n in ("ours", "theirs")]
    assert configs[0] == configs[1]
    from_ours = load(transformers.DacModel, tmp_path / "ours")
    from_theirs = load(DacModel, tmp_path / "theirs")
    assert_same_weights(from_ours, ours)
    assert_same_weights(from_theirs, theirs)
    assert_same_results(from_theirs, from_ours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_both_ways(tmp_path: Path, dtype: torch.dtype) -> None:
    ours, theirs = pair(dtype=dtype)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    for cls, name in ((transformers.DacModel, "ours"), (DacModel, "theirs")):
        for options in (
            {},
            {"dtype": "auto"},
            {"dtype": torch.float32},
            {"torch_dtype": "float16"},
        ):
            loaded = load(cls, tmp_path / name, **options)
            wanted = next(iter(options.values()), "auto")
            wanted = {"auto": dtype, "float16": torch.float16}.get(wanted, wanted)
            assert loaded.dtype == loaded.config.dtype == wanted


def test_variant_and_subfolder_both_ways(tmp_path: Path) -> None:
    ours, theirs = pair(dtype=torch.float32)
    ours.save_pretrained(tmp_path / "ours", variant="fp16")
    theirs.save_pretrained(tmp_path / "theirs", variant="fp16", max_shard_size="20KB")
    options = {"variant": "fp16"}
    loaded = load(transformers.DacModel, tmp_path, subfolder="ours", **options)
    assert_same_weights(loaded, ours)
    assert_same_weights(load(DacModel, tmp_path, subfolder="theirs", **options), theirs)


def test_bin_files_of_transformers_models(tmp_path: Path) -> None:
    ours, theirs = pair(dtype=torch.float32)
    theirs.config.save_pretrained(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    assert_same_weights(load(DacModel, tmp_path), ours)
    ours.save_pretrained(tmp_path / "ours", safe_serialization=False)
    assert_same_weights(load(transformers.DacModel, tmp_path / "ours"), ours)


def test_weight_norm_both_ways(tmp_path: Path) -> None:
    ours, theirs = pair(dtype=torch.float32)
    for model, name in ((ours, "ours"), (theirs, "theirs")):
        model.apply_weight_norm()
        torch.manual_seed(3)
        randomize(model)
        model.save_pretrained(tmp_path / name)
    # Ours folds on saving, so transformers finds plain weights; theirs keeps the pairs.
    from_ours = load(transformers.DacModel, tmp_path / "ours")
    from_theirs = load(DacModel, tmp_path / "theirs")
    x = audio(1, 200, torch.float32)
    with torch.no_grad():
        expected = theirs.encode(x).quantized_representation
        for model in (ours, from_ours, from_theirs):
            z = model.encode(x).quantized_representation
            torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_halves(tmp_path: Path, part: str) -> None:
    _, theirs = pair(dtype=torch.float32)
    theirs.save_pretrained(tmp_path)
    half = load(DacModel, tmp_path, part=part)
    assert half.part == part
    other = "decoder." if part == "encoder" else "encoder."
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith(other)}
    assert list(half.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in half.state_dict().items())
    half.save_pretrained(tmp_path / "half")
    again = load(DacModel, tmp_path / "half", part=part)
    assert_same_weights(again, half)
    with pytest.raises(ValueError, match="part must be"):
        DacModel.from_pretrained(tmp_path, part="middle")


def test_reports_equal_transformers(tmp_path: Path) -> None:
    model = small_model(dtype=torch.float32)
    state = model.state_dict()
    del state["decoder.conv1.bias"], state["quantizer.quantizers.1.codebook.weight"]
    state["decoder.more"] = torch.ones(2)
    state["encoder.snake1.alpha"] = torch.ones(1, 3, 1)
    model.save_pretrained(tmp_path, state_dict=state)
    reports = []
    for cls in (DacModel, transformers.DacModel):
        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            cls.from_pretrained(tmp_path)
        _, report = cls.from_pretrained(
            tmp_path, output_loading_info=True, ignore_mismatched_sizes=True
        )
        reports.append({key: set(map(str, report[key])) for key in NOTHING})
    assert len(reports[0]["mismatched_keys"]) == 1
    assert reports[0]["missing_keys"] == reports[1]["missing_keys"]
    assert reports[0]["unexpected_keys"] == reports[1]["unexpected_keys"]


def test_initialised_like_transformers() -> None:
    torch.manual_seed(5)
    ours = DacModel(DacConfig(**settings((2, 4))))
    theirs = transformers.DacModel(transformers.DacConfig(**settings((2, 4))))
    for key, value in theirs.state_dict().items():
        mine = ours.state_dict()[key]
        assert value.shape == mine.shape
        if value.numel() > 200:
            assert float(mine.std()) == pytest.approx(float(value.std()), rel=0.3), key
