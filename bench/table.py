"""Tables of records: short ones for the terminal, and docs/benchmarks.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.record import RECORDS, ROOT, load_all, write

PAGE = ROOT / "docs" / "benchmarks.md"
_HEAD = (
    "case",
    "dtype",
    "threads",
    "variant",
    "median",
    "p10–p90",
    "floor",
    "× floor",
    "vs best torch",
    "× real time",
)

_PREFACE = """# Benchmarks

This page is generated from `bench/records/*.json` by `python -m bench table`: do not edit it.
`make bench` times this machine's CPU, `make gpu` its GPU.

How to read it. Every variant of a case is checked before it is timed (ops against the float64
reference, models against float32), and a wrong one is never timed. The variants of a case take
turns, A-B-A-B; the table gives the median and the 10th and 90th percentiles. *Floor* is
max(bytes / bandwidth, FLOPs / rate): the bytes and FLOPs that any implementation must move and do,
and the bandwidth (of a copy with the same working set; bytes read plus bytes written) and the GEMM
rate that torch reached in the same process, with the same threads. A GEMM of torch is no law of
nature: a kernel that uses the hardware better may pass it. *vs best torch* divides the median of
the fastest torch variant, eager or compiled, by this one's; `≈` marks intervals that overlap, where
no claim is made. Threads are pinned. On a GPU the L2 cache is cold for ops (the arguments rotate
through more memory than it holds), calls below 100 µs are replayed in a CUDA graph, and *called* is
what a call from Python takes. Times are of this machine and date; weights are seeded and random."""


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{_three(seconds / scale)} {unit}"
    return f"{_three(seconds / 1e-9)} ns"


def size(nbytes: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= scale:
            return f"{_three(nbytes / scale)} {unit}"
    return f"{nbytes:.0f} B"


def _three(value: float) -> str:
    """Three significant digits without an exponent."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of a record as the table shows it."""
    s = row["samples"]
    speedup = "" if row["speedup"] is None else f"{row['speedup']:.2f} ×"
    if speedup and row["variant"] == row["peer"]:
        speedup = "best torch"
    elif speedup and not row["clear"]:
        speedup = f"≈ {speedup}"
    rate = "" if row["audio_s"] is None else f"{_three(row['audio_s'] / s['median'])} ×"
    floor = duration(row["floor"]) + (f" ({row['in_cache']})" if row["in_cache"] else "")
    median = duration(s["median"])
    if row["called"] is not None:
        median += f" ({row['mode']}; called {duration(row['called']['median'])})"
    spread = f"{duration(s['p10'])} – {duration(s['p90'])}"
    ratio = f"{row['ratio']:.2f}"
    name = (row["id"], row["dtype"], str(row["threads"]), row["variant"])
    return (*name, median, spread, floor, ratio, speedup, rate)


def _timings(record: dict[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows; ops have no real time to be compared with."""
    last = None if any(row["audio_s"] for row in record["rows"]) else -1
    return _HEAD[:last], [cells(row)[:last] for row in record["rows"]]


def _memory_cells(row: dict[str, Any]) -> tuple[str, ...]:
    peak, before = size(row["peak_bytes"]), size(row["before_bytes"])
    return (row["id"], row["dtype"], row["variant"], f"{row['audio_s']:g} s", peak, before)


_MEMORY_HEAD = ("call", "dtype", "variant", "audio", "peak", "before the call")


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded with spaces, for the terminal."""
    table = [head, *rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(t, widths, strict=True)) for t in table)
    return "\n".join(line.rstrip() for line in lines)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def terminal(record: dict[str, Any]) -> str:
    """What a run prints last."""
    parts = [machine_line(record), *map(_ceiling_line, _ceilings(record))]
    if record["rows"]:
        parts.append(aligned(*_timings(record)))
    if record["memory"]:
        parts.append(aligned(_MEMORY_HEAD, [_memory_cells(row) for row in record["memory"]]))
    busy = _busy(record)
    parts += [busy] if busy else []
    parts += [f"skipped: {line}" for line in record["skipped"]]
    parts += [f"FAILED: {line}" for line in record["failed"]]
    return "\n".join(parts)


def machine_line(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    sha = (record["git"]["sha"] or "no commit")[:10] + (" + changes" * bool(record["git"]["dirty"]))
    quick = " QUICK RUN: the figures mean nothing." if record["quick"] else ""
    return f"{record['machine']}, {record['date']}: {versions}; {sha}.{quick}"


def _ceilings(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(record["ceilings"].items(), key=lambda item: int(item[0]))


def _ceiling_line(item: tuple[str, dict[str, Any]]) -> str:
    threads, c = item
    rates = ", ".join(f"{n} {_three(v)} GFLOP/s" for n, v in c["gemm_gflops"].items())
    read = "" if c["read_gbs"] is None else f", read {_three(c['read_gbs'])} GB/s"
    caches = ", ".join(f"{n} {v / 2**20:.0f} MiB" for n, v in c["caches"].items())
    return (
        f"{threads} thread(s): copy {_three(c['copy_gbs'])} GB/s{read}; GEMM {rates}; "
        f"caches as shown: {caches or 'unknown'}"
    )


def _busy(record: dict[str, Any]) -> str | None:
    """The worst share of the CPUs' time that others took during a case; None if all was quiet."""
    worst = {
        name: max((row[name] or 0.0 for row in record["rows"]), default=0.0)
        for name in ("steal", "other_load")
    }
    if max(worst.values()) < 0.02:
        return None
    return (
        f"The machine was not quiet: in the worst case the hypervisor took "
        f"{worst['steal']:.0%} of the cores' time and other processes {worst['other_load']:.0%}."
    )


def newest(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last record of each kind and machine, in that order; `records` come oldest first."""
    last = {(r["kind"], r["slug"]): r for r in records}
    return [last[key] for key in sorted(last)]


def page(records: Sequence[dict[str, Any]], *, plot: bool = False) -> str:
    """docs/benchmarks.md from records."""
    parts = [_PREFACE]
    if plot:
        parts.append("![time over floor, per case](benchmarks.png)")
    if not records:
        parts.append("No record yet: run `python -m bench ops --record`.")
    for record in newest(records):
        parts.append(f"## {record['kind']} on {record['machine']}")
        parts.append(machine_line(record) + f" `{record['command']}`")
        parts.append("\n".join(f"* {_ceiling_line(item)}" for item in _ceilings(record)))
        busy = _busy(record)
        if busy is not None:
            parts.append(busy)
        if record["rows"]:
            parts.append(markdown(*_timings(record)))
        if record["memory"]:
            parts.append(markdown(_MEMORY_HEAD, map(_memory_cells, record["memory"])))
        notes = [*record["skipped"], *(f"failed: {line}" for line in record["failed"])]
        if notes:
            parts.append("Not timed:\n\n" + "\n".join(f"* {line}" for line in notes))
    return "\n\n".join(parts) + "\n"


def generate(folder: Path = RECORDS, path: Path = PAGE) -> None:
    """Writes the page; the picture is shown where it lies beside it."""
    write(path, page(load_all(folder), plot=path.with_suffix(".png").is_file()))
