"""Compile every CUDA kernel and record what ptxas and the SASS say of it; no GPU is needed.

    python tools/inspect_kernels.py [--arch sm_90] [--only conv1d] [--check]

Writes bench/records/compiled/kernels.json: registers, stack, spills, shared and constant memory in
bytes, and the number of tensor-core instructions (HMMA) of each kernel on each architecture. Exits
with 1 if a kernel spills, or if one that multiplies on tensor cores has no such instruction. A file
of one architecture is compiled at a time and kept under build/kernels, so a run may be interrupted.
Needs nvcc, binutils and nvdisasm (of the toolkit, or `pip install nvidia-cuda-nvdisasm`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
RECORD = ROOT / "bench" / "records" / "compiled" / "kernels.json"
CACHE = ROOT / "build" / "kernels"
ARCHS = ("sm_80", "sm_90", "sm_120")
FLAGS = ("-std=c++17", "-O3", "-DNDEBUG")  # as CMakeLists.txt compiles a release
COLUMNS = ("registers", "stack", "spill_stores", "spill_loads", "shared", "constant", "hmma")
# The kernels whose inner loop is core/conv_tile.cuh's multiply(). The others are bound by memory,
# or need float32 products: they must have no HMMA, which would be products of another precision.
ON_TENSOR_CORES = ("conv1d_kernel", "conv_transpose1d_kernel", "residual_unit_kernel")

Rows = dict[str, list[int]]  # kernel -> a number per column


class ToolMissing(RuntimeError):
    """A program of the toolkit or of binutils is not installed; the message says how to get it."""


def code_of(text: str) -> str:
    """A source without comments and layout: what is left changes the machine code."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    return " ".join(text.split())


def includes(path: Path) -> set[Path]:
    """The file and the headers of csrc that it includes, directly or not, but not the emulator."""
    found = {path}
    waiting = [path]
    while waiting:
        for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', waiting.pop().read_text(), re.M):
            header = CSRC / name
            if header.is_file() and header not in found and not name.startswith("simt/"):
                found.add(header)
                waiting.append(header)
    return found


def digest_of(path: Path) -> str:
    return hashlib.sha256(code_of(path.read_text()).encode()).hexdigest()[:16]


def sources() -> list[Path]:
    return sorted((CSRC / "cuda").glob("*.cu"))


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Path below the project -> hash of the code."""
    return {path.relative_to(ROOT).as_posix(): digest_of(path) for path in sorted(files)}


def all_digests() -> dict[str, str]:
    """The hashes of every kernel source and of every header that one of them includes."""
    return digests({file for source in sources() for file in includes(source)})


def program(name: str, advice: str) -> str:
    """The path of a program of the toolkit: beside nvcc, from a wheel, or on PATH."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [Path(home) / "bin" for home in homes if home]
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        folders.insert(0, Path(nvcc).resolve().parent)
    for site in sys.path:
        folders += sorted(Path(site).glob("nvidia/*/bin"))
    for folder in folders:
        if (folder / name).is_file():
            return str(folder / name)
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(f"inspect_kernels: {name} was not found: {advice}")
    return found


def nvcc() -> str:
    return program("nvcc", "install a CUDA toolkit, or set CUDA_HOME")


def nvdisasm() -> str:
    return program("nvdisasm", "install a CUDA toolkit, or `pip install nvidia-cuda-nvdisasm`")


def output_of(command: list[str], text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout + done.stderr


def short_names(mangled: list[str]) -> dict[str, str]:
    """Mangled -> `conv1d_kernel<f16, Tile<128, 96, 2, 2, 4>, true>`."""
    if not mangled:
        return {}
    demangler = program("c++filt", "install binutils")
    plain = output_of([demangler], "\n".join(mangled)).splitlines()
    return dict(zip(mangled, map(shorten, plain), strict=True))


def shorten(name: str) -> str:
    """A demangled kernel without namespaces, return type and parameters; types by their width."""
    name = name.removeprefix("void ").replace("(anonymous namespace)::", "")
    name = re.sub(r"\((?:int|bool)\)", "", name)
    name = re.sub(r"\bvivace::(?:conv::)?", "", name)
    depth = 0
    for at, char in enumerate(name):
        depth += {"<": 1, ">": -1}.get(char, 0)
        if char == "(" and depth == 0:
            name = name[:at]
            break
    for long, short in (("__nv_bfloat16", "bf16"), ("__half", "f16"), ("float", "f32")):
        name = re.sub(rf"\b{long}\b", short, name)
    return name.replace("> >", ">>")


def read_ptxas(log: str) -> dict[str, dict[str, int]]:
    """ptxas -v -> {mangled kernel: its columns}; functions that are no kernels are left out."""
    found: dict[str, dict[str, int]] = {}
    parts = re.split(r"Compiling entry function '(\w+)'", log)
    for kernel, text in zip(parts[1::2], parts[2::2], strict=True):

        def number(pattern: str, text: str = text) -> int:
            match = re.search(pattern, text)
            return int(match[1]) if match else 0

        if "registers" not in text:
            raise RuntimeError(f"inspect_kernels: ptxas does not say how many registers: {text}")
        found[kernel] = {
            "registers": number(r"Used (\d+) registers"),
            "stack": number(r"(\d+) bytes stack frame"),
            "spill_stores": number(r"(\d+) bytes spill stores"),
            "spill_loads": number(r"(\d+) bytes spill loads"),
            "shared": number(r"(\d+) bytes smem"),
        }
    return found


def read_constants(sections: str) -> dict[str, int]:
    """readelf -SW -> {mangled kernel: bytes of its constant bank 0}; ptxas tells it up to sm_89."""
    found = re.findall(r"\.nv\.constant0\.(\w+)\s+PROGBITS\s+\w+ \w+ (\w+)", sections)
    return {kernel: int(size, 16) for kernel, size in found}


def count_hmma(sass: str) -> dict[str, int]:
    """nvdisasm's listing -> {mangled kernel: its tensor-core instructions}."""
    parts = re.split(r"^\s*\.section\s+\.text\.(\w+),.*$", sass, flags=re.M)
    return {
        kernel: len(re.findall(r"\bHMMA\.", text))
        for kernel, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def compiled(source: Path, arch: str) -> Rows:
    """The rows of one source on one architecture, from the cache where its code did not change."""
    state = json.dumps([2, digests(includes(source)), FLAGS, output_of([nvcc(), "--version"])])
    key = hashlib.sha256(state.encode()).hexdigest()[:16]
    kept = CACHE / f"{source.stem}-{arch}-{key}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    print(f"{source.name} for {arch} ...", file=sys.stderr, flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    cubin = CACHE / f"{source.stem}-{arch}.cubin"
    command = [nvcc(), *FLAGS, f"-I{CSRC}", f"-arch={arch}", "-Xptxas=-v", "-cubin"]
    log = output_of([*command, "-o", str(cubin), str(source)])
    found = read_ptxas(log)
    hmma = count_hmma(output_of([nvdisasm(), "-c", str(cubin)]))
    readelf = program("readelf", "install binutils")
    constants = read_constants(output_of([readelf, "-SW", str(cubin)]))
    names = short_names(sorted(found))
    if len(set(names.values())) != len(names):
        raise RuntimeError(f"inspect_kernels: two kernels share a name: {sorted(names.values())}")
    rows = {
        names[kernel]: [
            (columns | {"constant": constants[kernel], "hmma": hmma[kernel]})[column]
            for column in COLUMNS
        ]
        for kernel, columns in found.items()
    }
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(rows))
    part.replace(kept)
    cubin.unlink()
    return rows


def faults(kernels: dict[str, dict[str, dict[str, list[int]]]]) -> list[str]:
    """What is wrong with the kernels of a record, a line each."""
    found = []
    for source, names in kernels.items():
        for name, archs in names.items():
            for arch, numbers in archs.items():
                row = dict(zip(COLUMNS, numbers, strict=True))
                where = f"{source}: {name} on {arch}"
                if row["spill_stores"] or row["spill_loads"]:
                    found.append(f"{where} spills {row['spill_stores']} bytes")
                if (name.split("<")[0] in ON_TENSOR_CORES) != (row["hmma"] > 0):
                    found.append(f"{where} has {row['hmma']} HMMA instructions")
    return found


def text_of(record: dict[str, object]) -> str:
    """JSON with a line per kernel: a change of one kernel is one line of a diff."""
    text = json.dumps(record, indent=1, sort_keys=True)
    text = re.sub(r"\[\s*([^\[\]{}]*?)\s*\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    return re.sub(r"\{\s*(\"sm_[^{}]*?)\s*\}", lambda m: f"{{{' '.join(m[1].split())}}}", text)


def table(kernels: dict[str, dict[str, dict[str, list[int]]]]) -> str:
    """A line per kernel; numbers of the architectures separated by slashes."""
    header = ("kernel", "registers", "stack", "spilled", "shared", "HMMA")
    lines = [header]
    for names in kernels.values():
        for name, archs in names.items():
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in archs.values()]
            columns = ("registers", "stack", "spill_stores", "shared", "hmma")
            figures = ["/".join(str(row[c]) for row in rows) for c in columns]
            lines.append((name, *figures))  # type: ignore[arg-type]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arch", choices=ARCHS, help="this architecture only; no record")
    parser.add_argument("--only", help="this source only, e.g. conv1d; no record")
    parser.add_argument("--check", action="store_true", help="write no record")
    options = parser.parse_args()
    archs = [options.arch] if options.arch else list(ARCHS)
    chosen = [s for s in sources() if options.only in (None, s.stem)]
    if not chosen:
        parser.error(f"--only must be one of {', '.join(s.stem for s in sources())}")
    kernels: dict[str, dict[str, dict[str, list[int]]]] = {}
    for source in chosen:
        names = kernels.setdefault(source.relative_to(ROOT).as_posix(), {})
        for arch in archs:
            for name, row in sorted(compiled(source, arch).items()):
                names.setdefault(name, {})[arch] = row
    print(table(kernels))
    if not (options.check or options.arch or options.only):
        release = re.search(r"release ([\d.]+)", output_of([nvcc(), "--version"]))
        record: dict[str, object] = {
            "columns": list(COLUMNS),
            "files": all_digests(),
            "flags": list(FLAGS),
            "kernels": kernels,
            "nvcc": release[1] if release else "unknown",
            "schema": 1,
        }
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(text_of(record) + "\n")
    wrong = faults(kernels)
    print("\n".join(wrong) if wrong else "no kernel spills; tensor cores where they are due")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
