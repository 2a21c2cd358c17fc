"""EncodecConfig against transformers' class: fields, checks, derived values, config.json."""

import math
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EncodecConfig as OracleConfig

from vivace.models.base import StrictDataclassFieldValidationError
from vivace.models.encodec import EncodecConfig, EncodecModel

DERIVED = (
    "chunk_length",
    "chunk_stride",
    "hop_length",
    "codebook_nbits",
    "frame_rate",
    "num_quantizers",
)
TYPED = {
    "target_bandwidths": st.lists(st.floats(0.5, 48), min_size=1, max_size=4)
    | st.lists(st.floats(0.5, 48), min_size=1, max_size=4).map(tuple),
    "sampling_rate": st.sampled_from([16000, 24000, 44100, 48000]),
    "audio_channels": st.integers(1, 2),
    "normalize": st.booleans(),
    "chunk_length_s": st.none() | st.integers(1, 3) | st.floats(0.1, 3),
    "overlap": st.none() | st.floats(0, 0.9),
    "hidden_size": st.integers(1, 256),
    "num_filters": st.integers(1, 64),
    "num_residual_layers": st.integers(0, 3),
    "upsampling_ratios": st.lists(st.integers(1, 9), min_size=1, max_size=5)
    | st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple),
    "norm_type": st.sampled_from(["weight_norm", "time_group_norm"]),
    "kernel_size": st.integers(1, 9),
    "use_causal_conv": st.booleans(),
    "pad_mode": st.sampled_from(["reflect", "constant"]),
    "trim_right_ratio": st.floats(0, 1),
    "codebook_size": st.integers(2, 4096),
    "codebook_dim": st.none() | st.integers(1, 256),
    "dtype": st.sampled_from(["float32", "bfloat16", torch.float16]),
    "return_dict": st.booleans(),
    "note": st.text() | st.none(),
}
KEYWORDS = st.fixed_dictionaries({}, optional=TYPED)


@settings(deadline=None)
@given(KEYWORDS)
def test_equals_transformers(kwargs: dict[str, Any]) -> None:
    ours, oracle = EncodecConfig(**kwargs), OracleConfig(**kwargs)
    assert ours.to_dict() == oracle.to_dict()
    assert ours.to_diff_dict() == oracle.to_diff_dict()
    assert ours.to_json_string() == oracle.to_json_string()
    for name in DERIVED:
        assert getattr(ours, name) == getattr(oracle, name), name


@settings(deadline=None, max_examples=30)
@given(kwargs=KEYWORDS)
def test_config_json_goes_both_ways(
    kwargs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("config")
    ours, oracle = EncodecConfig(**kwargs), OracleConfig(**kwargs)
    ours.save_pretrained(folder / "ours")
    oracle.save_pretrained(folder / "oracle")
    texts = [(folder / name / "config.json").read_text() for name in ("ours", "oracle")]
    assert texts[0] == texts[1]
    assert OracleConfig.from_pretrained(folder / "ours").to_diff_dict() == oracle.to_diff_dict()
    assert EncodecConfig.from_pretrained(folder / "oracle").to_diff_dict() == ours.to_diff_dict()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling_rate", "24000"),
        ("normalize", 1),
        ("overlap", 1),
        ("chunk_length_s", "1"),
        ("target_bandwidths", [6]),
        ("upsampling_ratios", [2, 4.0]),
        ("trim_right_ratio", 1),
        ("codebook_dim", 1.0),
        ("norm_type", None),
    ],
    ids=str,
)
def test_wrong_types_are_refused_as_in_transformers(name: str, value: Any) -> None:
    with pytest.raises(StrictDataclassError, match=name):
        OracleConfig(**{name: value})
    for kind in (ValueError, TypeError, StrictDataclassFieldValidationError):
        with pytest.raises(kind, match=f"Validation error for field '{name}'"):
            EncodecConfig(**{name: value})


def test_unknown_norms_are_refused_as_in_transformers() -> None:
    with pytest.raises(StrictDataclassClassValidationError, match="norm_type"):
        OracleConfig(norm_type="layer_norm")
    with pytest.raises(ValueError, match=r"norm_type must be one of .* got 'layer_norm'"):
        EncodecConfig(norm_type="layer_norm")
    config = EncodecConfig()
    config.norm_type = "layer_norm"  # transformers lets it pass here, and refuses it in the model
    with pytest.raises(ValueError, match=r"norm_type must be one of .* got 'layer_norm'"):
        EncodecModel(config)


def test_the_released_models() -> None:
    config = EncodecConfig()
    assert (config.hop_length, config.frame_rate, config.num_quantizers) == (320, 75, 32)
    assert (config.chunk_length, config.chunk_stride, config.codebook_dim) == (None, None, 128)
    chunked = EncodecConfig(
        sampling_rate=48000,
        chunk_length_s=1.0,
        overlap=0.01,
        target_bandwidths=[3.0, 6.0, 12.0, 24.0],
    )
    assert (chunked.chunk_length, chunked.chunk_stride) == (48000, 47520)
    assert (chunked.frame_rate, chunked.num_quantizers) == (150, 16)
    assert math.isclose(chunked.chunk_stride / chunked.chunk_length, 0.99)
