"""Which implementation runs: automatic choice, forced backends, gradients, compiled code."""

import subprocess
import sys
import threading

import pytest
import torch

import vivace
from vivace import _dispatch
from vivace.ops import snake


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the modules whose snake kernel was called."""
    calls: list[str] = []
    native = snake._native
    assert native is not None

    def spy(module, *args):  # type: ignore[no-untyped-def]
        calls.append(module.__name__.split(".")[-1])
        return native(module, *args)

    monkeypatch.setattr(snake, "_native", spy)
    return calls


needs_cpu_kernels = pytest.mark.skipif(
    (module := _dispatch.load("cpu")) is None or module.detected_isa() == "generic",
    reason="this CPU has no AVX2",
)


def arguments() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(1, 3, 40), torch.rand(3) + 0.1


@needs_cpu_kernels
def test_automatic_choice_takes_the_kernel(kernel: list[str]) -> None:
    snake(*arguments())
    assert kernel == ["_cpu"]


def test_forced_torch(kernel: list[str]) -> None:
    with vivace.backend("torch"):
        snake(*arguments())
    assert kernel == []


@needs_cpu_kernels
def test_auto_undoes_an_outer_block(kernel: list[str]) -> None:
    with vivace.backend("torch"), vivace.backend("auto"):
        snake(*arguments())
    assert kernel == ["_cpu"]


def test_forced_backend_never_falls_back() -> None:
    with vivace.backend("cuda"), pytest.raises(RuntimeError, match="'cuda' was forced, but the t"):
        snake(*arguments())
    x, alpha = arguments()
    with vivace.backend("cpu"), pytest.raises(RuntimeError, match="float64 is computed by torch"):
        snake(x.double(), alpha.double())


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="backend must be auto or one of torch, cpu"):
        vivace.backend("gpu").__enter__()


@needs_cpu_kernels
def test_gradients_take_torch(kernel: list[str]) -> None:
    x, alpha = arguments()
    alpha.requires_grad_()
    assert snake(x, alpha).requires_grad
    assert kernel == []
    with torch.no_grad():
        snake(x, alpha)
    assert kernel == ["_cpu"]
    with vivace.backend("cpu"), pytest.raises(RuntimeError, match="a gradient is needed"):
        snake(x, alpha)


@needs_cpu_kernels
def test_generic_cpu_takes_torch(kernel: list[str]) -> None:
    module = _dispatch.load("cpu")
    assert module is not None
    module.set_isa_cap("generic")
    try:
        snake(*arguments())
    finally:
        module.set_isa_cap("")
    assert kernel == []


def test_unknown_instruction_set() -> None:
    module = _dispatch.load("cpu")
    assert module is not None
    with pytest.raises(ValueError, match="must be generic, avx2, avx512 or amx, got 'x'"):
        module.set_isa_cap("x")


def test_backend_is_per_thread() -> None:
    seen: list[str | None] = []
    with vivace.backend("torch"):
        thread = threading.Thread(target=lambda: seen.append(_dispatch.forced_backend()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("VIVACE_DISABLE", "1", "[]"),
        ("VIVACE_BACKEND", "torch", "[]"),
        ("VIVACE_CPU", "generic", "[]"),
    ],
)
def test_environment(variable: str, value: str, expected: str) -> None:
    code = (
        "import torch; from vivace.ops import snake; calls = []; native = snake._native\n"
        "snake._native = lambda *a: (calls.append(1), native(*a))[1]\n"
        "snake(torch.randn(1, 2, 3), torch.ones(2)); print(calls)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={variable: value}, capture_output=True, text=True
    )
    assert run.stdout.strip() == "[]", run.stderr


@pytest.mark.parametrize("name", _dispatch.ops())
def test_opcheck(name: str) -> None:
    import importlib

    cases = importlib.import_module(f"tests.ops.test_{name}")
    case = next(c for c in ("ragged", "rows_4", "everything") if c in cases.CASES)
    args = cases.make(case, torch.float32, "cpu")
    torch.library.opcheck(getattr(torch.ops.vivace, name), args)


def test_compiles_whole_with_the_same_result() -> None:
    x, alpha = arguments()
    compiled = torch.compile(lambda x, a: snake(x, a) * 2, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, alpha), snake(x, alpha) * 2)


def test_fake_tensors_never_reach_a_kernel() -> None:
    """Also inside an op whose reference calls another op: a fake tensor has no memory to read."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.no_grad():
        x, alpha = torch.randn(1, 3, 40), torch.rand(3)
        assert snake(x, alpha).shape == (1, 3, 40)
    assert snake(x, alpha).shape == (1, 3, 40)  # outside the mode they are still fake


def test_vmap() -> None:
    x, alpha = torch.randn(4, 1, 3, 40), torch.rand(3) + 0.1
    with torch.no_grad():
        mapped = torch.vmap(lambda x: snake(x, alpha))(x)
    torch.testing.assert_close(mapped, torch.stack([snake(row, alpha) for row in x]))


def test_raw_op_has_the_gradient_of_the_reference() -> None:
    x, alpha = arguments()
    x.requires_grad_()
    alpha.requires_grad_()
    ours = torch.autograd.grad(torch.ops.vivace.snake(x, alpha).square().sum(), (x, alpha))
    theirs = torch.autograd.grad(snake.reference(x, alpha).square().sum(), (x, alpha))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_native_modules_check_their_arguments() -> None:
    module = _dispatch.load("cpu")
    assert module is not None
    x, alpha = arguments()
    with pytest.raises(ValueError, match="one shape"):
        module.snake(torch.empty(1, 3, 39), x, alpha, 1)
    with pytest.raises(ValueError, match=r"alpha must be \(C,\) float32"):
        module.snake(torch.empty_like(x), x, alpha.double(), 1)
    with pytest.raises(TypeError, match="expected a tensor, got list"):
        module.snake([1], x, alpha, 1)
    with pytest.raises(TypeError, match="unsupported element type"):
        module.snake(torch.empty_like(x), x.to(torch.complex64), alpha, 1)


def test_numpy_arrays_cross_the_boundary() -> None:
    """The path without torch's exchange table: any object with `__dlpack__`."""
    module = _dispatch.load("cpu")
    assert module is not None
    x, alpha = arguments()
    y = torch.empty_like(x)
    module.snake(y.numpy(), x.numpy(), alpha.numpy(), 1)
    torch.testing.assert_close(y, snake(x, alpha))


@needs_cpu_kernels
def test_kernels_after_a_fork() -> None:
    """A forked child must not wait for threads that the fork did not copy."""
    code = (
        "import os, sys, torch; from vivace.ops import snake; torch.set_num_threads(2)\n"
        "x, a = torch.randn(2, 64, 4000), torch.rand(64); y = snake(x, a)\n"
        "if (pid := os.fork()) == 0:\n"
        "    z = snake(x, a); torch.set_num_threads(1)\n"  # torch.equal would hang on two
        "    os._exit(0 if torch.equal(y, z) else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60).returncode == 0


@needs_cpu_kernels
def test_same_bits_for_any_number_of_threads() -> None:
    x, alpha = torch.randn(3, 5, 40000), torch.rand(5) + 0.1
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(snake(x, alpha))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], r) for r in results[1:])
