"""Voice files: written for suno and transformers, read from them, and nothing else accepted."""

import io
import os
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vivace.models.bark.voices import (
    VOICE_KEYS,
    check_relative,
    check_voice,
    list_voices,
    load_voice,
    read_npy,
    save_voice,
)


def voice(frames: int = 5, dtype: Any = np.int64) -> dict[str, Any]:
    return {
        "semantic_prompt": np.random.randint(0, 10_000, 2 * frames).astype(dtype),
        "coarse_prompt": np.random.randint(0, 1024, (2, frames)).astype(dtype),
        "fine_prompt": np.random.randint(0, 1024, (8, frames)).astype(dtype),
    }


def assert_voice(found: Any, expected: Any) -> None:
    assert tuple(found) == VOICE_KEYS
    for key in VOICE_KEYS:
        assert found[key].dtype == np.int64
        assert np.array_equal(found[key], np.asarray(expected[key])), key


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16, np.uint64, ">i2"])
def test_arrays_of_any_integer_dtype(tmp_path: Path, dtype: Any) -> None:
    tokens = voice(dtype=dtype)
    assert_voice(check_voice(tokens), tokens)
    np.savez(tmp_path / "suno.npz", **tokens, extra=np.ones(3))
    assert_voice(load_voice(tmp_path / "suno.npz"), tokens)
    np.savez_compressed(tmp_path / "small.npz", **tokens)
    assert_voice(load_voice(tmp_path / "small"), tokens)
    with np.load(tmp_path / "suno.npz") as archive:
        assert_voice(check_voice(archive), tokens)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint16])
def test_tensors(tmp_path: Path, dtype: torch.dtype) -> None:
    arrays = voice()
    tokens = {key: torch.from_numpy(value).to(dtype) for key, value in arrays.items()}
    assert save_voice(tmp_path / "mine", tokens) == tmp_path / "mine.npz"
    assert_voice(load_voice(tmp_path / "mine"), arrays)
    with np.load(tmp_path / "mine.npz", allow_pickle=False) as archive:  # as suno does
        assert_voice(dict(archive), arrays)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]


def test_the_result_has_its_own_memory() -> None:
    tokens = voice()
    checked = check_voice(tokens)
    checked["fine_prompt"] += 1
    assert int(tokens["fine_prompt"].max()) < 1024
    strided = {key: value[..., ::2] for key, value in tokens.items()}
    assert_voice(check_voice(strided), strided)
    assert all(value.flags.c_contiguous for value in check_voice(strided).values())


MISTAKES: dict[str, tuple[str, Any, type[Exception], str]] = {
    "list": ("semantic_prompt", [1, 2], TypeError, "must be a 1D ndarray. Got list"),
    "2d": ("semantic_prompt", np.ones((1, 4), int), ValueError, "must be a 1D ndarray"),
    "1d": ("coarse_prompt", np.ones(4, int), ValueError, "must be a 2D ndarray"),
    "3d": ("fine_prompt", torch.ones(1, 8, 4, dtype=torch.long), ValueError, "must be a 2D ndarr"),
    "rows": ("coarse_prompt", np.ones((8, 4), int), ValueError, "must have 2 rows, got shape (8, "),
    "columns": ("fine_prompt", np.ones((4, 8), int), ValueError, "must have 8 rows"),
    "empty": ("semantic_prompt", np.ones(0, int), ValueError, "must not be empty"),
    "no frames": ("fine_prompt", np.ones((8, 0), int), ValueError, "must not be empty"),
    "float": ("fine_prompt", np.ones((8, 4)), TypeError, "must hold integers, got float64"),
    "half": ("semantic_prompt", torch.ones(4).half(), TypeError, "integers, got torch.float16"),
    "bool": ("semantic_prompt", np.ones(4, bool), TypeError, "must hold integers, got bool"),
    "object": ("semantic_prompt", np.array([None]), TypeError, "must hold integers, got object"),
    "eos": ("semantic_prompt", np.array([10_000]), ValueError, "from 0 to 9999, got 10000 to 100"),
    "sign": ("coarse_prompt", -np.ones((2, 4), int), ValueError, "from 0 to 1023, got -1 to -1"),
    "pad": ("fine_prompt", np.full((8, 4), 1024), ValueError, "from 0 to 1023, got 1024 to 1024"),
    "wide": ("semantic_prompt", np.array([2**64 - 1], np.uint64), ValueError, "from 0 to 9999"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_prompts_are_named(tmp_path: Path, name: str) -> None:
    key, value, error, message = MISTAKES[name]
    tokens = {**voice(), key: value}
    with pytest.raises(error) as caught:
        save_voice(tmp_path / "v.npz", tokens)
    assert str(caught.value).startswith(key)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", VOICE_KEYS)
def test_missing_prompts(tmp_path: Path, key: str) -> None:
    tokens = voice()
    del tokens[key]
    np.savez(tmp_path / "v.npz", **tokens)
    for call in (lambda: check_voice(tokens), lambda: load_voice(tmp_path / "v.npz")):
        with pytest.raises(ValueError, match=f"unrecognized, missing {key} as a key"):
            call()
    with pytest.raises(TypeError, match=r"a voice must be a dict .* got list"):
        check_voice([1])


class Trap:
    """Pickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.trace),))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "trace")], dtype=object)
    np.savez(tmp_path / "v.npz", **{**voice(), "fine_prompt": trap})
    np.save(tmp_path / "v.npy", trap, allow_pickle=True)
    with pytest.raises(ValueError, match="no \\.npz file of a voice"):
        load_voice(tmp_path / "v.npz")
    with pytest.raises(ValueError, match="no array of a voice"):
        read_npy(tmp_path / "v.npy")
    (tmp_path / "v.npz").write_bytes((tmp_path / "v.npy").read_bytes())
    with pytest.raises(ValueError, match="no \\.npz file of a voice"):
        load_voice(tmp_path / "v.npz")
    assert not (tmp_path / "trace").exists()


def test_claims_of_size_are_not_believed(tmp_path: Path) -> None:
    header = io.BytesIO()
    claim = {"descr": "<i8", "fortran_order": False, "shape": (8, 1 << 40)}
    np.lib.format.write_array_header_1_0(header, claim)
    (tmp_path / "v.npy").write_bytes(header.getvalue() + bytes(64))
    with pytest.raises(ValueError, match="has 64 bytes of data"):
        read_npy(tmp_path / "v.npy")
    with zipfile.ZipFile(tmp_path / "v.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("semantic_prompt.npy", bytes(1 << 25))
    with pytest.raises(ValueError, match="larger than"):
        load_voice(tmp_path / "v.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_raise_nothing_else(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "v.npz"
    (np.savez_compressed if compressed else np.savez)(path, **voice(2))
    data, draw = path.read_bytes(), random.Random(np.random.randint(1 << 30))
    failures = 0
    for _ in range(600):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.2:
            del damaged[draw.randrange(len(data)) :]
        path.write_bytes(damaged)
        try:
            load_voice(path)
        except (ValueError, TypeError):
            failures += 1
    assert failures > 300
    with pytest.raises(FileNotFoundError):
        load_voice(tmp_path / "absent")


def test_saving_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = voice()
    path = save_voice(tmp_path / "v.npz", tokens)

    def broken(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        save_voice(path, voice())
    assert_voice(load_voice(path), tokens)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", ["a", "v2/en_speaker_6", "speaker_embeddings/v2/a b.npy", "..a"])
def test_relative_paths(value: str) -> None:
    assert check_relative(value) == value


@pytest.mark.parametrize(
    "value",
    [
        *("..", "../a", "a/../b", "a/..", "/a", "//a", "a//b", "a/", "", ".", "./a"),
        *("..\\a", "a\\b", "\\a", "C:/a", "c:a", "a\0b", "a\nb", None, 3, ["a"]),
    ],
)
def test_paths_that_may_leave_the_folder(value: Any) -> None:
    with pytest.raises(ValueError, match="Invalid voice preset path"):
        check_relative(value)


def test_natural_order() -> None:
    names = ["v2/en_speaker_10", "announcer", "v2/en_speaker_2", "en_speaker_1", "v2/de_speaker_9"]
    names += ["en_speaker_01", "7", "²"]
    listed = list_voices(SimpleNamespace(available_voice_presets=names))
    assert sorted(listed) == sorted(names)
    assert listed[0] == "7"
    assert listed[-4:-1] == ["v2/de_speaker_9", "v2/en_speaker_2", "v2/en_speaker_10"]
    assert list_voices(SimpleNamespace(available_voice_presets=[])) == []
