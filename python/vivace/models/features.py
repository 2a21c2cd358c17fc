"""Feature extractors: raw audio -> padded batches, by transformers' names, keys and messages."""

import copy
import json
import logging
import os
from collections import UserDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from vivace.hub import Source, push_folder, read_json, write_json
from vivace.models.batch_feature import BatchFeature as BatchFeature
from vivace.models.padding import PaddingStrategy, pad_batch, to_numpy

logger = logging.getLogger(__name__)

F = TypeVar("F", bound="SequenceFeatureExtractor")

FEATURE_EXTRACTOR_NAME = "preprocessor_config.json"
PROCESSOR_NAME = "processor_config.json"


class SequenceFeatureExtractor:
    """Base of the feature extractors: padding, truncation, and preprocessor_config.json.

    feature_size: values per time step; sampling_rate in Hz. Keywords that are not named here become
    attributes and are saved with the rest.
    """

    model_input_names: ClassVar[list[str]] = ["input_values"]

    def __init__(
        self, feature_size: int, sampling_rate: int, padding_value: float, **kwargs: Any
    ) -> None:
        self.feature_size = feature_size
        self.sampling_rate = sampling_rate
        self.padding_value = padding_value
        self.padding_side = kwargs.pop("padding_side", "right")
        self.return_attention_mask = kwargs.pop("return_attention_mask", True)
        kwargs.pop("processor_class", None)
        for key, value in kwargs.items():
            setattr(self, key, value)

    def pad(
        self,
        processed_features: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | str | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Pads the clips of a batch to one length (in samples), or cuts them to `max_length`.

        processed_features: {"input_values": clips}, or one such dict per clip. padding: True or
        "longest", "max_length", False or "do_not_pad". Both lengths are rounded up to
        `pad_to_multiple_of`. The result has the type of the input unless `return_tensors` says
        otherwise, and an int32 attention_mask if asked for. Raises ValueError for wrong options.
        """
        name = self.model_input_names[0]
        features: Any = processed_features
        if isinstance(features, (list, tuple)) and isinstance(features[0], (Mapping, UserDict)):
            features = {key: [clip[key] for clip in features] for key in features[0]}
        if name not in features:
            raise ValueError(
                "You should supply an instance of `transformers.BatchFeature` or list of "
                f"`transformers.BatchFeature` to this method that includes {name}, but you provided"
                f" {list(features.keys())}"
            )
        features = dict(features.items())
        with_mask = (
            self.return_attention_mask if return_attention_mask is None else return_attention_mask
        )
        if len(features[name]) == 0:
            return BatchFeature({**features, "attention_mask": []} if with_mask else features)
        kind = return_tensors or _kind_of(features[name])
        features = {
            key: value if isinstance(value, np.ndarray) else [to_numpy(clip) for clip in value]
            for key, value in features.items()
        }
        strategy = PaddingStrategy.of(padding)
        if strategy is not PaddingStrategy.DO_NOT_PAD and self.padding_value is None:
            raise ValueError(
                "Asking to pad but the feature_extractor does not have a padding value. Please "
                "select a value to use as `padding_value`. For example: "
                "`feature_extractor.padding_value = 0.0`."
            )
        padded = pad_batch(
            features,
            name,
            strategy=strategy,
            max_length=max_length,
            truncation=truncation,
            multiple_of=pad_to_multiple_of,
            with_mask=bool(with_mask),
            side=self.padding_side,
            value=self.padding_value,
        )
        return BatchFeature(padded, tensor_type=kind)

    def to_dict(self) -> dict[str, Any]:
        """The attributes, as preprocessor_config.json holds them."""
        return {**copy.deepcopy(self.__dict__), "feature_extractor_type": type(self).__name__}

    def to_json_string(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self._plain_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str]) -> None:
        """Writes `to_json_string` to a file, atomically."""
        write_json(json_file_path, self._plain_dict())

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Writes preprocessor_config.json into a folder, made if missing; returns [its path]."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.to_json_file(folder / FEATURE_EXTRACTOR_NAME)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", folder.resolve().name)
            push_folder(folder, repo_id, [FEATURE_EXTRACTOR_NAME], **kwargs)
        return [os.fspath(folder / FEATURE_EXTRACTOR_NAME)]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        **kwargs: Any,
    ) -> Any:
        """The feature extractor in a folder, a JSON file or a repository of the Hub.

        Keyword arguments that the file has override it; the others are ignored, or returned as
        (extractor, unused) with `return_unused_kwargs=True`. Raises OSError if there is no readable
        file.
        """
        source = Source(
            pretrained_model_name_or_path,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            revision=revision,
            subfolder=kwargs.pop("subfolder", ""),
            proxies=kwargs.pop("proxies", None),
        )
        if os.path.isfile(source.name):
            return cls.from_dict(read_json(source.name), **kwargs)
        # Newer repositories may keep the settings inside the processor's.
        processor = source.find(PROCESSOR_NAME)
        nested = read_json(processor) if processor is not None else {}
        settings = nested.get("feature_extractor", nested.get("audio_processor"))
        if settings is None:
            settings = read_json(source.get(FEATURE_EXTRACTOR_NAME))
        return cls.from_dict(settings, **kwargs)

    @classmethod
    def from_dict(cls, feature_extractor_dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """The feature extractor of a dict; keyword arguments as in `from_pretrained`."""
        return_unused_kwargs = kwargs.pop("return_unused_kwargs", False)
        settings = dict(feature_extractor_dict)
        unused = {key: value for key, value in kwargs.items() if key not in settings}
        settings.update((key, value) for key, value in kwargs.items() if key in settings)
        extractor = cls(**settings)
        return (extractor, unused) if return_unused_kwargs else extractor

    @classmethod
    def from_json_file(cls: type[F], json_file: str | os.PathLike[str]) -> F:
        """The feature extractor in a JSON file."""
        return cls(**read_json(json_file))

    def _plain_dict(self) -> dict[str, Any]:
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in self.to_dict().items()
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


def _kind_of(clips: Any) -> str:
    """The tensor type of a batch: that of its first clip, or of the clip's first number."""
    first = clips[0]
    if isinstance(first, (list, tuple)):
        first = next((clip[0] for clip in clips if len(clip)), first)
    if isinstance(first, torch.Tensor):
        return "pt"
    if isinstance(first, (int, float, list, tuple, np.ndarray, np.number)):
        return "np"
    raise ValueError(
        f"type of {first} unknown: {type(first)}. Should be one of a python, numpy, or pytorch "
        "object."
    )
