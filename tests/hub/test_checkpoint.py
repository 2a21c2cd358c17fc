"""Reading checkpoints: every layout, key by key, and what damaged or hostile files lead to."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vivace.hub import Source, load_pickled, open_checkpoint, save_state_dict
from vivace.hub.checkpoint import with_variant


def random_state() -> dict[str, Tensor]:
    return {
        "a.weight": torch.randn(3, 4),
        "a.bias": torch.randn(3).to(torch.bfloat16),
        "b.ids": torch.randint(0, 9, (5,)),
        "b.scalar": torch.randn(()),
        "b.empty": torch.zeros(0, 2),
        "c.half": torch.randn(2, 2).half(),
        "c.mask": torch.tensor([True, False]),
    }


def assert_reads(folder: Path, state: dict[str, Tensor], **options: Any) -> None:
    tensors = open_checkpoint(Source(folder), **options)
    assert set(tensors) == set(state)
    for key, lazy in tensors.items():
        assert (lazy.shape, lazy.dtype) == (tuple(state[key].shape), state[key].dtype)
        assert lazy.numel() == state[key].numel()
        assert torch.equal(lazy.read(), state[key])


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("size", ["50GB", 60], ids=["whole", "sharded"])
def test_every_layout(tmp_path: Path, variant: str | None, safe: bool, size: int | str) -> None:
    state = random_state()
    save_state_dict(state, tmp_path, max_shard_size=size, variant=variant, safe_serialization=safe)
    assert_reads(tmp_path, state, variant=variant)
    assert_reads(tmp_path, state, variant=variant, use_safetensors=safe)
    with pytest.raises(OSError, match="has no weights"):
        open_checkpoint(Source(tmp_path), variant, use_safetensors=not safe)
    with pytest.raises(OSError, match="has no weights"):
        open_checkpoint(Source(tmp_path), "other")


def test_safetensors_come_before_bin(tmp_path: Path) -> None:
    old, new = random_state(), random_state()
    save_state_dict(old, tmp_path, safe_serialization=False)
    save_state_dict(new, tmp_path)
    assert_reads(tmp_path, new)
    assert_reads(tmp_path, old, use_safetensors=False)


def test_names_of_variants() -> None:
    assert with_variant("model.safetensors", "fp16") == "model.fp16.safetensors"
    name = with_variant("model.safetensors.index.json", "fp16")
    assert name == "model.safetensors.index.fp16.json"
    assert with_variant("model.safetensors", None) == "model.safetensors"


def test_reads_one_tensor_without_the_others(tmp_path: Path) -> None:
    state = {"small": torch.ones(2), "large": torch.zeros(1000)}
    save_file(state, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    tensors = open_checkpoint(Source(tmp_path))
    # A value that changes in the file after opening shows that it was not read before.
    (tmp_path / "model.safetensors").write_bytes(data.replace(b"\0\0\x80\x3f", b"\0\0\x00\x40"))
    assert torch.equal(tensors["small"].read(), torch.full((2,), 2.0))


def test_files_from_before_torch_1_6(tmp_path: Path) -> None:
    state = random_state()
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert_reads(tmp_path, state)


@pytest.mark.parametrize("keep", [0, 4, 7, 8, 40, 0.5, 0.99])
def test_truncated_safetensors(tmp_path: Path, keep: float) -> None:
    save_state_dict(random_state(), tmp_path)
    cut(tmp_path / "model.safetensors", keep)
    with pytest.raises(OSError, match=r"model\.safetensors is damaged"):
        open_checkpoint(Source(tmp_path))


@pytest.mark.parametrize("keep", [0, 4, 40, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_bin(tmp_path: Path, keep: float, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(random_state(), path, _use_new_zipfile_serialization=zipped)
    cut(path, keep)
    with pytest.raises(OSError, match=r"pytorch_model\.bin is damaged"):
        open_checkpoint(Source(tmp_path))


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])


@pytest.mark.parametrize("content", [b"hello world, no archive", b"PK\x03\x04junk", b"\x80\x04"])
def test_foreign_bytes(tmp_path: Path, content: bytes) -> None:
    for name in ("pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OSError, match="damaged"):
            open_checkpoint(Source(tmp_path))


class Malicious:
    """Runs a command when unpickled by the plain unpickler."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    "write",
    [
        lambda content, path: torch.save(content, path),
        lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
        lambda content, path: path.write_bytes(pickle.dumps(content)),
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
    ],
    ids=["zip", "legacy", "pickle", "pickle2"],
)
def test_code_in_a_pickle_never_runs(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "pytorch_model.bin"
    write({"a": Malicious(marker)}, path)
    with pytest.raises((ValueError, OSError), match=r"refused|damaged") as caught:
        open_checkpoint(Source(tmp_path))
    assert "weights_only" not in str(caught.value), "must not advise to load unsafely"
    assert not marker.exists()


def test_the_refused_name_is_told(tmp_path: Path) -> None:
    torch.save({"a": Malicious(tmp_path / "ran")}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"asks for posix\.system: refused"):
        load_pickled(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "problem"),
    [([1, 2], "got list"), ({"a": 3}, "got int under 'a'"), ({1: torch.ones(1)}, "under 1")],
)
def test_bin_without_weights(tmp_path: Path, content: Any, problem: str) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=problem):
        open_checkpoint(Source(tmp_path))


def test_unsupported_dtype(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="F8_E4M3 values under 'a'"):
        open_checkpoint(Source(tmp_path))


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a/../../b", "..\\b", "", 3, None]
)
def test_an_index_cannot_leave_its_folder(tmp_path: Path, name: Any) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "secret.safetensors")
    write_index(inside, {"a": name})
    with pytest.raises(ValueError, match="points outside of its folder"):
        open_checkpoint(Source(inside))


def test_shards_must_be_there_and_complete(tmp_path: Path) -> None:
    write_index(tmp_path, {"a": "model-00001-of-00001.safetensors"})
    with pytest.raises(OSError, match="no file named model-00001"):
        open_checkpoint(Source(tmp_path))
    save_file({"b": torch.ones(1)}, tmp_path / "model-00001-of-00001.safetensors")
    with pytest.raises(OSError, match="has no 'a'"):
        open_checkpoint(Source(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_damaged_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(OSError, match=r"index\.json"):
        open_checkpoint(Source(tmp_path))


def write_index(folder: Path, weight_map: dict[str, Any]) -> None:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
