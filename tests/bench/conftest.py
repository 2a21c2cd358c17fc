"""A record that no machine wrote."""

from dataclasses import asdict

import pytest

from bench.ceilings import Ceilings
from bench.record import Memory, Record, Row
from bench.stats import Summary


def make_row(variant: str, times: list[float], peer_median: float | None = 2e-3) -> Row:
    summary = Summary.of([times])
    return Row(
        id="snake/block",
        variant=variant,
        dtype="float32",
        threads=2,
        shape=[[1, 96, 512], [96]],
        samples=asdict(summary),
        mode="called",
        bytes=10**6,
        flops=10**6,
        floor=1e-3,
        ratio=summary.median / 1e-3,
        peer=None if peer_median is None else "torch",
        speedup=None if peer_median is None else peer_median / summary.median,
        clear=None if peer_median is None else variant != "torch",
        error={"max_abs": 1e-7},
    )


@pytest.fixture
def record() -> Record:
    ceilings = Ceilings("cpu", copy_gbs=10.0, read_gbs=12.0, gemm_gflops={"float32": 300.0})
    return Record(
        kind="ops",
        device="cpu",
        machine="Abacus 9000, 2 cores",
        slug="abacus-9000-2-cores",
        command="python -m bench ops",
        quick=False,
        date="2026-01-02",
        git={"sha": "0123456789abcdef", "dirty": False},
        versions={"python": "3.11", "torch": "2.13"},
        environment={},
        ceilings={"2": asdict(ceilings)},
        rows=[
            make_row("torch", [1.9e-3, 2e-3, 2.1e-3]),
            make_row("cpu-avx2", [1.15e-3, 1.2e-3, 1.25e-3]),
        ],
        memory=[Memory("dac/encode", "vivace", "float32", [[1, 1, 9]], 60.0, 2 * 10**9, 10**9)],
        skipped=["transformers: not installed"],
    )
