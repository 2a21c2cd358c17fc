"""Writing models, each file atomically: safetensors or `.bin`, in shards; pushing to the Hub."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vivace._files import atomic_path
from vivace.hub.checkpoint import weights_name, with_variant


def save_state_dict(
    state_dict: Mapping[str, Tensor],
    folder: str | os.PathLike[str],
    *,
    max_shard_size: int | str = "50GB",
    variant: str | None = None,
    safe_serialization: bool = True,
    stem: str | None = None,
) -> list[str]:
    """Writes the tensors as transformers does; returns the names of the files written.

    max_shard_size: bytes, or "5GB"; beyond it the weights are split and an index is written. Shards
    of an earlier save that are not replaced are removed. stem: as for `open_checkpoint`. Raises
    OSError if writing fails.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    folder = Path(folder)
    base = weights_name(safe_serialization, stem)
    name = with_variant(base, variant)
    stem, _, suffix = name.rpartition(".")
    tensors = _own_memory(state_dict)
    split = split_torch_state_dict_into_shards(
        tensors, filename_pattern=f"{stem}{{suffix}}.{suffix}", max_shard_size=max_shard_size
    )
    for file, keys in split.filename_to_tensors.items():
        _write_tensors({key: tensors[key] for key in keys}, folder / file, safe_serialization)
    written = list(split.filename_to_tensors)
    index = with_variant(f"{base}.index.json", variant)
    if split.is_sharded:
        parameters = sum(tensor.numel() for tensor in tensors.values())
        content = {
            "metadata": {"total_parameters": parameters, **split.metadata},
            "weight_map": split.tensor_to_filename,
        }
        write_json(folder / index, content)
        written.append(index)
    # A reader that finds the whole file does not look for shards, and the other way round.
    stale = re.compile(rf"{re.escape(stem)}(-\d{{5}}-of-\d{{5}})?\.{suffix}|{re.escape(index)}")
    for path in folder.iterdir():
        if path.is_file() and stale.fullmatch(path.name) and path.name not in written:
            path.unlink()
    return written


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Writes an object as transformers does: two spaces, sorted keys, a newline at the end."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        temporary.write_text(text, encoding="utf-8")


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    files: Iterable[str],
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str | None = None,
    commit_description: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """Uploads `files` of the folder to a repository of the Hub, made if it is missing; returns the
    address of the commit."""
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="vivace")
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None and not revision.startswith("refs/pr"):
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id,
        folder_path=os.fspath(folder),
        allow_patterns=list(files),
        commit_message=commit_message or "Upload model",
        commit_description=commit_description,
        revision=revision,
        create_pr=create_pr,
    )
    return str(commit)


def _own_memory(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU, no two in the same memory, which safetensors refuses."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in state_dict.items():
        tensor = value.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        # torch.save writes the whole storage of a view.
        if storage.data_ptr() in seen or storage.nbytes() > tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        tensors[key] = tensor
    return tensors


def _write_tensors(tensors: dict[str, Tensor], path: Path, safe_serialization: bool) -> None:
    with atomic_path(path) as temporary:
        if safe_serialization:
            from safetensors.torch import save_file

            with open(temporary, "xb") as created:
                mode = os.fstat(created.fileno()).st_mode & 0o777
            save_file(tensors, temporary, metadata={"format": "pt"})
            # safetensors lets only the owner read its files, whatever the umask says.
            os.chmod(temporary, mode)
        else:
            torch.save(tensors, temporary)
