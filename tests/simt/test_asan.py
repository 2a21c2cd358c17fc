"""The ASan+UBSan build: addresses out of bounds, misaligned vectors; a process for each."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simt.build import ROOT, marked, sanitizer_environment


def run(library: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simt.run_asan", str(library), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=sanitizer_environment(),
    )


def test_right_kernels_are_not_reported(asan_path: Path) -> None:
    done = run(asan_path, "clean")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "clean\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("case", "number", "mark", "report"),
    [
        ("copy_overflow", 1, "copy overflow", "heap-buffer-overflow"),
        ("copy_source", 1, "copy source", "heap-buffer-overflow"),
        ("dynamic_overflow", 33, "dynamic overflow", "heap-buffer-overflow"),
        ("global_overflow", 32, "global overflow", "heap-buffer-overflow"),
        ("misaligned", 3, "misaligned", "misaligned address"),
        ("register_array", 4, "register array", "out of bounds for type 'float [4]'"),
        ("static_array", 64, "static array", "global-buffer-overflow"),
    ],
)
def test_planted(asan_path: Path, case: str, number: int, mark: str, report: str) -> None:
    done = run(asan_path, case, str(number))
    assert done.returncode != 0, done.stdout
    assert report in done.stderr
    assert marked(mark) in done.stderr
    if "AddressSanitizer" in done.stderr:
        assert "The CUDA thread: block (0, 0, 0), thread (" in done.stderr


@pytest.mark.parametrize(
    ("case", "number"), [("copy_source", 0), ("dynamic_overflow", 32), ("static_array", 63)]
)
def test_the_last_element_is_not_reported(asan_path: Path, case: str, number: int) -> None:
    done = run(asan_path, case, str(number))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "not caught: None\n"
