"""DacFeatureExtractor against transformers' class: values, dtypes, masks, errors, their texts."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import DacFeatureExtractor as OracleExtractor
from transformers.utils import PaddingStrategy as OracleStrategy

from vivace.models.dac.feature_extractor import DacFeatureExtractor
from vivace.models.features import BatchFeature

DTYPES = [np.float64, np.float32, np.float16, np.int16]


@st.composite
def clips(draw: st.DrawFn) -> Any:
    """One clip or a batch, as arrays, lists or tuples, also empty ones and wrong ranks."""
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)

    def clip() -> Any:
        length = draw(st.integers(0, 40))
        shape = draw(st.sampled_from([(length,)] * 8 + [(1, length), (length, 2), (2, 1, length)]))
        array = (100 * generator.standard_normal(shape)).astype(draw(st.sampled_from(DTYPES)))
        return draw(st.sampled_from([lambda: array, array.tolist]))()

    if draw(st.booleans()):
        return clip()
    batch = [clip() for _ in range(draw(st.integers(0, 4)))]
    return draw(st.sampled_from([list, tuple]))(batch)


CALLS = st.fixed_dictionaries(
    {"raw_audio": clips(), "sampling_rate": st.sampled_from([16000, 16000, 16000, 8000])},
    optional={
        "padding": st.sampled_from(
            [None, True, False, "longest", "max_length", "wrong", OracleStrategy.LONGEST]
        ),
        "truncation": st.sampled_from([False, True, None]),
        "max_length": st.none() | st.integers(1, 50),
        "return_tensors": st.sampled_from([None, "pt", "np", "tf"]),
    },
)
SETTINGS = st.fixed_dictionaries(
    {"hop_length": st.integers(1, 12)},
    optional={
        "feature_size": st.sampled_from([1, 2]),
        "padding_side": st.sampled_from(["right", "left"]),
        "padding_value": st.sampled_from([0.0, 1.5]),
    },
)


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "result", call()
    except (ValueError, IndexError, TypeError) as error:
        return type(error).__name__, str(error).splitlines()[0] if str(error) else ""


def assert_same(ours: Any, oracle: Any) -> None:
    assert type(ours) is type(oracle)
    if isinstance(oracle, list):
        assert len(ours) == len(oracle)
        for one, other in zip(ours, oracle, strict=True):
            assert_same(one, other)
    else:
        assert ours.dtype == oracle.dtype
        assert tuple(ours.shape) == tuple(oracle.shape)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(oracle))


@settings(deadline=None)
@given(options=SETTINGS, call=CALLS)
def test_equals_transformers(options: dict[str, Any], call: dict[str, Any]) -> None:
    ours, oracle = DacFeatureExtractor(**options), OracleExtractor(**options)
    kind, got = outcome(lambda: ours(**call))
    oracle_kind, expected = outcome(lambda: oracle(**call))
    if "too many indices" in expected:
        # transformers stumbles over clips longer than max_length; we say what is wrong.
        assert (kind, got[:28]) == ("ValueError", "the clips differ in length a")
        return
    assert kind == oracle_kind, (got, expected)
    if kind != "result":
        assert got == expected
        return
    assert list(got) == list(expected)
    for key in expected:
        assert_same(got[key], expected[key])


@settings(deadline=None)
@given(
    extractor=SETTINGS.filter(lambda s: s.get("feature_size") != 2),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    options=st.fixed_dictionaries(
        {},
        optional={
            "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
            "max_length": st.none() | st.integers(1, 40),
            "truncation": st.booleans(),
            "pad_to_multiple_of": st.none() | st.integers(1, 9),
            "return_attention_mask": st.sampled_from([None, True, False]),
            "return_tensors": st.sampled_from([None, "np", "pt"]),
        },
    ),
    form=st.sampled_from(["arrays", "lists", "tensors", "dicts"]),
)
def test_pad_equals_transformers(
    extractor: dict[str, Any], lengths: list[int], options: dict[str, Any], form: str
) -> None:
    # transformers looks for the first number of a batch of lists and finds none.
    assume(form != "lists" or any(lengths))
    arrays = [np.linspace(-1, 1, n) for n in lengths]
    features: Any = {"input_values": arrays}
    if form == "lists":
        features = {"input_values": [array.tolist() for array in arrays]}
    elif form == "tensors":
        features = {"input_values": [torch.from_numpy(array) for array in arrays]}
    elif form == "dicts":
        features = [{"input_values": array} for array in arrays]
    given_features = copy.deepcopy(features)
    ours, oracle = DacFeatureExtractor(**extractor), OracleExtractor(**extractor)
    kind, got = outcome(lambda: ours.pad(features, **options))
    # transformers changes its argument; we must not.
    oracle_kind, expected = outcome(lambda: oracle.pad(copy.deepcopy(given_features), **options))
    assert str(features) == str(given_features)
    assert kind == oracle_kind, (got, expected)
    if kind == "result":
        assert set(got) == set(expected)
        for key in expected:
            if getattr(expected[key], "dtype", None) == np.dtype(
                object
            ):  # clips of different lengths
                assert_same(list(got[key]), list(expected[key]))
            else:
                assert_same(got[key], expected[key])
    else:
        assert got == expected


@pytest.mark.parametrize(
    "call",
    [
        {"raw_audio": []},
        {"raw_audio": "abc"},
        {"raw_audio": [torch.ones(3), torch.ones(4)]},
        {"raw_audio": [torch.ones(3), torch.ones(3)]},
        {"raw_audio": torch.linspace(-1, 1, 9)},
        {"raw_audio": torch.linspace(-1, 1, 9).double(), "return_tensors": "pt"},
        {"raw_audio": [1, 2, 3]},
        {"raw_audio": np.ones(3, dtype=bool)},
        {"raw_audio": [np.ones(3), np.ones(5)], "padding": False, "return_tensors": None},
        {"raw_audio": np.ones(9), "truncation": True, "max_length": 5, "return_tensors": "mlx"},
        {"raw_audio": np.ones(9), "padding": "do_not_pad"},
    ],
    ids=str,
)
def test_special_inputs_equal_transformers(call: dict[str, Any]) -> None:
    ours, oracle = DacFeatureExtractor(hop_length=4), OracleExtractor(hop_length=4)
    kind, got = outcome(lambda: ours(**call, sampling_rate=16000))
    oracle_kind, expected = outcome(lambda: oracle(**call, sampling_rate=16000))
    assert (kind, oracle_kind) == (oracle_kind, kind)
    if kind != "result":
        assert got == expected
        return
    for key in expected:
        assert_same(got[key], expected[key])


def test_clips_of_different_lengths_need_padding_to_become_tensors() -> None:
    call = {"padding": False, "return_tensors": "pt", "sampling_rate": 16000}
    for extractor in (DacFeatureExtractor(), OracleExtractor()):
        with pytest.raises(ValueError, match="Unable to convert output 'input_values'"):
            extractor([np.ones(3), np.ones(4)], **call)


def test_a_single_number_is_refused() -> None:
    with pytest.raises(ValueError, match="single number"):
        DacFeatureExtractor()(3.0, sampling_rate=16000)


def test_recommends_to_pass_the_sampling_rate(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        DacFeatureExtractor()(np.ones(4))
    assert "It is strongly recommended to pass the `sampling_rate` argument" in caplog.text


def test_attributes_of_the_output_are_its_entries() -> None:
    # In transformers the attribute input_values stays an array although the entry is a tensor.
    output = DacFeatureExtractor()(np.ones(4), return_tensors="pt", sampling_rate=16000)
    assert output.input_values is output["input_values"]
    assert isinstance(output.input_values, torch.Tensor)


def test_saving_and_loading_both_ways(tmp_path: Path) -> None:
    options = {"sampling_rate": 44100, "hop_length": 320, "padding_side": "left", "note": [1]}
    ours, oracle = DacFeatureExtractor(**options), OracleExtractor(**options)
    assert ours.to_json_string() == oracle.to_json_string()
    assert repr(ours) == repr(oracle)
    path = str(tmp_path / "ours" / "preprocessor_config.json")
    assert ours.save_pretrained(tmp_path / "ours") == [path]
    oracle.save_pretrained(tmp_path / "oracle")
    # Both then also have the attribute feature_extractor_type, which the file holds.
    assert OracleExtractor.from_pretrained(tmp_path / "ours").to_dict() == oracle.to_dict()
    for loaded in (
        DacFeatureExtractor.from_pretrained(tmp_path / "oracle"),
        DacFeatureExtractor.from_pretrained(path),
        DacFeatureExtractor.from_json_file(path),
        DacFeatureExtractor.from_pretrained(tmp_path, subfolder="ours"),
    ):
        assert loaded.to_dict() == ours.to_dict()
    changed, unused = DacFeatureExtractor.from_pretrained(
        path, hop_length=512, unknown=1, return_unused_kwargs=True
    )
    assert (changed.hop_length, unused) == (512, {"unknown": 1})


def test_settings_inside_a_processor_come_first(tmp_path: Path) -> None:
    nested = {"feature_extractor": {"hop_length": 7, "processor_class": "X"}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    (tmp_path / "preprocessor_config.json").write_text('{"hop_length": 8}')
    extractor = DacFeatureExtractor.from_pretrained(tmp_path)
    assert extractor.hop_length == OracleExtractor.from_pretrained(tmp_path).hop_length == 7
    assert not hasattr(extractor, "processor_class")
    (tmp_path / "processor_config.json").write_text("{}")
    assert DacFeatureExtractor.from_pretrained(tmp_path).hop_length == 8


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_missing_or_damaged_files(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(OSError, match=r"preprocessor_config\.json"):
        DacFeatureExtractor.from_pretrained(tmp_path)


def test_batch_feature_is_a_dict_with_attributes() -> None:
    batch = BatchFeature({"x": [[1.0, 2.0]], "names": ["a"], "ids": [1, 2]})
    assert batch.x == [[1.0, 2.0]]
    assert dict(**batch) == {"x": [[1.0, 2.0]], "names": ["a"], "ids": [1, 2]}
    with pytest.raises(AttributeError):
        batch.y  # noqa: B018
    with pytest.raises(KeyError, match="Indexing with integers"):
        batch[0]
    assert batch.convert_to_tensors("pt") is batch
    assert batch.x.dtype == torch.float32
    assert batch.ids.dtype == torch.int64
    assert batch.names == ["a"]
    for clone in (copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        assert torch.equal(clone.x, batch.x)


def test_batch_feature_to() -> None:
    batch = BatchFeature({"x": torch.ones(2), "ids": torch.ones(2, dtype=torch.int64), "n": "a"})
    batch["list"] = [torch.ones(1)]
    assert batch.to(torch.float16) is batch
    assert (batch.x.dtype, batch.ids.dtype) == (torch.float16, torch.int64)
    assert batch["list"][0].dtype == torch.float16
    batch.to("meta")
    assert batch.x.device.type == batch.ids.device.type == "meta"
    batch = BatchFeature({"x": torch.ones(2)}).to(device="cpu", dtype=torch.float64)
    assert batch.x.dtype == torch.float64
    with pytest.raises(ValueError, match="not supported"):
        batch.to([1])
