"""Voices of Bark, also called history prompts or voice presets: checked, read and written.

A voice is three arrays of int64: semantic_prompt (S,) with ids 0..9999, coarse_prompt (2, T) and
fine_prompt (8, T) with codes 0..1023. Its file is the .npz of suno's `save_as_prompt`, which
transformers reads too. Nothing is ever unpickled.
"""

import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vivace._files import atomic_path
from vivace.models import npy


class _Shape(NamedTuple):
    """What a prompt must look like: rows of None means one dimension; ids below `size`."""

    rows: int | None
    size: int

    @property
    def ndim(self) -> int:
        return 1 if self.rows is None else 2


_SHAPES = {
    "semantic_prompt": _Shape(None, 10_000),
    "coarse_prompt": _Shape(2, 1024),
    "fine_prompt": _Shape(8, 1024),
}
VOICE_KEYS = tuple(_SHAPES)

_MAX_BYTES = 1 << 24  # of one array; a long voice has 70 kB
# What zipfile and the decompressors raise for bytes in memory; RuntimeError: encrypted, or an
# unknown compression; OSError: bz2.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    OSError,
    OverflowError,
    ValueError,
)
_DRIVE = re.compile(r"[A-Za-z]:")
_DIGITS = re.compile(r"(\d+)")


def check_voice(tokens: Any) -> dict[str, np.ndarray]:
    """The three prompts of a voice, as int64 arrays of their own memory; other keys are left out.

    tokens: a mapping of arrays or tensors of any integer dtype. Raises ValueError (a missing key, a
    wrong shape, an id out of range) or TypeError (no mapping, no array, no integers); both name the
    key.
    """
    if not isinstance(tokens, Mapping):
        raise TypeError(
            f"a voice must be a dict with the keys {', '.join(VOICE_KEYS)}, "
            f"got {type(tokens).__name__}"
        )
    for key in VOICE_KEYS:
        if key not in tokens:
            raise ValueError(f"Voice preset unrecognized, missing {key} as a key.")
    return {key: _check_prompt(key, tokens[key]) for key in VOICE_KEYS}


def _check_prompt(key: str, value: Any) -> np.ndarray:
    rows, size = shape = _SHAPES[key]
    expected = f"{key} voice preset must be a {shape.ndim}D ndarray."
    if not isinstance(value, (np.ndarray, torch.Tensor)):
        raise TypeError(f"{expected} Got {type(value).__name__}.")
    if value.ndim != shape.ndim:
        raise ValueError(f"{expected} Got shape {tuple(value.shape)}.")
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() or value.is_complex():
            raise TypeError(f"{key} voice preset must hold integers, got {value.dtype}")
        value = value.detach().cpu().numpy()
    if value.dtype.kind not in "iu":
        raise TypeError(f"{key} voice preset must hold integers, got {value.dtype}")
    if rows is not None and value.shape[0] != rows:
        raise ValueError(f"{key} voice preset must have {rows} rows, got shape {value.shape}")
    if value.size == 0:
        raise ValueError(f"{key} voice preset must not be empty, got shape {value.shape}")
    low, high = int(value.min()), int(value.max())
    if low < 0 or high >= size:
        raise ValueError(
            f"{key} voice preset must hold values from 0 to {size - 1}, got {low} to {high}"
        )
    return np.array(value, dtype=np.int64, order="C")


def save_voice(path: str | os.PathLike[str], tokens: Any) -> Path:
    """Writes a voice as .npz, atomically, for us, suno's Bark and transformers alike.

    tokens: the three prompts, such as `BarkModel.generate(..., return_tokens=True)` gives. ".npz"
    is appended if missing; returns the path. Raises as `check_voice`, and OSError.
    """
    arrays = check_voice(tokens)
    target = npz_path(path)
    with atomic_path(target) as temporary, open(temporary, "xb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return target


def load_voice(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The three prompts in a .npz file, as int64; ".npz" is appended to the path if missing.

    Raises OSError (no such file), ValueError or TypeError (damaged, or as `check_voice`).
    """
    target = npz_path(path)
    arrays: dict[str, np.ndarray] = {}
    data = target.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = set(archive.namelist())
            for key in VOICE_KEYS:
                if f"{key}.npy" in members:
                    with archive.open(f"{key}.npy") as file:
                        arrays[key] = _parse(file.read(_MAX_BYTES + 1))
    except _DAMAGE as error:
        raise ValueError(f"{target} is no .npz file of a voice: {error}") from error
    return check_voice(arrays)


def npz_path(path: str | os.PathLike[str]) -> Path:
    """The path, with ".npz" at its end."""
    name = os.fspath(path)
    return Path(name if name.endswith(".npz") else name + ".npz")


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of numbers in a .npy file. Raises OSError, ValueError (damaged, pickled, huge)."""
    try:
        with open(path, "rb") as file:
            return _parse(file.read(_MAX_BYTES + 1))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is no array of a voice: {error}") from error


def _parse(data: bytes) -> np.ndarray:
    if len(data) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES} bytes")
    return npy.parse_array(data)


def check_relative(value: Any, what: str = "path") -> str:
    """A name or path of a voice that stays inside its folder, else ValueError.

    The check is lexical: the Hub's cache stores files as symbolic links that lead outside.
    """
    unsafe = (
        not isinstance(value, str)
        or "\\" in value
        or not value.isprintable()
        or _DRIVE.match(value)
        or any(part in ("", ".", "..") for part in value.split("/"))
    )
    if unsafe:
        raise ValueError(
            f"Invalid voice preset {what}: {value!r} must be relative, with no '..' or '\\'"
        )
    return str(value)


def list_voices(processor: Any) -> list[str]:
    """The names of a processor's voices, en_speaker_2 before en_speaker_10."""

    def natural(name: str) -> list[tuple[int, str]]:
        parts = _DIGITS.split(name)
        return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]

    return sorted(processor.available_voice_presets, key=natural)
