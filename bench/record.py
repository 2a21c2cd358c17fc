"""The record of a run: what was timed, where, with what; one JSON per machine and date."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench import machine

SCHEMA = 1
ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "bench" / "records"
# What benchmarks themselves write does not make a commit another one.
_WRITTEN = (":(exclude)bench/records", ":(exclude)docs/benchmarks.*")


@dataclass
class Row:
    """One variant of one case. Seconds, bytes and FLOPs per call; `samples` is a `Summary`.

    `ratio`: median over floor. `speedup`: the best peer's median over this one's; `clear`: their
    intervals p10..p90 do not touch. `in_cache`: the smallest cache that holds `bytes`.
    `steal`, `other_load`: shares of the CPUs' time that others had while the case was timed.
    """

    id: str
    variant: str
    dtype: str
    threads: int
    shape: list[list[int]]
    samples: dict[str, Any]
    mode: str
    bytes: int
    flops: int
    floor: float
    ratio: float
    peer: str | None
    speedup: float | None
    clear: bool | None
    error: dict[str, float]
    called: dict[str, Any] | None = None
    cold: bool | None = None
    in_cache: str | None = None
    compile_s: float | None = None
    audio_s: float | None = None
    steal: float | None = None
    other_load: float | None = None


@dataclass
class Memory:
    """The peak of a call in a process of its own: bytes of the process (CPU) or tensors (CUDA)."""

    id: str
    variant: str
    dtype: str
    shape: list[list[int]]
    audio_s: float
    peak_bytes: int
    before_bytes: int


@dataclass
class Record:
    """Everything that one run writes. `ceilings`: number of threads -> `Ceilings` as a dict."""

    kind: str
    device: str
    machine: str
    slug: str
    command: str
    quick: bool
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    git: dict[str, Any] = field(default_factory=lambda: git_state())
    versions: dict[str, str] = field(default_factory=lambda: versions())
    environment: dict[str, str] = field(default_factory=lambda: environment())
    gpu: list[dict[str, str]] = field(default_factory=list)
    ceilings: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def file_name(self) -> str:
        return f"{self.kind}-{self.slug}-{self.date}.json"


def git_state() -> dict[str, Any]:
    """Commit and whether tracked files differ from it; None where this is no git checkout."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(ROOT), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN)
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except (subprocess.SubprocessError, OSError):
        return {"sha": None, "dirty": None}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are timed, as far as they are installed."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("vivace", "transformers", "triton"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
        found["cudnn"] = str(torch.backends.cudnn.version())
    return found


def environment() -> dict[str, str]:
    """The variables that change what is timed."""
    names = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "VIVACE_CPU", "VIVACE_DISABLE")
    return {name: os.environ[name] for name in names if name in os.environ}


def gpu_states(device: str) -> list[dict[str, str]]:
    return [machine.gpu_state()] if device == "cuda" else []


def write(path: Path, text: str) -> None:
    """Replaces a file at once: a temporary one in the same folder, then a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def save(record: Record, path: Path) -> None:
    """One line per field, and per row of a list: a change of one row is one line of a diff."""
    lines = [f"{json.dumps(k)}: {_text(rounded(v))}" for k, v in record.to_dict().items()]
    write(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _text(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value, ensure_ascii=False)
    lines = (json.dumps(entry, ensure_ascii=False) for entry in value)
    return "[\n " + ",\n ".join(lines) + "\n]"


def rounded(value: Any) -> Any:
    """Six significant digits: more than any clock here has."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list | tuple) else value


def load(path: Path) -> dict[str, Any]:
    """A record as a dict. Raises ValueError for a file that is none, or of another schema."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"load: {path.name} is not JSON: {error}") from error
    check(record, path.name)
    return dict(record)


def check(record: Any, name: str) -> None:
    """Raises ValueError where a record lacks what readers use."""
    if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, Mapping) else type(record).__name__
        raise ValueError(f"load: {name} must be a record of schema {SCHEMA}, got {found}")
    for part, of in (("", Record), ("rows", Row), ("memory", Memory)):
        entries = record.get(part, ()) if part else (record,)
        wanted = set(of.__dataclass_fields__)
        for entry in entries:
            if set(entry) != wanted:
                odd = sorted(set(entry) ^ wanted)
                raise ValueError(f"load: {name}: {part or 'record'}: missing or unknown {odd}")


def load_all(folder: Path = RECORDS) -> list[dict[str, Any]]:
    """Every record of a folder, oldest first."""
    records = [load(path) for path in sorted(folder.glob("*.json"))]
    return sorted(records, key=lambda r: (r["date"], r["kind"], r["slug"]))
