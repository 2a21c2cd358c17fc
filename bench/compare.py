"""Two records side by side: SAME, FASTER, SLOWER or UNCLEAR per row."""

from typing import Any

from bench.stats import verdict
from bench.table import aligned, duration

_KEY = ("id", "variant", "dtype", "threads")


def _rows(record: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {(*(row[name] for name in _KEY), str(row["shape"])): row for row in record["rows"]}


def compare(before: dict[str, Any], after: dict[str, Any]) -> str:
    """A table of the rows that both records have, then what forbids a comparison, and a count."""
    old, new = _rows(before), _rows(after)
    lines, counts = [], dict.fromkeys(("FASTER", "SLOWER", "SAME", "UNCLEAR"), 0)
    for key in (key for key in old if key in new):
        a, b = old[key]["samples"], new[key]["samples"]
        word = verdict(a, b)
        counts[word] += 1
        times = (duration(a["median"]), duration(b["median"]), f"{b['median'] / a['median']:.3f}")
        lines.append((*(str(part) for part in key[:-1]), *times, word))
    parts = [aligned((*_KEY, "before", "after", "after / before", "verdict"), lines)]
    if before["slug"] != after["slug"]:
        parts.append(f"different machines: {before['machine']}, and {after['machine']}")
    if before["quick"] or after["quick"]:
        parts.append("a quick run is no measurement")
    for name, only in (("before", set(old) - set(new)), ("after", set(new) - set(old))):
        if only:
            parts.append(f"only {name}: {len(only)} row(s)")
    parts.append(", ".join(f"{count} {word}" for word, count in counts.items()))
    return "\n".join(parts)
