"""DacConfig against transformers' class: fields, checks, computed values, config.json both ways."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError as OracleError
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DacConfig as OracleConfig

from vivace.models.base import StrictDataclassFieldValidationError
from vivace.models.dac.config import DacConfig

TYPED = {
    "encoder_hidden_size": st.integers(1, 128),
    "downsampling_ratios": st.lists(st.integers(1, 9), max_size=5)
    | st.lists(st.integers(1, 9), max_size=5).map(tuple),
    "decoder_hidden_size": st.integers(1, 2048),
    "n_codebooks": st.integers(1, 32),
    "codebook_size": st.integers(1, 4096),
    "codebook_dim": st.integers(1, 16),
    "quantizer_dropout": st.floats(0, 1) | st.integers(0, 1) | st.just(math.inf),
    "commitment_loss_weight": st.floats(-math.inf, math.inf),
    "codebook_loss_weight": st.floats(allow_nan=False),
    "sampling_rate": st.sampled_from([8000, 16000, 24000, 44100]),
    "hidden_size": st.integers(1, 4096),
    "hop_length": st.integers(1, 4096),
    "upsampling_ratios": st.lists(st.integers(1, 9), min_size=1, max_size=5),
    "dtype": st.sampled_from(["float32", "bfloat16", torch.float16]),
    "torch_dtype": st.sampled_from(["float32", "float16"]),
    "return_dict": st.booleans(),
    "output_hidden_states": st.booleans(),
    "architectures": st.just(["DacModel"]),
    "use_conv_shortcut": st.booleans(),
    "note": st.text() | st.none() | st.lists(st.integers()),
}
KEYWORDS = st.fixed_dictionaries({}, optional=TYPED)


@settings(deadline=None)
@given(KEYWORDS)
def test_equals_transformers(kwargs: dict[str, Any]) -> None:
    ours, oracle = DacConfig(**kwargs), OracleConfig(**kwargs)
    assert ours.to_diff_dict() == oracle.to_diff_dict()
    assert ours.to_json_string() == oracle.to_json_string()
    assert repr(ours) == repr(oracle)
    assert ours.frame_rate == oracle.frame_rate
    assert ours.dtype == oracle.dtype
    assert ours.to_dict() == oracle.to_dict()


@settings(deadline=None)
@given(kwargs=KEYWORDS)
def test_config_json_goes_both_ways(
    kwargs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("config")
    ours, oracle = DacConfig(**kwargs), OracleConfig(**kwargs)
    ours.save_pretrained(folder / "ours")
    oracle.save_pretrained(folder / "oracle")
    files = [folder / name / "config.json" for name in ("ours", "oracle")]
    assert files[0].read_text() == files[1].read_text()
    assert OracleConfig.from_pretrained(folder / "ours").to_diff_dict() == oracle.to_diff_dict()
    assert DacConfig.from_pretrained(folder / "oracle").to_diff_dict() == ours.to_diff_dict()


WRONG = [
    ("codebook_size", "1024"),
    ("n_codebooks", 9.5),
    ("sampling_rate", "16000"),
    ("sampling_rate", None),
    ("quantizer_dropout", True),
    ("quantizer_dropout", "0"),
    ("commitment_loss_weight", 1),
    ("encoder_hidden_size", True),
    ("downsampling_ratios", (2, "4")),
    ("downsampling_ratios", [2, 4.0]),
    ("downsampling_ratios", 8),
    ("downsampling_ratios", {2, 4}),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_wrong_types_are_refused_as_in_transformers(name: str, value: Any) -> None:
    with pytest.raises(OracleError, match=name):
        OracleConfig(**{name: value})
    for kind in (ValueError, TypeError, StrictDataclassFieldValidationError):
        with pytest.raises(kind, match=f"Validation error for field '{name}'"):
            DacConfig(**{name: value})
    config = DacConfig()
    with pytest.raises(StrictDataclassFieldValidationError, match=name):
        setattr(config, name, value)
    assert config == DacConfig()


def test_refuses_unknown_dtypes_and_positional_arguments() -> None:
    for dtype in ("float31", "nn", 3):
        with pytest.raises(StrictDataclassFieldValidationError, match="dtype"):
            DacConfig(dtype=dtype)
    with pytest.raises(ValueError, match="accepts only keyword arguments"):
        DacConfig(64)


def test_computed_fields_are_overridden_by_keywords() -> None:
    config = DacConfig(downsampling_ratios=[2, 4, 5, 8])
    assert (config.hop_length, config.hidden_size) == (320, 1024)
    assert config.upsampling_ratios == [8, 5, 4, 2]
    given = {"hop_length": 512, "hidden_size": 128, "upsampling_ratios": [8, 8, 4, 2]}
    config = DacConfig(downsampling_ratios=[2, 4, 5, 8], **given)
    assert {key: getattr(config, key) for key in given} == given


@pytest.mark.parametrize(
    ("rate", "ratios", "frames"),
    [(16000, [2, 4, 5, 8], 50), (24000, [2, 4, 5, 8], 75), (44100, [2, 4, 8, 8], 87)],
)
def test_frame_rate(rate: int, ratios: list[int], frames: int) -> None:
    assert DacConfig(sampling_rate=rate, downsampling_ratios=ratios).frame_rate == frames


def test_keywords_of_from_pretrained(tmp_path: Path) -> None:
    DacConfig(n_codebooks=3, note="file").save_pretrained(tmp_path)
    options = {"n_codebooks": 5, "note": "call", "unknown": 1, "return_unused_kwargs": True}
    oracle, oracle_unused = OracleConfig.from_pretrained(tmp_path, **options)
    config, unused = DacConfig.from_pretrained(tmp_path, **options)
    assert unused == oracle_unused == {"unknown": 1}
    assert config.to_diff_dict() == oracle.to_diff_dict()
    assert (config.n_codebooks, config.note) == (5, "call")
    assert not hasattr(DacConfig.from_pretrained(tmp_path, unknown=1), "unknown")


def test_overriding_a_field_on_loading_computes_nothing_anew(tmp_path: Path) -> None:
    DacConfig().save_pretrained(tmp_path)
    options = {"encoder_hidden_size": 32, "downsampling_ratios": [2, 2]}
    config = DacConfig.from_pretrained(tmp_path, **options)
    assert config.hidden_size == OracleConfig.from_pretrained(tmp_path, **options).hidden_size
    assert config.hidden_size == 1024


def test_dtype_has_two_names(tmp_path: Path) -> None:
    assert DacConfig(torch_dtype="float16").dtype == torch.float16
    assert DacConfig(torch_dtype="float16", dtype="float32").dtype == torch.float32
    config = DacConfig()
    config.torch_dtype = torch.bfloat16
    assert config.dtype == config.torch_dtype == torch.bfloat16
    (tmp_path / "config.json").write_text('{"torch_dtype": "float16"}')
    assert DacConfig.from_pretrained(tmp_path).dtype == torch.float16
    assert DacConfig.from_pretrained(tmp_path, dtype="auto").dtype == torch.float16
    assert DacConfig.from_pretrained(tmp_path, dtype="float32").dtype == torch.float32


def test_other_ways_to_make_one(tmp_path: Path) -> None:
    config = DacConfig(n_codebooks=2, extra=[1, 2])
    path = tmp_path / "some.json"
    config.to_json_file(path)
    assert set(json.loads(path.read_text())) < set(json.loads(config.to_json_string(False)))
    for loaded in (
        DacConfig.from_json_file(path),
        DacConfig.from_pretrained(path),
        DacConfig.from_dict(json.loads(path.read_text())),
        DacConfig(**json.loads(path.read_text())),
        DacConfig(**OracleConfig(n_codebooks=2, extra=[1, 2]).to_dict()),
    ):
        assert loaded.to_diff_dict() == config.to_diff_dict()
    given = {"n_codebooks": 2}
    DacConfig.from_dict(given, dtype="float16")
    assert given == {"n_codebooks": 2}


def test_update_sets_attributes() -> None:
    config = DacConfig()
    config.update({"codebook_size": 8, "extra": 1})
    assert (config.codebook_size, config.extra) == (8, 1)
    assert "extra" in config
    assert config != DacConfig()
    with pytest.raises(StrictDataclassFieldValidationError):
        config.update({"codebook_size": "8"})


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", '{"n_codebooks": "9"}'])
def test_damaged_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises((OSError, ValueError), match=r"config\.json|n_codebooks"):
        DacConfig.from_pretrained(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no file named config\.json"):
        DacConfig.from_pretrained(tmp_path)
    with pytest.raises(OSError, match="neither an existing folder"):
        DacConfig.from_pretrained(tmp_path / "absent")


def test_another_model_type_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "encodec"}')
    with caplog.at_level(logging.WARNING):
        assert DacConfig.from_pretrained(tmp_path).to_dict()["model_type"] == "dac"
    assert "`encodec`" in caplog.text
