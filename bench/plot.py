"""docs/benchmarks.png: time over floor, per case and variant, of the newest records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.table import newest


def draw(records: Sequence[dict[str, Any]], path: Path) -> None:
    """One panel per record and dtype. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = []
    for record in newest(records):
        most = max((row["threads"] for row in record["rows"]), default=0)
        rows = [row for row in record["rows"] if row["threads"] == most]
        for dtype in dict.fromkeys(row["dtype"] for row in rows):
            title = f"{record['kind']}, {dtype}, {record['machine']}, {most} thread(s)"
            panels.append((title, [row for row in rows if row["dtype"] == dtype]))
    if not panels:
        raise ValueError("draw: there is no record to draw")
    colours = _colours({row["variant"] for _, rows in panels for row in rows})
    counts = [len({row["id"] for row in rows}) for _, rows in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(9, 0.9 * len(panels) + 0.42 * sum(counts)),
        gridspec_kw={"height_ratios": [count + 0.5 for count in counts]},
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, rows) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, rows, colours)
        axis.set_title(title, fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("median time / floor (1 = the machine's limit); bars: p10 to p90")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _colours(variants: set[str]) -> dict[str, str]:
    return {name: f"C{index % 10}" for index, name in enumerate(sorted(variants))}


def _panel(axis: Any, rows: Sequence[dict[str, Any]], colours: dict[str, str]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    ids = list(dict.fromkeys(row["id"] for row in rows))
    variants = sorted({row["variant"] for row in rows})
    for place, variant in enumerate(variants):
        shift = 0.4 * ((place + 0.5) / len(variants) - 0.5)  # or points of a case hide each other
        for row in rows:
            if row["variant"] != variant:
                continue
            median, low, high = (row["samples"][k] / row["floor"] for k in ("median", "p10", "p90"))
            axis.errorbar(
                median,
                -ids.index(row["id"]) - shift,
                xerr=[[median - low], [high - median]],
                fmt="o",
                color=colours[variant],
                capsize=2,
            )
        axis.plot([], [], "o", color=colours[variant], label=variant)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xscale("log")
    axis.set_ylim(0.6 - len(ids), 0.6)
    axis.set_yticks([-i for i in range(len(ids))], ids)
    axis.grid(axis="x", which="both", alpha=0.25)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
