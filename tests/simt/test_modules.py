"""The modules of the emulator: tests/ops under ASan and UBSan, and mistakes that each must report.

The other builds and schedules are parameters of the `backend` fixture (tests/conftest.py); this one
needs the sanitizer's library in front of everything else, so a process of its own.
"""

import importlib.util
import os
import re
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from tests.conftest import BACKENDS
from tests.simt.build import ROOT, sanitizer_environment
from vivace import _dispatch

OPS = [op for op in _dispatch.ops() if (ROOT / "csrc" / "cuda" / f"{op}.cu").exists()]


def require(module: str) -> None:
    if importlib.util.find_spec(f"vivace.{module}") is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the sanitized kernels, but vivace.{module} is not built")
        pytest.skip(f"vivace.{module} is not built: `make test` does")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    require("_simt_asan")
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=sanitizer_environment(),
    )


@pytest.mark.parametrize("op", OPS)
def test_ops_with_sanitizers(op: str) -> None:
    # --capture=sys leaves the sanitizer's own report, which ends the process, on its stderr.
    options = ("-v", "-x", "--capture=sys", "-p", "no:cacheprovider", "-k", "simt-asan")
    done = python("-m", "pytest", f"tests/ops/test_{op}.py", *options)
    report = f"{done.stdout[-4000:]}\n{done.stderr[:8000]}"
    assert done.returncode == 0, report
    passed = re.search(r"\b(\d+) passed", done.stdout)
    assert passed is not None, report
    assert int(passed[1]) > 2, report


SHORT = """
import numpy as np
import torch
from vivace import _simt_asan
memory = np.ones({floats}, np.float32)
x = torch.from_numpy(np.lib.stride_tricks.as_strided(memory, (1, 1, 64), (256, 256, 4)))
_simt_asan.snake(torch.empty(1, 1, 64), x, torch.ones(1), 1)
print("not reported")
"""


def test_a_read_past_a_tensor_is_reported() -> None:
    assert python("-c", SHORT.format(floats=64)).stdout == "not reported\n"
    done = python("-c", SHORT.format(floats=63))
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "csrc/cuda/snake.cu" in done.stderr
    assert "The CUDA thread: block (0, 0, 0), thread (63, 0, 0)" in done.stderr


def convolve_in_place(module: ModuleType, frames: int) -> None:
    """A block of 32 frames reads one frame on each side, which its neighbours overwrite."""
    x = torch.ones(1, frames, 32)
    packed = torch.empty(module.conv1d_packed_bytes(32, 32, 3, 1), dtype=torch.uint8)
    module.conv1d_pack(packed, torch.ones(32, 32, 3), 1, 1)
    nothing = (None,) * 4
    module.conv1d(x, x, packed, *nothing, 3, 1, 1, 1, 0, 0.0, False, False, 1, 1)


def test_blocks_that_overwrite_each_others_input_are_reported() -> None:
    require("_simt_race")
    module = _dispatch.load("simt_race")
    assert module is not None
    convolve_in_place(module, 32)
    with pytest.raises(RuntimeError, match="of another block") as caught:
        convolve_in_place(module, 33)
    assert "conv1d_kernel" in str(caught.value)
    assert "csrc/core/" in str(caught.value)
    convolve_in_place(module, 32)  # the module is usable after an error


def test_a_schedule_ends_with_its_test() -> None:
    require("_simt")
    module = _dispatch.load("simt")
    assert module is not None
    usual = module.schedule()
    with BACKENDS["simt-shuffle"].active(7):
        during = module.schedule()
    assert during == {"order": "shuffle", "fair": True, "copies": "shuffle", "seed": 7}
    assert module.schedule() == usual
