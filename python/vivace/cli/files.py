"""Which files a command reads and writes: inputs, folders searched, the tree under the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Job", "plan"]


@dataclass(frozen=True)
class Job:
    """One file to read and one to write, or the reason why it cannot be done."""

    source: Path
    target: Path
    error: str | None = None


def plan(
    inputs: Sequence[Path], output: Path, suffixes: Sequence[str], new_suffix: str, force: bool
) -> list[Job]:
    """The jobs for files and folders: folders are searched for ``suffixes`` in all depths.

    A file goes to ``output`` under its own name, one from a folder under its path in that folder,
    with ``new_suffix``. A job whose target exists (without ``force``), belongs to another job or is
    an input carries an error.
    """
    found = [job for path in inputs for job in _jobs_of(path, output, suffixes, new_suffix)]
    sources = {job.source.resolve() for job in found}
    owner: dict[Path, Path] = {}
    jobs = []
    for job in found:
        source, target = job.source.resolve(), job.target.resolve()
        if job.error is None:
            if owner.get(target) == source:
                continue  # the same file named twice
            job = replace(job, error=_conflict(target, sources, owner, force))
            owner.setdefault(target, source)
        jobs.append(job)
    return jobs


def _jobs_of(path: Path, output: Path, suffixes: Sequence[str], new_suffix: str) -> Iterator[Job]:
    if not path.is_dir():
        error = None if path.is_file() else f"{path} does not exist"
        yield Job(path, (output / path.name).with_suffix(new_suffix), error)
        return
    inside = output.resolve()
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes
        and file.is_file()
        # Earlier results below the searched folder are not inputs.
        and (inside == path.resolve() or inside not in file.resolve().parents)
    )
    if not files:
        yield Job(path, output, f"{path} holds no {' '.join(suffixes)} files")
    for file in files:
        yield Job(file, (output / file.relative_to(path)).with_suffix(new_suffix))


def _conflict(target: Path, sources: set[Path], owner: dict[Path, Path], force: bool) -> str | None:
    if target in sources:
        return f"{target} is an input and would be overwritten"
    if target in owner:
        return f"{target} is written for {owner[target]} already"
    if target.exists() and not force:
        return f"{target} exists (--force overwrites)"
    return None
