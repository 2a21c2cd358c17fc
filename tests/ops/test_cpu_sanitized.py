"""The CPU kernels under ASan+UBSan and under ThreadSanitizer, and that both would speak up."""

import os
import re

import pytest

from tests.ops.sanitized import KINDS, folder, run

LIMIT_S = 600


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Who never asked for the build does not compile it: it takes a minute."""
    if not (folder(request.param) / "build.ninja").exists() and not os.environ.get("CI"):
        pytest.skip(f"not built: `python -m tests.ops.sanitized {request.param}`")
    return request.param


def test_nothing_is_reported(kind: str) -> None:
    done = run(kind, "clean", LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    if kind == "thread":
        assert done.stdout.count("agree") >= 40
    else:
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed is not None
        assert int(passed[1]) > 500


def test_a_planted_bug_is_reported(kind: str) -> None:
    done = run(kind, "planted", LIMIT_S)
    assert done.returncode != 0, done.stdout
    report = "data race" if kind == "thread" else "heap-buffer-overflow"
    assert report in done.stderr
    assert re.search(r"csrc/cpu/avx2/(snake\.cpp|vec\.h):\d+", done.stderr)
