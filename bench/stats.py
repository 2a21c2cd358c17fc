"""What is said about a list of times: median, spread, and whether two of them differ."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Medians this near to each other, with spreads no wider than twice that, are called the same.
EQUIVALENT = 0.05


def percentile(values: Sequence[float], fraction: float) -> float:
    """The value below which `fraction` of the sorted values lie, interpolated linearly."""
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True)
class Summary:
    """Seconds per call over n samples; `rounds` holds the median of each interleaved round."""

    median: float
    p10: float
    p90: float
    min: float
    n: int
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]]) -> "Summary":
        """The summary of samples taken in rounds. Raises ValueError if there is no sample."""
        samples = [s for samples in rounds for s in samples]
        if not samples:
            raise ValueError("Summary.of: expected at least one sample, got none")
        return cls(
            median=statistics.median(samples),
            p10=percentile(samples, 0.1),
            p90=percentile(samples, 0.9),
            min=min(samples),
            n=len(samples),
            rounds=tuple(statistics.median(r) for r in rounds if r),
        )


def separated(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether the intervals p10..p90 of two summaries (as in a record) do not touch."""
    return bool(a["p90"] < b["p10"] or b["p90"] < a["p10"])


def verdict(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """FASTER or SLOWER where the intervals separate; SAME where medians and spreads agree to
    `EQUIVALENT`; else UNCLEAR. Arguments are summaries as in a record.
    """
    if separated(before, after):
        return "FASTER" if after["median"] < before["median"] else "SLOWER"
    near = abs(after["median"] / before["median"] - 1) <= EQUIVALENT
    tight = all((s["p90"] - s["p10"]) / s["median"] <= 2 * EQUIVALENT for s in (before, after))
    return "SAME" if near and tight else "UNCLEAR"
