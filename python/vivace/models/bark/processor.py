"""BarkProcessor: text and voice -> the inputs of BarkModel.generate, by transformers' names."""

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vivace._files import atomic_path
from vivace.hub import Source, push_folder, read_json, write_json
from vivace.models.bark.text import TARGET, split_text
from vivace.models.bark.tokenizer import BertTokenizer
from vivace.models.bark.voices import (
    VOICE_KEYS,
    check_relative,
    check_voice,
    load_voice,
    npz_path,
    read_npy,
)
from vivace.models.batch_feature import BatchFeature

logger = logging.getLogger(__name__)

PROCESSOR_NAME = "processor_config.json"
SPEAKER_EMBEDDINGS_NAME = "speaker_embeddings_path.json"
_ORIGIN = "repo_or_path"  # the one key of that file that is no voice

# Entries with one number per token, and what a padded place holds besides the padding id.
_PER_TOKEN = {"attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}


class BarkInputs(BatchFeature):
    """input_ids, attention_mask and history_prompt; `to` moves the voices too."""

    def to(self, *args: Any, **kwargs: Any) -> "BarkInputs":
        """Moves all tensors to a device, those of the voices included."""
        super().to(*args, **kwargs)
        history = self.data.get("history_prompt")
        for voice in history if isinstance(history, list) else [history]:
            if isinstance(voice, BatchFeature):
                voice.to(*args, **kwargs)
        return self


class BarkProcessor:
    """Text and voice -> the inputs of `BarkModel.generate`.

    tokenizer: a `BertTokenizer`, ours or transformers'. speaker_embeddings: {name: {key: path}}
    with the keys semantic_prompt, coarse_prompt and fine_prompt. The paths are of .npy files in the
    folder or repository under the key "repo_or_path"; arrays may stand for them.
    """

    def __init__(self, tokenizer: Any, speaker_embeddings: Mapping[str, Any] | None = None) -> None:
        if not callable(tokenizer):
            raise TypeError(
                f"BarkProcessor: tokenizer must be callable, got {type(tokenizer).__name__}"
            )
        self.tokenizer = tokenizer
        self.speaker_embeddings = None if speaker_embeddings is None else dict(speaker_embeddings)
        self._source: Source | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_processor_name_or_path: str | os.PathLike[str],
        speaker_embeddings_dict_path: str | None = SPEAKER_EMBEDDINGS_NAME,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        subfolder: str = "",
        proxies: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> "BarkProcessor":
        """The processor in a folder or a repository of the Hub.

        The voices are listed in `speaker_embeddings_dict_path`; without that file there are none,
        and a warning. They are read when used. `kwargs` go to `BertTokenizer.from_pretrained`.
        Raises OSError (nothing there, damaged), TypeError (an unknown keyword).
        """
        source = Source(
            pretrained_processor_name_or_path,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            revision=revision or "main",
            subfolder=subfolder or "",
            proxies=proxies,
        )
        tokenizer = BertTokenizer.from_pretrained(source, **kwargs)
        voices: dict[str, Any] | None = None
        if speaker_embeddings_dict_path is not None:
            path = source.find(speaker_embeddings_dict_path)
            if path is None:
                logger.warning(
                    "%s has no %s: no voices are known. Pass its name, or "
                    "speaker_embeddings_dict_path=None.",
                    source.describe(),
                    speaker_embeddings_dict_path,
                )
            else:
                voices = {**read_json(path), _ORIGIN: os.fspath(source.name)}
        processor = cls(tokenizer, voices)
        processor._source = source
        return processor

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        speaker_embeddings_dict_path: str = SPEAKER_EMBEDDINGS_NAME,
        speaker_embeddings_directory: str = "speaker_embeddings",
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Writes tokenizer, voices and processor_config.json as transformers does; returns the
        names of the files, relative to the folder.

        `push_to_hub` uploads them to `repo_id` (default: the folder's name); the other keywords are
        those of `push_to_hub`. Raises ValueError for a voice that is damaged, missing, or has a
        name that leads out of the folder; nothing is written then.
        """
        if kwargs and not push_to_hub:
            raise TypeError(f"save_pretrained: unknown keyword arguments {sorted(kwargs)}")
        folder = Path(save_directory)
        repo_id = kwargs.pop("repo_id", folder.resolve().name)
        names = [check_relative(name, "name") for name in self.available_voice_presets]
        voices = {name: self._load_voice_preset(name) for name in names}
        folder.mkdir(parents=True, exist_ok=True)
        written: list[str] = []
        index: dict[str, Any] = {_ORIGIN: repo_id if push_to_hub else os.fspath(save_directory)}
        for name, voice in voices.items():
            index[name] = {
                key: f"{speaker_embeddings_directory}/{name}_{key}.npy" for key in VOICE_KEYS
            }
            for key, file in index[name].items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(folder / file) as temporary:
                    np.save(temporary, voice[key], allow_pickle=False)
                written.append(file)
        listed = None if self.speaker_embeddings is None else index
        if listed is not None:
            write_json(folder / speaker_embeddings_dict_path, listed)
            written.append(speaker_embeddings_dict_path)
        for path in self.tokenizer.save_pretrained(folder):
            written.append(Path(os.path.relpath(path, folder)).as_posix())
        config = {"processor_class": "BarkProcessor", "speaker_embeddings": listed}
        write_json(folder / PROCESSOR_NAME, config)
        written.append(PROCESSOR_NAME)
        if push_to_hub:
            push_folder(folder, repo_id, written, **kwargs)
        return written

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> None:
        """Uploads the processor to a repository of the Hub, made if missing.

        Keywords: token, private, commit_message, commit_description, revision, create_pr.
        """
        kwargs.setdefault("commit_message", f"Upload {type(self).__name__}")
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, push_to_hub=True, repo_id=repo_id, **kwargs)

    @property
    def available_voice_presets(self) -> list[str]:
        """The names of the known voices, in the order of the file."""
        return [name for name in self.speaker_embeddings or {} if name != _ORIGIN]

    def add_voice(self, name: str, tokens: Any) -> None:
        """Adds or replaces a voice; `save_pretrained` writes it with the others.

        tokens: as in `voices.check_voice`, or the path of a .npz file. Raises as that function,
        and ValueError for a name that leads out of the folder.
        """
        if check_relative(name, "name") == _ORIGIN:
            raise ValueError(f"Invalid voice preset name: {_ORIGIN!r} is reserved")
        voice = load_voice(tokens) if isinstance(tokens, (str, os.PathLike)) else tokens
        self.speaker_embeddings = {**(self.speaker_embeddings or {}), name: check_voice(voice)}

    def split(self, text: str, max_length: int = 256, target: int = TARGET) -> list[str]:
        """Cuts a long text into pieces of one window each: at most `max_length` ids, and about
        `target` letters, which is 13 s of speech. See `text.split_text`."""
        return split_text(text, lambda piece: self._count(piece) <= max_length, target)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        voice_preset: Any = None,
        return_tensors: str | None = "pt",
        max_length: int | None = 256,
        add_special_tokens: bool = False,
        return_attention_mask: bool = True,
        return_token_type_ids: bool = False,
        **kwargs: Any,
    ) -> BarkInputs:
        """input_ids (B, T) and attention_mask (B, T), padded to `max_length`, and history_prompt.

        A text of more ids is kept whole, and the others of its batch are padded on the right to the
        longest: the model reads the first 256 and warns. `kwargs` go to the tokenizer, for example
        truncation=True. voice_preset: a name in `available_voice_presets`, a dict of arrays or
        tensors, or the path of a .npz file; history_prompt is then a dict of int64 tensors. Of a
        list, one per text, None for no voice, history_prompt is the list. Raises ValueError and
        TypeError (text or voice of the wrong form), OSError (no such voice).
        """
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, (list, tuple)) or not texts:
            raise ValueError(
                f"BarkProcessor: text must be a str or a list of at least one str, got {text!r}"
            )
        history = self._history(voice_preset, len(texts), return_tensors)
        encoded = self.tokenizer(
            list(texts),
            return_tensors=None,
            padding="max_length",
            max_length=max_length,
            add_special_tokens=add_special_tokens,
            return_attention_mask=return_attention_mask,
            return_token_type_ids=return_token_type_ids,
            **kwargs,
        )
        rows = self._padded(dict(encoded.items()))
        if return_tensors is None and isinstance(text, str):
            rows = {key: row[0] for key, row in rows.items()}
        inputs = BarkInputs(rows, tensor_type=return_tensors)
        if voice_preset is not None:
            inputs["history_prompt"] = history
        return inputs

    def _padded(self, rows: dict[str, Any]) -> dict[str, Any]:
        """The tokenizer's rows, the shorter ones padded on the right to the longest.

        On the right also for a tokenizer that pads on the left: the model reads the first ids.
        """
        length = max(len(row) for row in rows["input_ids"])
        fill = {"input_ids": self.tokenizer.pad_token_id, **_PER_TOKEN}
        return {
            key: [row + [fill[key]] * (length - len(row)) for row in value]
            if key in fill
            else value
            for key, value in rows.items()
        }

    def _history(self, voice_preset: Any, count: int, return_tensors: str | None) -> Any:
        """history_prompt: one voice, or a list of `count` voices and None."""
        if not isinstance(voice_preset, (list, tuple)):
            return self._history_prompt(voice_preset, return_tensors)
        if len(voice_preset) != count:
            raise ValueError(
                f"BarkProcessor: voice_preset must have one entry per text ({count}), "
                f"got {len(voice_preset)}"
            )
        return [self._history_prompt(voice, return_tensors) for voice in voice_preset]

    def _history_prompt(self, voice_preset: Any, return_tensors: str | None) -> BatchFeature | None:
        if voice_preset is None:
            return None
        if not isinstance(voice_preset, (str, os.PathLike)):
            voice = check_voice(voice_preset)
        elif voice_preset in self.available_voice_presets:
            voice = self._load_voice_preset(str(voice_preset))
        else:
            path = npz_path(voice_preset)
            if not path.is_file():
                raise FileNotFoundError(
                    f"voice preset {os.fspath(voice_preset)!r} is none of the "
                    f"{len(self.available_voice_presets)} in available_voice_presets, and there is "
                    f"no file {path}"
                )
            voice = load_voice(path)
        return BatchFeature(voice, tensor_type=return_tensors)

    def _load_voice_preset(self, voice_preset: str) -> dict[str, np.ndarray]:
        """A voice of `speaker_embeddings`, checked."""
        check_relative(voice_preset, "name")
        entry = (self.speaker_embeddings or {})[voice_preset]
        if not isinstance(entry, Mapping):
            raise ValueError(
                f"Voice preset unrecognized: self.speaker_embeddings[{voice_preset}] must be a "
                f"dict, got {type(entry).__name__}"
            )
        voice: dict[str, Any] = {}
        for key in VOICE_KEYS:
            if key not in entry:
                raise ValueError(
                    f"Voice preset unrecognized, missing {key} as a key in "
                    f"self.speaker_embeddings[{voice_preset}]."
                )
            value = entry[key]
            voice[key] = self._read(value, voice_preset) if isinstance(value, str) else value
        try:
            return check_voice(voice)
        except (ValueError, TypeError) as error:
            raise type(error)(f"voice preset {voice_preset!r}: {error}") from error

    def _read(self, path: str, voice_preset: str) -> np.ndarray:
        """The array at a path of `speaker_embeddings`."""
        check_relative(path)
        origin = (self.speaker_embeddings or {}).get(_ORIGIN)
        source = self._source
        if source is None or os.fspath(source.name) != os.fspath(origin or ""):
            if origin is None:
                raise ValueError(
                    f"voice preset {voice_preset!r}: speaker_embeddings has paths, but no {_ORIGIN}"
                )
            source = Source(origin)
        found = source.find(path)
        if found is None:
            raise ValueError(
                f"voice preset {voice_preset!r}: `{path}` does not exist in {source.describe()}"
            )
        return read_npy(found)

    def _verify_speaker_embeddings(self, remove_unavailable: bool = True) -> None:
        """Reads all voices; forgets those that are missing or damaged, with a warning."""
        missing = []
        for name in self.available_voice_presets:
            try:
                self._load_voice_preset(name)
            except (ValueError, TypeError):
                missing.append(name)
        if missing:
            logger.warning("%d voices are not available: %s", len(missing), missing)
        if missing and remove_unavailable:
            kept = (self.speaker_embeddings or {}).items()
            self.speaker_embeddings = {key: value for key, value in kept if key not in missing}

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])
