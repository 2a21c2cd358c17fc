"""Which keyword argument of `BarkModel.generate` goes to which stage."""

from collections.abc import Callable, Mapping
from typing import Any

_PREFIXES = ("semantic_", "coarse_", "fine_")
# Of the first stage alone: the others make as much as it says.
_SEMANTIC = ("attention_mask", "min_eos_p", "max_new_tokens")
_DROPPED = ("generation_config",)

Progress = Callable[[str, int, int], None]


def route(kwargs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The keywords of the stages "semantic", "coarse" and "fine".

    `semantic_temperature` goes to one stage, `temperature` to all that were not given their own.
    """
    stages: dict[str, dict[str, Any]] = {"semantic": {}, "coarse": {}, "fine": {}}
    for key, value in kwargs.items():
        prefix = next((p for p in _PREFIXES if key.startswith(p)), None)
        if prefix is not None:
            stages[prefix[:-1]][key.removeprefix(prefix)] = value
    for key, value in kwargs.items():
        if key.startswith(_PREFIXES):
            continue
        for stage in ("semantic",) if key in _SEMANTIC else stages:
            stages[stage].setdefault(key, value)
    for settings in stages.values():
        for key in _DROPPED:
            settings.pop(key, None)
    if "max_new_tokens" in stages["coarse"]:
        raise ValueError(
            "coarse_max_new_tokens cannot be set: the semantic tokens decide how many coarse ones "
            "there are; use semantic_max_new_tokens"
        )
    return stages


def add_progress(stages: dict[str, dict[str, Any]], progress: Progress | None) -> None:
    """Gives each stage a callback (done, total) that names the stage."""
    if progress is None:
        return
    for stage, settings in stages.items():
        settings["progress"] = _named(progress, stage)


def _named(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done, total)
