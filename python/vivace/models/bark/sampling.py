"""How Bark's stages choose tokens: the settings of a call, and the noise of its draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# One for all rows, in transformers' order of draws; or one per row, whose tokens then do not depend
# on the other rows.
Generators = torch.Generator | Sequence[torch.Generator] | None

# transformers applies this where a configuration that samples does not say otherwise.
_TOP_K = 50
_NAMES = ("do_sample", "temperature", "top_k", "top_p", "min_p", "generator")
# Accepted because transformers accepts them, with the one value that is computed here.
_FIXED: dict[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "renormalize_logits": True,
    "use_cache": True,
    "return_dict_in_generate": False,
    "output_scores": False,
}


@dataclass(frozen=True)
class Sampling:
    """The settings of one stage, as the op `sample` takes them."""

    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    generator: Generators

    @classmethod
    def of(cls, stage: str, config: Any, given: Mapping[str, Any]) -> "Sampling":
        """The configuration's settings, overridden by a call's keyword arguments.

        Raises ValueError for keywords that the stage does not have or values it cannot take.
        """
        check_fixed(stage, given, _NAMES)
        settings = {name: given.get(name, getattr(config, name, None)) for name in _NAMES}
        do_sample = bool(settings["do_sample"])
        temperature = settings["temperature"]
        temperature = 1.0 if temperature is None else float(temperature)
        top_k = _TOP_K if settings["top_k"] is None else int(settings["top_k"])
        top_p = 1.0 if settings["top_p"] is None else float(settings["top_p"])
        min_p = float(settings["min_p"] or 0.0)
        if do_sample and not temperature > 0.0:
            raise ValueError(f"{stage}: temperature must be > 0, got {temperature}")
        if top_k < 0 or not 0.0 < top_p <= 1.0 or not 0.0 <= min_p <= 1.0:
            raise ValueError(
                f"{stage}: top_k must be >= 0, top_p in (0, 1] and min_p in [0, 1], got "
                f"{top_k}, {top_p} and {min_p}"
            )
        return cls(do_sample, temperature, top_k, top_p, min_p, settings["generator"])


def check_fixed(stage: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ValueError for keywords that are not known, or known but not to be changed."""
    for name, value in given.items():
        if name in known or (name in _FIXED and value in (None, _FIXED[name])):
            continue
        if name in _FIXED:
            raise ValueError(f"{stage}: {name} can only be {_FIXED[name]}, got {value!r}")
        raise ValueError(
            f"{stage}: the following keyword arguments are not used: ['{name}'] "
            "(note: typos in the generate arguments will also show up here)"
        )


class Noise:
    """Exponential noise for draws of one token per row, in the order in which it is asked for."""

    def __init__(self, generator: Generators, rows: int, device: torch.device) -> None:
        self._device, self._rows = device, rows
        self._shared: torch.Generator | None = None
        self._each: Sequence[torch.Generator] | None = None
        if generator is None or isinstance(generator, torch.Generator):
            self._shared = generator
        elif len(generator) == rows:
            self._each = generator
        else:
            raise ValueError(
                f"generator: a list must have one for each of {rows} rows, got {len(generator)}"
            )

    @property
    def per_row(self) -> bool:
        """Whether each row has a generator of its own."""
        return self._each is not None

    def draw(self, width: int, repeat: int = 1, rows: Sequence[int] | None = None) -> Tensor:
        """(all rows · repeat, width) float32, as torch.multinomial would draw it.

        Rows with generators of their own that are not in `rows` draw nothing and get ones.
        """
        shape = (self._rows * repeat, width)
        if self._each is None:
            return torch.empty(shape, device=self._device).exponential_(generator=self._shared)
        noise = torch.ones(shape, device=self._device)
        for row in range(self._rows) if rows is None else rows:
            part = noise[row * repeat : (row + 1) * repeat]
            part.copy_(torch.empty_like(part).exponential_(generator=self._each[row]))
        return noise

    def select(self, rows: Sequence[int]) -> "Noise":
        """The noise of some of the rows, drawn for them alone."""
        each = self._shared if self._each is None else [self._each[row] for row in rows]
        return Noise(each, len(rows), self._device)

    def states(self) -> list[Tensor]:
        """Where the generators are, to return there with `rewind`: one, or one per row."""
        return [generator.get_state() for generator in self._generators()]

    def rewind(self, states: Sequence[Tensor]) -> None:
        """Sets the generators back: what was drawn since has not been drawn."""
        for generator, state in zip(self._generators(), states, strict=True):
            generator.set_state(state)

    def _generators(self) -> Sequence[torch.Generator]:
        if self._each is not None:
            return self._each
        return [default_generator(self._device) if self._shared is None else self._shared]


def default_generator(device: torch.device) -> torch.Generator:
    """The generator that torch uses on a device when none is given."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    return torch.default_generator


def seeded(seed: int | Sequence[int] | None, device: torch.device) -> Generators:
    """Generators for a seed, or for one seed per row."""
    if seed is None:
        return None
    if isinstance(seed, int):
        return torch.Generator(device).manual_seed(seed)
    return [torch.Generator(device).manual_seed(each) for each in seed]
