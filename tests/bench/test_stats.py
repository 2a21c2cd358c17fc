"""Percentiles, summaries and verdicts, against values that one can work out by hand."""

from dataclasses import asdict

import numpy as np
import pytest

from bench.stats import Summary, percentile, verdict


def test_percentile_is_numpys() -> None:
    values = np.random.rand(37).tolist()
    for fraction in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert percentile(values, fraction) == pytest.approx(np.quantile(values, fraction))
    assert percentile([3.0], 0.9) == 3.0


def test_summary() -> None:
    summary = Summary.of([[5.0, 1.0, 3.0], [2.0, 4.0], []])
    assert (summary.median, summary.min, summary.n) == (3.0, 1.0, 5)
    assert (summary.p10, summary.p90) == pytest.approx((1.4, 4.6))
    assert summary.rounds == (3.0, 3.0)
    with pytest.raises(ValueError, match="at least one sample"):
        Summary.of([[]])


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ([1.00, 1.01, 1.02], [0.90, 0.91, 0.92], "FASTER"),
        ([1.00, 1.01, 1.02], [1.10, 1.11, 1.12], "SLOWER"),
        ([1.00, 1.01, 1.02], [1.00, 1.02, 1.03], "SAME"),
        ([1.00, 1.01, 2.00], [1.00, 1.02, 2.00], "UNCLEAR"),  # equal medians, but no precision
        ([1.00, 1.01, 1.09], [1.01, 1.08, 1.09], "UNCLEAR"),  # precise, but neither apart nor equal
    ],
)
def test_verdict(before: list[float], after: list[float], word: str) -> None:
    assert verdict(asdict(Summary.of([before])), asdict(Summary.of([after]))) == word
