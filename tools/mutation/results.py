"""What became of the mutants: a line of JSON each, appended, so that a run can be resumed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

OUTCOMES = ("killed", "survived", "invalid", "identical")


@dataclass(frozen=True)
class Result:
    """The fate of a mutant. invalid: did not compile; identical: compiles to the same object."""

    id: str
    file: str
    line: int
    operator: str
    before: str
    after: str
    outcome: str
    by: str  # the schedule, op and test that killed it
    seconds: float
    module: str
    tests: str  # hash of the tests that ran

    def diff(self) -> str:
        head = f"{self.id} {self.file}:{self.line} ({self.operator})"
        return f"{head}\n- {self.before.strip()}\n+ {self.after.strip()}"


def append(path: Path, result: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def load(paths: Iterable[Path]) -> dict[str, Result]:
    """The fate of every mutant: killed by anything is killed, otherwise the latest line counts."""
    found: dict[str, Result] = {}
    names = {field.name for field in fields(Result)}
    for path in paths:
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            result = Result(**{name: entry[name] for name in names})
            old = found.get(result.id)
            if old is None or old.outcome != "killed":
                found[result.id] = result
    return found


def tally(results: Iterable[Result]) -> dict[str, dict[str, int]]:
    """File -> outcome -> number; the file "all" is the sum."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(OUTCOMES, 0))
    for result in results:
        counts[result.file][result.outcome] += 1
    everything = {o: sum(c[o] for c in counts.values()) for o in OUTCOMES}
    return {**dict(sorted(counts.items())), "all": everything}


def killed_share(counts: dict[str, int]) -> float:
    """Of the mutants that could be killed, in percent."""
    tried = counts["killed"] + counts["survived"]
    return 100 * counts["killed"] / tried if tried else 100.0


def report(results: list[Result]) -> str:
    """A Markdown table by file, and the survivors as diffs."""
    lines = ["| file | killed | survived | % | did not compile | same object |", "|" + " --- |" * 6]
    for file, counts in tally(results).items():
        figures = f"{counts['killed']} | {counts['survived']} | {killed_share(counts):.1f}"
        lines.append(f"| {file} | {figures} | {counts['invalid']} | {counts['identical']} |")
    for result in results:
        if result.outcome == "survived":
            lines += ["", result.diff()]
    return "\n".join(lines)
