"""DacFile: descript's 1.0.0 layout on disk, what is refused and how."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vivace import DacFile
from vivace.models.dac.file import DacFileError


def make(**changes: Any) -> DacFile:
    fields: dict[str, Any] = {
        "codes": torch.randint(0, 1024, (2, 9, 31)),
        "chunk_length": 31,
        "original_length": 15001,
        "input_db": -23.25,
        "channels": 2,
        "sample_rate": 44100,
        "padding": True,
    }
    return DacFile(**fields | changes)


def content_of(file: DacFile) -> dict[str, Any]:
    """What descript's DACFile.save puts into the file."""
    return {
        "codes": file.codes.numpy().astype(np.uint16),
        "metadata": {
            "input_db": file.input_db.numpy().astype(np.float32),
            "original_length": file.original_length,
            "sample_rate": file.sample_rate,
            "chunk_length": file.chunk_length,
            "channels": file.channels,
            "padding": file.padding,
            "dac_version": "1.0.0",
        },
    }


def write(path: Path, content: Any) -> Path:
    with open(path, "wb") as file:
        np.save(file, content, allow_pickle=True)
    return path


def assert_same(first: DacFile, second: DacFile) -> None:
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.input_db, second.input_db)
    for name in (
        "chunk_length",
        "original_length",
        "channels",
        "sample_rate",
        "padding",
        "dac_version",
    ):
        assert getattr(first, name) == getattr(second, name), name


def test_descripts_reader_reads_it(tmp_path: Path) -> None:
    file = make()
    path = file.save(tmp_path / "clip.dac")
    artifacts = np.load(path, allow_pickle=True)[()]
    assert list(artifacts) == ["codes", "metadata"]
    assert artifacts["codes"].dtype == np.dtype("<u2")
    assert np.array_equal(artifacts["codes"].astype(int), file.codes.numpy())
    metadata = artifacts["metadata"]
    assert metadata.pop("input_db").tolist() == [-23.25]
    assert metadata == {
        "original_length": 15001,
        "sample_rate": 44100,
        "chunk_length": 31,
        "channels": 2,
        "padding": True,
        "dac_version": "1.0.0",
    }
    assert [type(metadata[key]) for key in ("channels", "padding")] == [int, bool]
    assert path.read_bytes() == write(tmp_path / "again.npy", content_of(file)).read_bytes()
    assert path.read_bytes()[:10] == b"\x93NUMPY\x01\x00v\x00"


@pytest.mark.parametrize("padding", [True, False])
def test_round_trip_and_again(tmp_path: Path, padding: bool) -> None:
    file = make(padding=padding, chunk_length=10, codes=torch.randint(0, 65536, (4, 3, 40)),
                input_db=[-20.0, -70.0])  # fmt: skip
    once = DacFile.load(file.save(tmp_path / "one.dac"))
    assert_same(once, file)
    assert once.codes.dtype == torch.int64
    twice = DacFile.load(once.save(tmp_path / "two.dac"))  # descript's fails here
    assert_same(twice, file)


@pytest.mark.parametrize("name", ["clip", "clip.wav", "clip.dac"])
def test_the_suffix_is_replaced(tmp_path: Path, name: str) -> None:
    assert make().save(tmp_path / name) == tmp_path / "clip.dac"
    assert make().save(str(tmp_path / "a.b.wav")) == tmp_path / "a.b.dac"
    assert sorted(os.listdir(tmp_path)) == ["a.b.dac", "clip.dac"]


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make().save(tmp_path / "clip.dac")
    before = path.read_bytes()

    def fail(file: Any, *_: Any, **__: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        make().save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["clip.dac"]


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("dac_version", "0.0.5", "dac_version must be"),
        ("dac_version", None, "dac_version must be"),
        ("dac_version", ["1.0.0"], "list"),
        ("input_db", -20.0, "input_db must be an array"),
        ("input_db", np.zeros(2, np.float32), "input_db must be 1 finite"),
        ("input_db", np.full(1, np.nan, np.float32), "finite"),
        ("input_db", np.zeros(1, np.int32), "input_db must be an array"),
        ("original_length", -5, "original_length must be a positive"),
        ("original_length", "5", "original_length must be a positive"),
        ("original_length", True, "original_length must be a positive"),
        ("sample_rate", 0, "sample_rate must be a positive"),
        ("sample_rate", 2**70, "sample_rate must be at most"),
        ("chunk_length", 1.5, "chunk_length must be a positive"),
        ("channels", 3, "multiple of 3 rows"),
        ("padding", "yes", "padding must be True or False"),
        ("padding", 1, "padding must be True or False"),
    ],
)
def test_wrong_metadata(tmp_path: Path, key: str, value: Any, match: str) -> None:
    content = content_of(make())
    content["metadata"][key] = value
    with pytest.raises(DacFileError, match=match) as caught:
        DacFile.load(write(tmp_path / "clip.dac", content))
    assert "clip.dac" in str(caught.value)
    # descript raises RuntimeError for versions; what is wrong with a value is a ValueError.
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize(
    ("codes", "match"),
    [
        (np.zeros((2, 9), np.uint16), r"shape \(channels, codebooks, frames\)"),
        (np.zeros((2, 9, 0), np.uint16), r"shape \(channels, codebooks, frames\)"),
        (np.zeros((2, 9, 4), np.float32), "dtype u2"),
        (np.zeros((2, 9, 4), np.int64), "dtype u2"),
        ([1, 2], "list"),
        (None, "codes must be an array"),
    ],
)
def test_wrong_codes(tmp_path: Path, codes: Any, match: str) -> None:
    content = content_of(make()) | {"codes": codes}
    with pytest.raises(DacFileError, match=match):
        DacFile.load(write(tmp_path / "clip.dac", content))


def test_missing_entries(tmp_path: Path) -> None:
    content = content_of(make())
    for key in content["metadata"]:
        metadata = {k: v for k, v in content["metadata"].items() if k != key}
        path = write(tmp_path / "clip.dac", content | {"metadata": metadata})
        with pytest.raises(DacFileError, match=key):
            DacFile.load(path)
    for key in content:
        path = write(tmp_path / "clip.dac", {k: v for k, v in content.items() if k != key})
        with pytest.raises(DacFileError, match=key):
            DacFile.load(path)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    whole = make().save(tmp_path / "whole.dac").read_bytes()
    for index, data in enumerate((b"", b"RIFF\x00\x00\x00\x00WAVE", whole[:200], whole[:-3])):
        path = tmp_path / f"{index}.dac"
        path.write_bytes(data)
        with pytest.raises(DacFileError, match="not a readable"):
            DacFile.load(path)
    with pytest.raises(FileNotFoundError):
        DacFile.load(tmp_path / "missing.dac")
    with pytest.raises(IsADirectoryError):
        DacFile.load(tmp_path)
    with pytest.raises(DacFileError, match="magic"):
        DacFile.load("/dev/zero")  # endless, but not read


def test_a_strangers_code_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {marker}",)

    for key in ("codes", "metadata", "more"):
        path = write(tmp_path / "attack.dac", content_of(make()) | {key: Attack()})
        with pytest.raises(DacFileError, match="system, which is not allowed"):
            DacFile.load(path)
        assert not marker.exists()
    np.load(path, allow_pickle=True)
    assert marker.exists()  # so it would have run


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"dac_version": "2.0"}, "dac_version"),
        ({"codes": torch.zeros(2, 9, 3)}, "integers"),
        ({"codes": torch.full((2, 9, 3), 65536)}, r"\[0, 65535\]"),
        ({"codes": torch.full((2, 9, 3), -1)}, r"\[0, 65535\]"),
        ({"codes": torch.zeros(9, 3, dtype=torch.long)}, "shape"),
        ({"channels": 0}, "channels"),
        ({"input_db": [-20.0, -20.0]}, "input_db"),
        ({"padding": None}, "padding"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(DacFileError, match=f"DacFile: .*{match}"):
        make(**changes)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.uint8])
def test_codes_are_given_as_any_integers(dtype: Any) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (2, 9, 31)).astype(dtype)
    file = make(codes=codes, sample_rate=np.int64(16000), input_db=np.float32(-20))
    assert file.codes.dtype == torch.int64
    assert np.array_equal(file.codes.numpy(), codes)
    assert type(file.sample_rate) is int
