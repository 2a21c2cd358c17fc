"""Where a model's files are: a local folder, inside the wheel, or a repository of the Hub."""

import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# Models that are part of the wheel: they load without a network.
EMBEDDED: dict[str, Path] = {
    "vivace/tiny-16khz": Path(__file__).parents[1] / "assets" / "tiny-16khz",
}

_COMMIT_IN_CACHE_PATH = re.compile(r"[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]")


@dataclass
class Source:
    """One model's files, by the options of `from_pretrained`.

    A name means, in this order: an existing folder, a model of `EMBEDDED`, a repository id of the
    Hub. The first file that comes from the Hub fixes `revision` to its commit, so that all files of
    one load belong together even if somebody pushes in between.
    """

    name: str | os.PathLike[str]
    cache_dir: str | os.PathLike[str] | None = None
    force_download: bool = False
    local_files_only: bool = False
    token: str | bool | None = None
    revision: str | None = "main"
    subfolder: str | None = ""
    proxies: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, (str, os.PathLike)):
            raise TypeError(
                "from_pretrained: the model must be a folder or a repository id, "
                f"got {type(self.name).__name__}"
            )
        if self.proxies:
            logger.warning("`proxies` has no effect: set HTTPS_PROXY in the environment instead.")

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a repository of the Hub."""
        name = os.fspath(self.name)
        # Not pathlib: for it, "" is the current folder.
        path = Path(name) if os.path.isdir(name) else EMBEDDED.get(name)
        return None if path is None else path / (self.subfolder or "")

    def find(self, filename: str) -> Path | None:
        """The file's path, downloaded if need be; None if this source has no such file.

        Raises OSError if the repository or revision does not exist, may not be read, or cannot be
        reached while the file is not in the cache.
        """
        folder = self.folder
        if folder is not None:
            path = folder / filename
            return path if path.is_file() else None
        return self._download(filename)

    def get(self, filename: str) -> Path:
        """As `find`, but a missing file raises OSError."""
        path = self.find(filename)
        if path is None:
            raise OSError(f"{self.describe()} has no file named {filename}")
        return path

    def describe(self) -> str:
        """The source in words, for messages."""
        name = os.fspath(self.name)
        if self.folder is not None:
            return f"the folder {self.folder}"
        inside = f" (subfolder {self.subfolder})" if self.subfolder else ""
        cached = " as far as it is cached here" if self._offline() else ""
        return f"the repository {name!r}{inside} at revision {self.revision!r}{cached}"

    def _offline(self) -> bool:
        from huggingface_hub import is_offline_mode

        return self.local_files_only or is_offline_mode()

    def _download(self, filename: str) -> Path | None:
        from huggingface_hub import errors, hf_hub_download

        name = os.fspath(self.name)
        try:
            path = hf_hub_download(
                name,
                filename,
                subfolder=self.subfolder or None,
                revision=self.revision,
                cache_dir=None if self.cache_dir is None else os.fspath(self.cache_dir),
                force_download=self.force_download,
                token=self.token,
                local_files_only=self._offline(),
                library_name="vivace",
            )
        except errors.HFValidationError as error:
            raise OSError(
                f"{name!r} is neither an existing folder nor a valid repository id of the Hub"
            ) from error
        except errors.LocalEntryNotFoundError as error:
            if self._offline():
                return None
            raise OSError(
                f"could not reach the Hub for {filename} of {name!r}, and it is not in the cache"
            ) from error
        except errors.EntryNotFoundError:
            return None
        except errors.GatedRepoError as error:
            raise OSError(
                f"access to the repository {name!r} is restricted: ask for it on its page, "
                "then log in with `hf auth login` or pass `token`"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise OSError(f"the repository {name!r} has no revision {self.revision!r}") from error
        except errors.RepositoryNotFoundError as error:
            raise OSError(
                f"{name!r} is neither an existing folder nor a repository of the Hub that this "
                "token may read"
            ) from error
        commit = _COMMIT_IN_CACHE_PATH.search(path)
        if commit:
            self.revision = commit.group(1)
        return Path(path)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file. Raises OSError if the file is missing, damaged or no object."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise OSError(f"the file {os.fspath(path)} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise OSError(
            f"the file {os.fspath(path)} must hold a JSON object, got {type(content).__name__}"
        )
    return content
