"""From a case to rows: floors, peers, and that a wrong kernel is never timed."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.__main__ import main
from bench.case import Case, Options, Variant
from bench.ceilings import Ceilings
from bench.machine import NoiseMeter, caches, cores, cpu_name, slug
from bench.ops import compare, suites
from bench.record import ROOT, Record, load
from bench.runner import run_case
from bench.timer import rotations
from vivace import _dispatch


def ceilings(nbytes: int) -> Ceilings:
    return Ceilings("cpu", True, 10.0, gemm_gflops={"float32": 1.0}, copies_gbs={str(nbytes): 2.0})


def make_case(*variants: Variant, nbytes: int = 1000, flops: int = 1000) -> Case:
    x = torch.randn(1000)

    def verify(variant: Variant) -> dict[str, float]:
        y = variant.call(x)
        torch.testing.assert_close(y, x.sin())
        return {"max_abs": float((y - x.sin()).abs().max())}

    return Case("op/case", "float32", [[1000]], nbytes, flops, (x,), list(variants), verify)


def slow(x: Tensor) -> Tensor:
    for _ in range(40):
        y = x.sin()
    return y


def test_rows(record: Record) -> None:
    case = make_case(Variant("torch", slow, peer=True), Variant("ours", torch.sin))
    theirs, ours = run_case(case, Options(quick=True), ceilings(1000), [0], record)
    assert (theirs.variant, ours.variant, ours.peer) == ("torch", "ours", "torch")
    assert ours.floor == pytest.approx(1e-6)  # 1000 FLOPs at 1 GFLOP/s; the bytes need 0.5 µs
    assert ours.ratio == pytest.approx(ours.samples["median"] / 1e-6)
    assert theirs.speedup == 1
    assert ours.speedup == pytest.approx(theirs.samples["median"] / ours.samples["median"])
    assert ours.speedup > 1
    assert ours.error == {"max_abs": 0.0}
    assert ours.samples["n"] >= 2
    assert len(ours.samples["rounds"]) == 2


def test_the_slower_resource_is_the_floor() -> None:
    assert ceilings(10**4).floor(10**4, 10, "float32") == pytest.approx(10**4 / 2e9)
    assert ceilings(1).floor(2 << 30, 10, "float32") == pytest.approx((2 << 30) / 10e9)


def test_a_wrong_kernel_is_never_timed(record: Record) -> None:
    calls = []

    def wrong(x: Tensor) -> Tensor:
        calls.append(1)
        return x.cos()

    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("no such instruction")

    case = make_case(
        Variant("torch", torch.sin, peer=True),
        Variant("peer", broken, peer=True),
        Variant("ours", wrong),
        Variant("ours too", broken),
    )
    record.skipped.clear()
    rows = run_case(case, Options(quick=True), ceilings(1000), [0], record)
    assert [row.variant for row in rows] == ["torch"]
    assert len(calls) == 1
    assert record.skipped == ["op/case float32 peer: RuntimeError: no such instruction"]
    assert [line.split(":")[:2] for line in record.failed] == [
        ["op/case float32 ours", " AssertionError"],
        ["op/case float32 ours too", " RuntimeError"],
    ]


def test_rounding_like_torchs_own_is_allowed_and_more_is_not() -> None:
    truth = torch.randn(1000, dtype=torch.float64)
    rough = (truth + 1e-4 * torch.randn(1000).double()).float()  # beyond the table for float32
    compare(rough, truth, rough, torch.float32)
    worse = (truth + 3 * (rough - truth)).float()
    with pytest.raises(AssertionError, match="not close"):
        compare(worse, truth, rough, torch.float32)
    with pytest.raises(AssertionError, match="not finite"):
        compare(torch.full((1000,), float("nan")), truth, rough, torch.float32)
    with pytest.raises(AssertionError, match=r"expected torch\.float32"):
        compare(truth, truth, rough, torch.float64)


def test_rotations_exceed_the_cache() -> None:
    assert rotations(10**6, 60 * 10**6) == 300
    assert rotations(10**9, 60 * 10**6) == 2
    assert rotations(1, 60 * 10**6) == 1024


def test_machine() -> None:
    assert set(cores()) <= os.sched_getaffinity(0)
    assert set(caches()) <= {"L2", "L3"}
    assert cpu_name()
    assert slug("cpu", 2).endswith("-2-cores")
    meter = NoiseMeter(cores())
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        pass
    noise = meter.read()
    assert 0 <= noise.steal <= 1
    assert 0 <= noise.other_load <= 1


def test_every_op_with_a_test_takes_part() -> None:
    tests = {p.stem.removeprefix("test_") for p in (ROOT / "tests" / "ops").glob("test_*.py")}
    assert set(suites()) == tests & set(_dispatch.ops())
    assert "snake" in tests


def test_a_tiny_op_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    command = [sys.executable, "-m", "bench", "ops", "snake/dac_44khz.frame", "--quick"]
    command += ["--compile", "none", "--threads", "1", "--dtype", "float32", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "QUICK RUN" in done.stdout
    record = load(path)
    assert {row["id"] for row in record["rows"]} == {"snake/dac_44khz.frame"}
    variants = [row["variant"] for row in record["rows"]]
    assert variants[0] == "torch"
    assert all(name.startswith("cpu-") for name in variants[1:])
    assert all(row["floor"] > 0 and row["samples"]["n"] >= 2 for row in record["rows"])
    assert record["rows"][0]["error"]["max_abs"] < 1e-5
    assert set(record["ceilings"]) == {"1"}
    text = path.read_text()
    assert str(ROOT) not in text
    assert str(tmp_path) not in text
    assert platform.node() not in text
    assert json.loads(text)["quick"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ops", "nosuch", "--threads", "1"], "no case is named 'nosuch'"),
        (["ops", "--quick", "--record"], "a quick run is no measurement"),
        (["ops", "--dtype", "int4"], "'int4' is none of"),
        (["ops", "--compile", "max"], "'max' is neither none nor of"),
        (["compare", "no.json", "no.json"], "no.json"),
    ],
)
def test_bad_command_lines(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # main() would set it for the whole process
    try:
        status = main(words)
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    assert message in capsys.readouterr().err
