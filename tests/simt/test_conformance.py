"""The emulated wrappers and intrinsics against numpy, and against a GPU's results if there are any.

No GPU has produced golden vectors yet, so an error that numpy's model and the emulator share would
go unnoticed. conformance/main.cu says how to make them; this file then compares them by itself.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.simt.build import ROOT, build
from tests.simt.models import MODELS, Expected, from_bf16, from_f16
from tests.simt.numeric_models import NUMERIC_MODELS

SOURCES = sorted((Path(__file__).parent / "conformance").glob("*.cu"))
GOLDEN = Path(__file__).parent / "golden"
ALL = {**MODELS, **NUMERIC_MODELS}


@pytest.fixture(scope="module")
def emulated(
    tmp_path_factory: pytest.TempPathFactory, object_folder: Callable[[str], Path]
) -> Path:
    """The folder with every case's input and output words."""
    folder = tmp_path_factory.mktemp("conformance")
    program = build("plain", object_folder("conformance"), SOURCES, shared=False)
    subprocess.run([str(program), str(folder)], check=True)
    return folder


def values(case: str, words: np.ndarray) -> np.ndarray:
    if case == "half":
        return from_f16(words)
    if case == "bfloat16":
        return from_bf16(words)
    return words.view(np.float32)


def compare(case: str, words: np.ndarray, expected: Expected) -> None:
    assert len(words) == sum(len(e) for e, _ in expected)
    start = 0
    for index, (want, tolerance) in enumerate(expected):
        part = words[start : start + len(want)]
        start += len(want)
        message = f"{case}, function {index}"
        if tolerance is None:
            got = part if want.dtype.kind in "iu" else values(case, part)
            np.testing.assert_array_equal(got, want, err_msg=message)
        else:
            got = values(case, part).astype(float)
            assert np.isfinite(got).all(), message
            error = np.abs(got - want)
            worst = np.argmax(error - tolerance)
            limit = np.broadcast_to(np.asarray(tolerance), error.shape)
            assert (error <= limit).all(), (message, worst, got[worst], want[worst], limit[worst])


@pytest.mark.parametrize("case", ALL)
def test_emulator_against_numpy(emulated: Path, case: str) -> None:
    words = np.load(emulated / f"{case}.out.npy")
    compare(case, words, ALL[case](np.load(emulated / f"{case}.in.npy")))


def test_every_case_has_a_model(emulated: Path) -> None:
    written = {path.name.split(".")[0] for path in emulated.glob("*.in.npy")}
    assert written == set(ALL)


def test_every_wrapper_has_a_case() -> None:
    declared = re.findall(
        r"^__device__ inline \S+ (\w+)\(", (ROOT / "csrc/core/ptx.cuh").read_text(), re.M
    )
    text = "".join(path.read_text() for path in SOURCES)
    unused = {name for name in declared if not re.search(rf"ptx::{name}\b", text)}
    assert unused == {"shared_address", "cp_async_wait_all"}  # a cast; used by every gemm test


def test_fast_sine_loses_accuracy_with_its_argument(emulated: Path) -> None:
    """As on the GPU: hiding it would let a kernel with large α x pass here and fail there."""
    x = np.load(emulated / "sine_large.in.npy").view(np.float32).astype(float)
    s = np.load(emulated / "sine_large.out.npy").view(np.float32)[: len(x)]
    assert np.abs(s - np.sin(x)).max() > 1e-4


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no GPU has produced golden vectors yet")
def test_emulator_against_a_gpu(emulated: Path) -> None:
    for case, model in ALL.items():
        words = np.load(GOLDEN / f"{case}.in.npy")
        np.testing.assert_array_equal(words, np.load(emulated / f"{case}.in.npy"), err_msg=case)
        golden = np.load(GOLDEN / f"{case}.out.npy")
        expected = model(words)
        compare(case, golden, expected)
        if all(tolerance is None for _, tolerance in expected):
            got = np.load(emulated / f"{case}.out.npy")
            np.testing.assert_array_equal(got, golden, err_msg=case)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
def test_nvcc_accepts_the_same_sources(tmp_path: Path, arch: str) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        assert not os.environ.get("CI"), "CI must compile for the GPU, but there is no nvcc"
        pytest.skip("no nvcc")
    kernels = Path(__file__).parent / "kernels"
    for source in [*SOURCES, kernels / "clean.cu", kernels / "gemm.cu"]:
        command = [nvcc, "-std=c++17", f"-arch={arch}", f"-I{ROOT}/csrc", f"-I{kernels}"]
        command += ["-Werror", "all-warnings", "-c", str(source), "-o", str(tmp_path / "x.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
