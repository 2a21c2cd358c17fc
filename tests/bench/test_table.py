"""Tables: units, what a row says, which record wins, and the committed page."""

import pytest

from bench.compare import compare
from bench.record import RECORDS, Record, load_all
from bench.table import PAGE, duration, newest, page, size, terminal
from tests.bench.conftest import make_row


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.0, "2.00 s"),
        (0.0123, "12.3 ms"),
        (1.5e-4, "150 µs"),
        (9e-8, "90.0 ns"),
        (1e-3, "1.00 ms"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_size() -> None:
    assert [size(n) for n in (12, 4096, 1.5e6, 2e9)] == ["12 B", "4.10 kB", "1.50 MB", "2.00 GB"]


def test_page(record: Record) -> None:
    text = page([record.to_dict()])
    assert "## ops on Abacus 9000, 2 cores" in text
    assert (
        "| snake/block | float32 | 2 | torch | 2.00 ms | 1.92 ms – 2.08 ms | 1.00 ms | 2.00" in text
    )
    assert "| best torch |" in text
    assert "| cpu-avx2 | 1.20 ms |" in text
    assert "| 1.67 × |" in text
    assert "| dac/encode | float32 | vivace | 60 s | 2.00 GB | 1.00 GB |" in text
    assert "* transformers: not installed" in text
    assert "copy 10.0 GB/s, read 12.0 GB/s; GEMM float32 300 GFLOP/s" in text
    assert "not quiet" not in text


def test_overlapping_spreads_claim_nothing(record: Record) -> None:
    record.rows[1].clear = False
    assert "| ≈ 1.67 × |" in page([record.to_dict()])


def test_a_busy_machine_is_confessed(record: Record) -> None:
    record.rows[0].steal, record.rows[1].other_load = 0.01, 0.4
    assert "took 1% of the cores' time and other processes 40%" in page([record.to_dict()])


def test_without_records() -> None:
    assert "No record yet" in page([])


def test_terminal_columns_align(record: Record) -> None:
    lines = terminal(record.to_dict()).splitlines()
    head = next(line for line in lines if line.startswith("case"))
    rows = [line for line in lines if line.startswith("snake/")]
    assert len(rows) == 2
    assert all(row.index("float32") == head.index("dtype") for row in rows)
    assert "real time" not in head  # ops have none
    assert lines[-1] == "skipped: transformers: not installed"


def test_the_newest_record_of_a_machine_counts(record: Record) -> None:
    old, new, other = record.to_dict(), record.to_dict(), record.to_dict()
    new["date"], other["slug"] = "2026-02-03", "another"
    assert newest([old, new, other]) == [new, other]


def test_compare(record: Record) -> None:
    before, after = record.to_dict(), record.to_dict()
    after["rows"][1]["samples"] = make_row("cpu-avx2", [0.9e-3, 0.91e-3]).samples
    text = compare(before, after)
    assert "1.20 ms  905 µs   0.754           FASTER" in text
    assert "1 FASTER, 0 SLOWER, 1 SAME, 0 UNCLEAR" in text
    after["rows"].pop()
    after["slug"], after["machine"], after["quick"] = "other", "Engine 2", True
    text = compare(before, after)
    assert "different machines: Abacus 9000, 2 cores, and Engine 2" in text
    assert "a quick run is no measurement" in text
    assert "only before: 1 row(s)" in text


def test_the_committed_page_is_up_to_date() -> None:
    if not RECORDS.is_dir():
        pytest.skip("a source distribution has no records")
    plot = PAGE.with_suffix(".png").is_file()
    assert PAGE.read_text() == page(load_all(), plot=plot), "run `python -m bench table`"
