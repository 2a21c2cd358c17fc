"""EncodecFeatureExtractor against transformers' class: values, dtypes, masks, errors and texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import EncodecFeatureExtractor as OracleExtractor

from tests.models.encodec.helpers import STEREO, small_model
from vivace.models.encodec import EncodecFeatureExtractor


@st.composite
def clips(draw: st.DrawFn) -> Any:
    """One clip or a batch, mono and stereo, as arrays and lists; also wrong ranks."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtypes = st.sampled_from([np.float64, np.float32, np.float16, np.int16])
    channels = draw(st.sampled_from([(), (), (2,), (2,), (1,), (1, 2)]))

    def clip() -> Any:
        shape = (*channels, draw(st.integers(3, 40)))
        array = (100 * generator.standard_normal(shape)).astype(draw(dtypes))
        return array.tolist() if draw(st.booleans()) else array

    return [clip() for _ in range(draw(st.integers(1, 3)))] if draw(st.booleans()) else clip()


CALLS = st.fixed_dictionaries(
    {"raw_audio": clips(), "sampling_rate": st.sampled_from([100, 100, 100, 8000])},
    optional={
        "padding": st.sampled_from([None, True, False, "longest", "max_length", "wrong"]),
        "truncation": st.sampled_from([False, True, None]),
        "max_length": st.none() | st.integers(1, 50),
        "return_tensors": st.sampled_from([None, "pt", "np"]),
    },
)
SETTINGS = st.fixed_dictionaries(
    {"sampling_rate": st.just(100)},
    optional={
        "feature_size": st.sampled_from([1, 2]),
        "padding_side": st.sampled_from(["right", "left"]),
        "padding_value": st.sampled_from([0.0, 1.5]),
        "chunk_length_s": st.none() | st.sampled_from([0.1, 0.07]),
        "overlap": st.none() | st.sampled_from([0.0, 0.2, 0.5]),
    },
)


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "result", call()
    except (ValueError, IndexError, TypeError) as error:
        return type(error).__name__, str(error).splitlines()[0]


def assert_same(ours: Any, oracle: Any) -> None:
    assert type(ours) is type(oracle)
    if isinstance(oracle, list):
        assert len(ours) == len(oracle)
        for one, other in zip(ours, oracle, strict=True):
            assert_same(one, other)
    else:
        assert ours.dtype == oracle.dtype
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(oracle))


@settings(deadline=None, max_examples=400)
@given(SETTINGS, CALLS)
def test_equals_transformers(options: dict[str, Any], call: dict[str, Any]) -> None:
    ours, oracle = EncodecFeatureExtractor(**options), OracleExtractor(**options)
    kind, expected = outcome(lambda: oracle(**call))
    found_kind, found = outcome(lambda: ours(**call))
    assert found_kind == kind, (found, expected)
    if kind != "result":
        # Ragged clips as one tensor: numpy's message, and ours that comes before it.
        assume("inhomogeneous" not in expected and "Unable to" not in expected)
        assert found == expected
        return
    assert set(found) == set(expected)
    for key in expected:
        assert_same(found[key], expected[key])


def test_files_go_both_ways(tmp_path: Path) -> None:
    options = {"feature_size": 2, "sampling_rate": 48000, "chunk_length_s": 1.0, "overlap": 0.01}
    ours, oracle = EncodecFeatureExtractor(**options), OracleExtractor(**options)
    assert json.loads(ours.to_json_string()) == json.loads(oracle.to_json_string())
    ours.save_pretrained(tmp_path / "ours")
    oracle.save_pretrained(tmp_path / "oracle")
    assert OracleExtractor.from_pretrained(tmp_path / "ours").to_dict() == oracle.to_dict()
    loaded = EncodecFeatureExtractor.from_pretrained(tmp_path / "oracle")
    assert (loaded.chunk_length, loaded.chunk_stride) == (48000, 47520)
    assert EncodecFeatureExtractor().chunk_stride is None


def test_the_model_takes_what_it_makes() -> None:
    model = small_model(STEREO, torch.float32)
    extractor = EncodecFeatureExtractor(2, 1200, chunk_length_s=0.5, overlap=0.1)
    batch = extractor(
        [np.ones((2, 700)), np.ones((2, 1300))], sampling_rate=1200, return_tensors="pt"
    )
    assert batch["input_values"].shape == (2, 2, 2 * 540 + 600)
    assert batch["padding_mask"].sum(1).tolist() == [700, 1300]
    assert model(**batch).audio_values.shape == batch["input_values"].shape


def test_two_samples_are_not_two_channels() -> None:
    """transformers takes them for stereo, and fails while padding or returns one channel."""
    with pytest.raises(ValueError, match="Expected stereo audio but example has 1 channels"):
        EncodecFeatureExtractor(2)(np.zeros(2), sampling_rate=24000)
    with pytest.raises(ValueError, match="a single number"):
        EncodecFeatureExtractor()(np.float32(1), sampling_rate=24000)


def test_warns_without_a_sampling_rate(caplog: pytest.LogCaptureFixture) -> None:
    EncodecFeatureExtractor()(np.zeros(3))
    assert "It is strongly recommended to pass the `sampling_rate`" in caplog.text
