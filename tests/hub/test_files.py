"""Where files come from: folders, embedded models, the cache of the Hub and the Hub itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from vivace.hub import EMBEDDED, Source, files, read_json

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of the Hub that holds one repository with two files."""
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / COMMIT
    (snapshot / "sub").mkdir(parents=True)
    (snapshot / "config.json").write_text('{"where": "cache"}')
    (snapshot / "sub" / "config.json").write_text('{"where": "sub"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[dict[str, Any]]]:
    """Replaces the download; what it was asked for is recorded."""

    def install(answer: Any) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def download(repo_id: str, filename: str, **kwargs: Any) -> str:
            asked.append({"repo_id": repo_id, "filename": filename, **kwargs})
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return asked

    return install


def test_local_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.json").write_text("{}")
    assert Source(tmp_path).find("x.json") is None
    for name in (tmp_path, str(tmp_path)):
        assert Source(name, subfolder="sub").get("x.json") == tmp_path / "sub" / "x.json"
    with pytest.raises(OSError, match=r"the folder .* has no file named x\.json"):
        Source(tmp_path).get("x.json")


def test_embedded_models_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: Any
) -> None:
    asked = downloads(AssertionError("no network"))
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(EMBEDDED, "vivace/tiny-16khz", tmp_path)
    assert Source("vivace/tiny-16khz").get("config.json") == tmp_path / "config.json"
    assert Source("vivace/tiny-16khz").find("absent") is None
    assert not asked


def test_the_embedded_folder_is_inside_the_package() -> None:
    package = Path(files.__file__).parents[1]
    assert EMBEDDED["vivace/tiny-16khz"] == package / "assets" / "tiny-16khz"


@pytest.mark.parametrize("offline", ["argument", "environment"])
def test_cache_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch, offline: str) -> None:
    if offline == "environment":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    only = offline == "argument"
    source = Source("org/name", cache_dir=cache, local_files_only=only)
    assert read_json(source.get("config.json")) == {"where": "cache"}
    assert source.revision == COMMIT, "one load stays at one commit"
    sub = Source("org/name", cache_dir=str(cache), subfolder="sub", local_files_only=only)
    assert read_json(sub.get("config.json")) == {"where": "sub"}
    assert source.find("model.safetensors") is None
    with pytest.raises(OSError, match=r"'org/name' at revision .* as far as it is cached here"):
        source.get("model.safetensors")
    with pytest.raises(OSError, match="no file named"):
        Source("org/other", cache_dir=cache, local_files_only=only).get("config.json")


def test_options_reach_the_hub(cache: Path, downloads: Any) -> None:
    path = cache / "models--org--name" / "snapshots" / COMMIT / "config.json"
    asked = downloads(path)
    source = Source(
        "org/name", cache_dir=cache, force_download=True, token="t", revision="v1", subfolder="s"
    )
    assert source.find("config.json") == path
    source.find("model.safetensors")
    expected = {"repo_id": "org/name", "subfolder": "s", "token": "t", "force_download": True}
    for call in asked:
        assert expected.items() <= call.items()
        assert call["cache_dir"] == str(cache)
        assert call["local_files_only"] is False
    assert [call["revision"] for call in asked] == ["v1", COMMIT]


RESPONSE = Mock(headers={})
FAILURES = {
    "repository": (
        errors.RepositoryNotFoundError("", response=RESPONSE),
        "nor a repository of the Hub",
    ),
    "gated": (
        errors.GatedRepoError("", response=RESPONSE),
        "access to the repository .* is restricted",
    ),
    "revision": (errors.RevisionNotFoundError("", response=RESPONSE), "has no revision 'v9'"),
    "network": (errors.LocalEntryNotFoundError("no route"), "could not reach the Hub"),
    "name": (errors.HFValidationError("bad"), "nor a valid repository id"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failures_of_the_hub_are_told(downloads: Any, failure: str) -> None:
    error, message = FAILURES[failure]
    downloads(error)
    with pytest.raises(OSError, match=message) as caught:
        Source("org/name", revision="v9", token="hf_secret").find("config.json")
    assert caught.value.__cause__ is error
    assert "hf_secret" not in str(caught.value)


def test_a_file_that_a_repository_lacks(downloads: Any) -> None:
    downloads(errors.RemoteEntryNotFoundError("", response=RESPONSE))
    assert Source("org/name").find("model.safetensors") is None


@pytest.mark.parametrize("name", ["/no/such/folder", "./absent", "a/b/c", "", "with space"])
def test_names_that_cannot_be_a_repository(name: str) -> None:
    with pytest.raises(OSError, match="neither an existing folder nor a valid repository id"):
        Source(name, local_files_only=True).find("config.json")


@pytest.mark.parametrize("name", [None, 3, {"a": 1}])
def test_names_of_a_wrong_type(name: Any) -> None:
    with pytest.raises(TypeError, match="must be a folder or a repository id"):
        Source(name)


def test_proxies_are_reported_as_unused(caplog: pytest.LogCaptureFixture) -> None:
    Source("org/name", proxies={"http": "x"})
    assert "HTTPS_PROXY" in caplog.text


def test_read_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"a": [1, "é"]}), encoding="utf-8")
    assert read_json(path) == {"a": [1, "é"]}
    for content in (b"", b"{", b"\xff\xfe{}", b"[1]", b"3", b"[" * 10**5):
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"x\.json"):
            read_json(path)
    with pytest.raises(OSError, match="absent"):
        read_json(tmp_path / "absent.json")
