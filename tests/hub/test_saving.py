"""Writing weights: names and content as transformers writes them, atomically, nothing stale."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from vivace.hub import Source, open_checkpoint, push_folder, save_state_dict, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_shards_and_index(tmp_path: Path) -> None:
    state = {f"layer.{i}": torch.randn(10) for i in range(5)}
    written = save_state_dict(state, tmp_path, max_shard_size=100)
    shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert written == [*shards, "model.safetensors.index.json"]
    assert names(tmp_path) == sorted(written)
    index = json.loads((tmp_path / written[-1]).read_text())
    assert index["metadata"] == {"total_parameters": 50, "total_size": 200}
    assert set(index["weight_map"]) == set(state)
    with safe_open(tmp_path / shards[0], "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_names_of_variants(tmp_path: Path) -> None:
    state = {f"{i}": torch.randn(10) for i in range(2)}
    save_state_dict(state, tmp_path, variant="fp16", max_shard_size=40)
    assert names(tmp_path) == [
        "model.fp16-00001-of-00002.safetensors",
        "model.fp16-00002-of-00002.safetensors",
        "model.safetensors.index.fp16.json",
    ]


@pytest.mark.parametrize("safe", [True, False])
def test_an_earlier_save_leaves_nothing_behind(tmp_path: Path, safe: bool) -> None:
    def save(count: int, size: Any) -> dict[str, torch.Tensor]:
        state = {f"layer.{i}": torch.randn(10) for i in range(count)}
        save_state_dict(state, tmp_path, max_shard_size=size, safe_serialization=safe)
        return state

    (tmp_path / "model.fp16.safetensors").write_bytes(b"another variant")
    (tmp_path / "README.md").write_text("mine")
    for count, size in ((5, 40), (3, 40), (3, "1GB"), (4, 80)):
        state = save(count, size)
        tensors = open_checkpoint(Source(tmp_path))
        assert set(tensors) == set(state)
        assert all(torch.equal(tensors[key].read(), state[key]) for key in state)
        shards = -(-count * 40 // size) if isinstance(size, int) else 1
        assert len(names(tmp_path)) == 2 + shards + (shards > 1)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("safe", [True, False])
def test_tensors_that_share_or_skip_memory(tmp_path: Path, safe: bool) -> None:
    base = torch.randn(6, 1000)
    state = {
        "tied": base,
        "again": base,
        "row": base[2],
        "transposed": base.t(),
        "step": base[:, ::3],
        "empty": base[:0],
        "grad": torch.nn.Parameter(torch.randn(3)),
    }
    save_state_dict({"row": base[2]}, tmp_path, safe_serialization=safe)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8000, "a row, not its matrix"
    save_state_dict(state, tmp_path, safe_serialization=safe)
    tensors = open_checkpoint(Source(tmp_path))
    for key, value in state.items():
        assert torch.equal(tensors[key].read(), value.detach())


@pytest.mark.parametrize("safe", [True, False])
def test_files_follow_the_umask(tmp_path: Path, safe: bool) -> None:
    (tmp_path / "plain").write_text("")
    (written,) = save_state_dict({"a": torch.ones(1)}, tmp_path, safe_serialization=safe)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", written)}
    assert len(modes) == 1


def test_a_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state_dict({"a": torch.ones(2)}, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def fail(tensors: Any, path: Any, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_state_dict({"a": torch.zeros(2)}, tmp_path)
    assert names(tmp_path) == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_write_json(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": 1, "a": [2]})
    assert (tmp_path / "x.json").read_text() == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert json.loads((tmp_path / "x.json").read_text()) == {"b": 1, "a": [2]}
    assert names(tmp_path) == ["x.json"]


class FakeApi:
    """Records what would be sent to the Hub."""

    calls: list[tuple[str, dict[str, Any]]]

    def __init__(self, **kwargs: Any) -> None:
        FakeApi.calls = [("init", kwargs)]

    def create_repo(self, repo_id: str, **kwargs: Any) -> Any:
        FakeApi.calls.append(("create_repo", {"repo_id": repo_id, **kwargs}))
        return type("Url", (), {"repo_id": f"me/{repo_id}"})

    def create_branch(self, repo_id: str, **kwargs: Any) -> None:
        FakeApi.calls.append(("create_branch", {"repo_id": repo_id, **kwargs}))

    def upload_folder(self, **kwargs: Any) -> str:
        kwargs["present"] = sorted(os.listdir(kwargs["folder_path"]))
        FakeApi.calls.append(("upload_folder", kwargs))
        return "https://hub.invalid/commit"


def test_push_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    (tmp_path / "config.json").write_text("{}")
    url = push_folder(
        tmp_path, "codec", ["config.json"], token="t", private=True, revision="dev", create_pr=True
    )
    assert url == "https://hub.invalid/commit"
    calls = dict(FakeApi.calls)
    assert calls["init"]["token"] == "t"
    assert calls["create_repo"] == {"repo_id": "codec", "private": True, "exist_ok": True}
    assert calls["create_branch"]["branch"] == "dev"
    upload = calls["upload_folder"]
    assert upload["repo_id"] == "me/codec"
    assert upload["allow_patterns"] == ["config.json"]
    assert (upload["revision"], upload["create_pr"]) == ("dev", True)
    push_folder(tmp_path, "codec", [])
    assert "create_branch" not in dict(FakeApi.calls)
