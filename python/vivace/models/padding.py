"""Padding and truncation of clips of different lengths, by the rules of transformers."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch


class PaddingStrategy(str, Enum):
    """The values that `padding` may have, beside True ("longest") and False ("do_not_pad")."""

    LONGEST = "longest"
    MAX_LENGTH = "max_length"
    DO_NOT_PAD = "do_not_pad"

    @classmethod
    def of(cls, padding: bool | str) -> "PaddingStrategy":
        """The strategy that an argument names. Raises ValueError for any other value."""
        if padding is True:
            return cls.LONGEST
        if padding is False:
            return cls.DO_NOT_PAD
        for strategy in cls:
            if padding == strategy.value:
                return strategy
        raise ValueError(
            f"{padding} is not a valid PaddingStrategy, please select one of "
            f"{[strategy.value for strategy in cls]}"
        )


def to_numpy(value: Any) -> Any:
    """A tensor or a list of numbers as an array."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return np.array(value) if isinstance(value, (list, tuple)) else value


def pad_batch(
    features: Mapping[str, Any],
    name: str,
    *,
    strategy: PaddingStrategy,
    max_length: int | None,
    truncation: bool,
    multiple_of: int | None,
    with_mask: bool,
    side: str,
    value: float,
) -> dict[str, list[np.ndarray]]:
    """Pads `features[name]`, a batch of clips (T,) or (T, features), and makes its attention_mask.

    max_length, multiple_of and T count samples; `multiple_of` rounds every length up. Other entries
    are passed through. float64 becomes float32. Raises ValueError for options that contradict
    each other and for entries with different numbers of clips.
    """
    if max_length is None and strategy is PaddingStrategy.MAX_LENGTH:
        raise ValueError(
            "When setting ``padding=PaddingStrategy.MAX_LENGTH``, make sure that max_length is "
            "defined"
        )
    if max_length is None and truncation:
        raise ValueError(
            "When setting ``truncation=True``, make sure that ``max_length`` is defined."
        )
    if side not in ("right", "left"):
        raise ValueError(f"Invalid padding strategy:{side}")
    batch = {key: list(clips) for key, clips in features.items()}
    if len({len(clips) for clips in batch.values()}) > 1:
        raise ValueError(
            "Some items in the output dictionary have a different batch size than others."
        )
    if truncation and max_length is not None:
        limit = _round_up(max_length, multiple_of)
        for key in {name, "attention_mask"} & set(batch):
            batch[key] = [clip[:limit] for clip in batch[key]]
    clips = batch[name]
    if with_mask and "attention_mask" not in batch:
        batch["attention_mask"] = [np.ones(len(clip), dtype=np.int32) for clip in clips]
    if strategy is not PaddingStrategy.DO_NOT_PAD:
        if strategy is PaddingStrategy.LONGEST or max_length is None:
            max_length = max(len(clip) for clip in clips)
        target = _round_up(max_length, multiple_of)
        if with_mask:
            masks = zip(batch["attention_mask"], clips, strict=True)
            batch["attention_mask"] = [_pad(m, target - len(clip), side, 0) for m, clip in masks]
        batch[name] = [_pad(clip, target - len(clip), side, value) for clip in clips]
    return {key: [_single(clip) for clip in clips] for key, clips in batch.items()}


def _round_up(length: int, multiple_of: int | None) -> int:
    return length if multiple_of is None else -(-length // multiple_of) * multiple_of


def _pad(clip: np.ndarray, missing: int, side: str, value: float) -> np.ndarray:
    if missing <= 0:
        return clip
    width = (0, missing) if side == "right" else (missing, 0)
    return np.pad(clip, [width] + [(0, 0)] * (clip.ndim - 1), constant_values=value)


def _single(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float64 else value
