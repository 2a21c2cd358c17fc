"""The record of the compiled kernels: of these sources, without spills, on tensor cores where due.

tools/inspect_kernels.py writes it with nvcc; reading it needs no compiler.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/ is no package: the file is loaded by its path."""
    path = ROOT / "tools" / "inspect_kernels.py"
    spec = importlib.util.spec_from_file_location("inspect_kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record(tool: ModuleType) -> dict[str, Any]:
    if not tool.RECORD.is_file():
        pytest.skip("source distributions have no records")
    return dict(json.loads(tool.RECORD.read_text()))


def test_is_of_these_sources(tool: ModuleType, record: dict[str, Any]) -> None:
    """Comments and layout may change; code that has changed must have been compiled again."""
    now = tool.all_digests()
    changed = sorted(p for p in {*now, *record["files"]} if now.get(p) != record["files"].get(p))
    if changed and not os.environ.get("CI"):
        pytest.skip(f"{changed} changed: run `python tools/inspect_kernels.py` when you are done")
    assert not changed, "run `python tools/inspect_kernels.py`"


def test_covers_every_source_and_architecture(tool: ModuleType, record: dict[str, Any]) -> None:
    assert set(record["kernels"]) == {f"csrc/cuda/{path.name}" for path in tool.sources()}
    for kernels in record["kernels"].values():
        assert kernels
        for archs in kernels.values():
            assert set(archs) == set(tool.ARCHS)


def test_nothing_spills_and_tensor_cores_are_used(tool: ModuleType, record: dict[str, Any]) -> None:
    assert tuple(record["columns"]) == tool.COLUMNS
    assert tool.faults(record["kernels"]) == []


def test_file_is_as_the_tool_writes_it(tool: ModuleType, record: dict[str, Any]) -> None:
    assert tool.RECORD.read_text() == tool.text_of(record) + "\n"


def test_faults_are_found(tool: ModuleType) -> None:
    """A spill, a kernel without the tensor-core instructions that it must have, one with some."""

    def kernels(name: str, **columns: int) -> dict[str, Any]:
        row = [columns.get(column, 0) for column in tool.COLUMNS]
        return {"csrc/cuda/x.cu": {name: {"sm_90": row}}}

    assert tool.faults(kernels("snake_kernel<f32>", registers=32)) == []
    assert tool.faults(kernels("conv1d_kernel<f16>", hmma=8)) == []
    assert "spills 4 bytes" in tool.faults(kernels("snake_kernel<f32>", spill_stores=4))[0]
    assert "has 0 HMMA" in tool.faults(kernels("conv1d_kernel<f16>"))[0]
    assert "has 2 HMMA" in tool.faults(kernels("rvq_encode_kernel<8, 8>", hmma=2))[0]


PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1aPf' for 'sm_90'
ptxas info    : Function properties for _Z1aPf
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 400 bytes smem, 616 bytes cmem[0]
ptxas info    : Compiling entry function '_Z1bPf' for 'sm_90'
ptxas info    : Function properties for _Z1bPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 536 bytes cmem[0]
"""

SASS = """\
\t.section\t.text._Z1aPf,"ax",@progbits
        /*0010*/                   HMMA.16816.F32.BF16 R4, R4, R8, RZ ;
        /*0020*/                   HMMA.1688.F32.TF32 R4, R4, R8, R4 ;
\t.section\t.text._Z1bPf,"ax",@progbits
        /*0010*/                   FFMA R4, R4, R8, RZ ;
"""

SECTIONS = """\
  [ 5] .text._Z1aPf      PROGBITS        0000000000000000 000e00 001980 00  AX  0   0 128
  [ 6] .nv.constant0._Z1aPf PROGBITS        0000000000000000 002780 000268 00   A  0   0  4
"""


def test_reads_the_compiler(tool: ModuleType) -> None:
    found = tool.read_ptxas(PTXAS)
    assert [found["_Z1aPf"][column] for column in tool.COLUMNS[:-2]] == [168, 16, 8, 12, 400]
    assert [found["_Z1bPf"][column] for column in tool.COLUMNS[:-2]] == [10, 0, 0, 0, 0]
    assert tool.count_hmma(SASS) == {"_Z1aPf": 2, "_Z1bPf": 0}
    assert tool.read_constants(SECTIONS) == {"_Z1aPf": 616}


def test_names_are_short(tool: ModuleType) -> None:
    name = (
        "void vivace::(anonymous namespace)::conv1d_kernel<__half, vivace::conv::Tile<(int)128, "
        "(int)96, (int)2, (int)2, (int)4>, (bool)1>(vivace::conv::Conv1dCall<__half>)"
    )
    assert tool.shorten(name) == "conv1d_kernel<f16, Tile<128, 96, 2, 2, 4>, 1>"


def test_comments_do_not_count(tool: ModuleType) -> None:
    assert tool.code_of("int a;  // one\n\n/* two\n*/ int  b;") == "int a; int b;"
