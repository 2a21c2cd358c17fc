"""What a step returns, and the numbers that a step is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor


@dataclass(eq=False)
class SchedulerOutput(Mapping[str, Any]):
    """The sample after one step.

    prev_sample: the less noisy sample, the model's next input. pred_original_sample: the prediction
    of the noise-free sample, None from the solvers that have none. Both have the shape and dtype of
    the sample given. Fields are reached by attribute, name, number or slice; None does not count.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None

    def to_tuple(self) -> tuple[Tensor, ...]:
        """(prev_sample, pred_original_sample), or (prev_sample,)."""
        if self.pred_original_sample is None:
            return (self.prev_sample,)
        return (self.prev_sample, self.pred_original_sample)

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) and key in list(self) else self._at(key)

    def _at(self, key: Any) -> Any:
        if isinstance(key, str):
            raise KeyError(key)
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("prev_sample", "pred_original_sample")[: len(self)])

    def __len__(self) -> int:
        return len(self.to_tuple())


class StepCoefficients(NamedTuple):
    """prev_sample = sample·x + model_output·m + noise·z, with z ~ N(0, 1)."""

    sample: float
    model_output: float
    noise: float = 0.0


class Affine(NamedTuple):
    """sample·x + model_output·m: a prediction from the sample and the model's output."""

    sample: float
    model_output: float
