"""The mutants of tools/mutate_kernels.py: what they alter, and that its exceptions are alive."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def operators() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("mutation.operators")


def altered(operators: ModuleType, *lines: str) -> set[tuple[str, str]]:
    mutants = operators.mutants_of("x.cu", "\n".join(lines))
    return {(m.operator, m.after.strip()) for m in mutants}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  __syncthreads();  // all", {("barrier", ";  // all")}),
        (
            "  ptx::cp_async_wait<kStages - 2>();",
            {
                ("wait", ";"),
                ("wait", "ptx::cp_async_wait<kStages - 2 + 1>();"),
                ("arithmetic", "ptx::cp_async_wait<kStages + 2>();"),
            },
        ),
        (
            "  if (row >= rows) return;",
            {
                ("bound", "if (row > rows) return;"),
                ("bound", "if (row + 1 >= rows) return;"),
                ("statement", ";"),
            },
        ),
        (
            "  const bool in = frame >= 0 && channel < channels;",
            {
                ("bound", "const bool in = frame > 0 && channel < channels;"),
                ("bound", "const bool in = frame >= 0 && channel <= channels;"),
                ("mask", "const bool in = frame >= 0;"),
                ("mask", "const bool in = channel < channels;"),
            },
        ),
        (
            "  const int at = first + row * stride;",
            {
                ("term", "const int at = first;"),
                ("term", "const int at = row * stride;"),
                ("arithmetic", "const int at = first - row * stride;"),
            },
        ),
        ("  x[i] = found ? y : 0.0f;", {("twin", "x[i] = found ? 0.0f : y;"), ("statement", ";")}),
        ("  copy(to, from, in);", {("mask", "copy(to, from, true);"), ("statement", ";")}),
        ("  if (tap == 0) activate();", {("statement", "activate();"), ("statement", ";")}),
    ],
)
def test_a_line_is_altered(
    operators: ModuleType, line: str, expected: set[tuple[str, str]]
) -> None:
    assert expected <= altered(operators, line)


@pytest.mark.parametrize(
    "line",
    [
        "// row < rows",
        '  check(time < (1 << 30), "time < 2^30");',
        "#pragma unroll 1",
        "using Wide = conv::Tile<128, 128, 2, 2>;",
        "  const T* from;",
    ],
)
def test_a_line_is_left_alone(operators: ModuleType, line: str) -> None:
    assert altered(operators, line) == set()


def test_every_exception_covers_a_mutant(operators: ModuleType) -> None:
    equivalent = importlib.import_module("mutation.equivalent")
    files = [*(ROOT / "csrc" / "cuda").glob("*.cu"), *(ROOT / "csrc" / "core").glob("*.cuh")]
    mutants = [
        mutant
        for path in files
        for mutant in operators.mutants_of(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert len({mutant.id for mutant in mutants}) == len(mutants)
    for rule in equivalent.RULES:
        assert any(rule.covers(mutant) for mutant in mutants), rule
    assert all((ROOT / file).is_file() for file in equivalent.LEFT_OUT)
