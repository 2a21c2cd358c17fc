"""What every op of the CPU backend promises, whatever it computes: the same bits for any number of
threads and callers, life after a fork, and a lower instruction set on demand."""

import contextlib
import ctypes
import faulthandler
import importlib
import itertools
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import vivace
from tests.conftest import _CSRC, _ISA_LEVELS
from vivace import _dispatch

ROOT = _CSRC.parent
OPS = sorted(path.stem for path in (_CSRC / "cpu").glob("*.cpp"))
LEVELS = _ISA_LEVELS[1:]
# Of one case: what every kernel does in well under a second on one core.
FLOPS = 1_000_000_000
# A dtype of the arguments; "medium" is float32 with torch's leave to multiply in bfloat16.
KINDS = ("float32", "medium", "float16", "bfloat16")
LIMIT_S = 120

Call = tuple[str, Callable[[], list[Tensor]]]


def calls(op_name: str, kind: str = "float32", flops: int = FLOPS) -> list[Call]:
    """The cases of an op's test that its kernel runs, by name, without the large ones."""
    module = importlib.import_module(f"tests.ops.test_{op_name}")
    op = _dispatch.ops()[op_name]
    dtype = torch.float32 if kind == "medium" else getattr(torch, kind)
    found: list[Call] = []
    for name in module.CASES:
        if module.cost(name, dtype)[1] > flops:
            continue
        torch.manual_seed(0)
        args = tuple(module.make(name, dtype, "cpu"))
        if op.why_not("cpu", args) is None:
            found.append((name, lambda args=args: _forced(op, _own(op, args))))
    return found


def _own(op: _dispatch.Op, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with copies of those that the op writes to: callers at once share none."""
    schema = getattr(torch.ops.vivace, op.name).default._schema
    return tuple(
        _copy(a) if formal.alias_info is not None and formal.alias_info.is_write else a
        for a, formal in zip(args, schema.arguments, strict=False)
    )


def _copy(x: Tensor) -> Tensor:
    """A copy that torch's threads have no part in: they do not survive a fork."""
    copy = torch.empty_like(x)
    ctypes.memmove(copy.data_ptr(), x.contiguous().data_ptr(), x.nbytes)
    return copy


def _forced(op: _dispatch.Op, args: tuple[Any, ...]) -> list[Tensor]:
    with vivace.backend("cpu"), torch.no_grad():
        return list(tree_leaves(op(*args)))


def same_bits(actual: list[Tensor], expected: list[Tensor]) -> bool:
    return len(actual) == len(expected) and all(
        a.dtype == e.dtype and a.shape == e.shape and _bytes(a).equal(_bytes(e))
        for a, e in zip(actual, expected, strict=True)
    )


def _bytes(x: Tensor) -> Tensor:
    return x.contiguous().view(-1).view(torch.uint8)


@contextlib.contextmanager
def setting(level: str, kind: str) -> Iterator[None]:
    """An instruction set as the cap ("" for none), and the precision of a kind; undone after."""
    module = _dispatch.load("cpu")
    assert module is not None, "every build has vivace._cpu"
    if _ISA_LEVELS.index(module.detected_isa()) < _ISA_LEVELS.index(level or "avx2"):
        pytest.skip(f"this CPU has no {level or 'AVX2'}")
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("medium" if kind == "medium" else "highest")
    module.set_isa_cap(level)
    try:
        yield
    finally:
        module.set_isa_cap("")
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op_name", OPS)
def test_same_bits_for_any_number_of_threads(op_name: str, kind: str, level: str) -> None:
    with setting(level, kind):
        found = calls(op_name, kind)
        assert found or kind != "float32", f"no case of {op_name} runs on the CPU backend"
        for name, call in found:
            torch.set_num_threads(1)
            expected = call()
            for threads in (2, 3, 5):
                torch.set_num_threads(threads)
                assert same_bits(call(), expected), f"{name}: {threads} threads differ from one"


def wrong_under_callers(op_name: str, kind: str, threads: int, flops: int = FLOPS) -> list[str]:
    """The cases that come out otherwise when 8 Python threads call the op at once.

    Each thread has its own order of the cases, so that different shapes meet; weights are packed
    by whoever comes first.
    """
    torch.set_num_threads(threads)
    alone = {name: call() for name, call in calls(op_name, kind, flops)}
    found = calls(op_name, kind, flops)  # other tensors: nothing of theirs is packed yet
    callers = 8
    start = Barrier(callers)

    def work(caller: int) -> list[str]:
        first = caller % len(found)
        order = found[first:] + found[:first]
        start.wait(LIMIT_S)
        return [name for name, call in order * 2 if not same_bits(call(), alone[name])]

    if not found:
        return []
    with ThreadPoolExecutor(callers) as pool:
        return sorted({name for names in pool.map(work, range(callers)) for name in names})


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("op_name", OPS)
def test_eight_callers_at_once(op_name: str, kind: str) -> None:
    with setting("", kind):
        assert not wrong_under_callers(op_name, kind, threads=2)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=LIMIT_S,
    )


def run_after_fork(op_name: str) -> None:
    """Exits with 0 if a forked child of a process that has used threads computes the same."""

    def same() -> bool:
        torch.set_num_threads(3)
        results = [call() for _, call in found]
        torch.set_num_threads(1)  # torch's own loops hang in a forked child that uses threads
        return all(same_bits(y, e) for y, e in zip(results, expected, strict=True))

    torch.set_num_threads(3)
    found = calls(op_name)
    expected = [call() for _, call in found]
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(LIMIT_S // 2, exit=True)
        os._exit(0 if found and same() else 2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    again = same()
    sys.exit(f"child: {status}, parent again: {again}" if status != 0 or not again else 0)


@pytest.mark.parametrize("op_name", OPS)
def test_after_a_fork(op_name: str) -> None:
    done = python(f"from tests.ops.test_cpu import run_after_fork; run_after_fork({op_name!r})")
    assert done.returncode == 0, done.stderr


PAGE, PROT_NONE = mmap.PAGESIZE, 0


def guarded(x: Any, at_end: bool) -> Any:
    """A copy of a tensor that ends, or starts, where memory does: an access beyond is a SIGSEGV."""
    if isinstance(x, list):
        return [guarded(part, at_end) for part in x]
    if not isinstance(x, Tensor) or x.numel() == 0:
        return x
    size = x.numel() * x.element_size()
    pages = -(-size // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, pages + 1):
        address = ctypes.c_void_p(start + page * PAGE)
        assert libc.mprotect(address, ctypes.c_size_t(PAGE), PROT_NONE) == 0
    offset = (pages + 1) * PAGE - size if at_end else PAGE
    y = torch.frombuffer(memory, dtype=x.dtype, count=x.numel(), offset=offset).view(x.shape)
    return y.copy_(x)


_kept: list[mmap.mmap] = []


def run_guarded(op_name: str) -> None:
    """Runs an op's cases on guarded arguments, at every level and precision."""
    op, ran = _dispatch.ops()[op_name], 0
    module = importlib.import_module(f"tests.ops.test_{op_name}")
    cpu = _dispatch.load("cpu")
    small = [name for name in module.CASES if name not in module.PERF]
    for level, kind, name, at_end in itertools.product(LEVELS, KINDS, small, (True, False)):
        cpu.set_isa_cap(level)
        torch.set_float32_matmul_precision("medium" if kind == "medium" else "highest")
        dtype = torch.float32 if kind == "medium" else getattr(torch, kind)
        torch.manual_seed(0)
        args = tuple(module.make(name, dtype, "cpu"))
        if op.why_not("cpu", args) is None:
            expected = _forced(op, args)
            print(level, kind, name, "end" if at_end else "start", flush=True)
            actual = _forced(op, tuple(guarded(a, at_end) for a in args))
            assert same_bits(actual, expected)
            ran += 1
        _kept.clear()
    print("cases", ran)


@pytest.mark.parametrize("op_name", OPS)
def test_reads_nothing_beyond_its_arguments(op_name: str) -> None:
    """Masked loads and tiles too, which the sanitizers do not see."""
    done = python(f"from tests.ops.test_cpu import run_guarded; run_guarded({op_name!r})")
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-200:]}{done.stderr}"
    assert int(done.stdout.split()[-1]) >= 8


@pytest.mark.parametrize(("at_end", "offset"), [(True, 36), (False, -4)])
def test_the_guard_is_one(at_end: bool, offset: int) -> None:
    code = f"""
import ctypes, torch
from tests.ops.test_cpu import guarded
x = guarded(torch.ones(9), {at_end})
print(float(x.sum()), flush=True)
ctypes.c_float.from_address(x.data_ptr() + {offset}).value
"""
    done = python(code)
    assert done.stdout == "9.0\n"
    assert done.returncode == -signal.SIGSEGV


ACTIVE = "from vivace import _cpu; print(_cpu.active_isa())"


@pytest.mark.parametrize("level", LEVELS)
def test_the_variable_lowers_the_instruction_set(level: str) -> None:
    with setting(level, "float32"):
        done = python(ACTIVE, VIVACE_CPU=level)
    assert done.stdout.strip() == level, done.stderr


def test_the_variable_does_not_raise_it() -> None:
    detected = _dispatch.load("cpu").detected_isa()
    assert python(ACTIVE, VIVACE_CPU="amx").stdout.strip() == detected
    assert python(ACTIVE, VIVACE_CPU="").stdout.strip() == detected


@pytest.mark.parametrize("name", ["sse", "AVX2", "avx512 "])
def test_an_unknown_instruction_set_is_an_error(name: str) -> None:
    call = "import torch, vivace; vivace.ops.snake(torch.zeros(1, 1, 1), torch.ones(1))"
    done = python(call, VIVACE_CPU=name)
    assert done.returncode != 0
    expected = f"ValueError: VIVACE_CPU must be generic, avx2, avx512 or amx, got '{name}'"
    assert expected in done.stderr


def test_generic_means_torch() -> None:
    code = """
import torch
from vivace import _cpu, _dispatch, backend
from vivace.ops import snake
assert _cpu.active_isa() == "generic"
args = (torch.randn(2, 5, 301), torch.rand(5) + 0.1)
assert _dispatch.select(snake, args) is None
assert torch.equal(snake(*args), snake.reference(*args))
with backend("cpu"):
    snake(*args)
"""
    done = python(code, VIVACE_CPU="generic")
    assert done.returncode != 0
    assert "RuntimeError: snake: backend 'cpu' was forced, but the CPU has" in done.stderr
