"""Op cases, from tests/ops: every test_<op>.py that declares PERF takes part.

Such a module has CASES (name -> shape), PERF (the names to time), make(case, dtype, device) -> the
arguments, cost(case, dtype) -> (bytes, FLOPs), and, where closeness to float64 is not the right
comparison, verify(case, args, result) -> errors by name, which raises AssertionError.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

import vivace
from bench.case import DTYPES, Case, Cases, Options, Variant, precision
from bench.record import ROOT
from vivace import _dispatch

# Not an import statement: mypy would hold the tests to its strict rules.
assert_close: Callable[..., None] = importlib.import_module("tests.tolerances").assert_close
_ISA_LEVELS = ("avx2", "avx512", "amx")
_DTYPES = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")}


def suites(folder: Path = ROOT / "tests" / "ops") -> dict[str, Cases]:
    """op -> its cases, for every op that has a test."""
    names = sorted(path.stem.removeprefix("test_") for path in folder.glob("test_*.py"))
    names = [name for name in names if (ROOT / "python/vivace/ops" / f"{name}.py").is_file()]
    return {name: partial(_cases, name) for name in names}


def _cases(op_name: str, options: Options, note: Callable[[str], None]) -> Iterator[Case]:
    if options.name.split("/")[0] not in ("", op_name):
        return
    module = importlib.import_module(f"tests.ops.test_{op_name}")
    op = _dispatch.ops().get(op_name)
    if op is None or not hasattr(module, "PERF"):
        note(f"{op_name}: {'no such op' if op is None else 'its test names no case to time'}")
        return
    native = _dispatch.load(options.device)
    if not hasattr(native, op_name):
        note(f"{op_name}: no kernel of vivace for {options.device}, torch runs it")
        return
    for name in module.PERF:
        case_id = f"{op_name}/{name}"
        if options.wants(case_id):
            for dtype in options.dtypes or _DTYPES[options.device]:
                case = _case(op, module, case_id, dtype, options, note)
                if case is not None:
                    yield case


def _case(
    op: _dispatch.Op,
    module: ModuleType,
    case_id: str,
    dtype_name: str,
    options: Options,
    note: Callable[[str], None],
) -> Case | None:
    """None where the op's arguments never have this dtype."""
    name, dtype = case_id.split("/", 1)[1], DTYPES[dtype_name]
    torch.manual_seed(0)
    args = tuple(module.make(name, dtype, options.device))
    tensors = [a for a in tree_leaves(args) if isinstance(a, Tensor)]
    if not any(a.dtype == dtype for a in tensors):
        return None
    with precision(dtype_name):
        reason = op.why_not(options.device, args)
    if reason is not None and dtype_name == "float32" and options.device == "cuda":
        with precision("tf32"):  # kernels on tensor cores have no wider products than these
            if op.why_not("cuda", args) is None:
                dtype_name, reason = "tf32", None
    if reason is not None:
        note(f"{case_id} {dtype_name}: the kernel for {options.device} steps aside: {reason}")
    nbytes, flops = module.cost(name, dtype)
    # Ops that a reference calls are torch's too.
    alone = partial(_forced, "torch", "")
    variants = [Variant("torch", op.reference, peer=True, active=alone)]
    for mode in ("default",) if options.compile is None else options.compile:
        compiled = torch.compile(op.reference, mode=mode, dynamic=False)
        label = f"torch.compile{'' if mode == 'default' else f'.{mode}'}"
        variants.append(Variant(label, compiled, peer=True, compiles=True, active=alone))
    if reason is None:
        variants += native_variants(op, options.device, dtype_name)
    return Case(
        id=case_id,
        dtype=dtype_name,
        shape=[list(a.shape) for a in tensors],
        bytes=nbytes,
        flops=flops,
        args=args,
        variants=variants,
        verify=partial(_verify, op, module, name, args, dtype),
        rotate=True,
    )


def native_variants(op: _dispatch.Op, device: str, dtype: str) -> list[Variant]:
    """The op's kernels for the device: on the CPU one per instruction set that op and CPU have."""
    if device == "cuda":
        return [Variant("cuda", op, active=partial(_forced, "cuda", ""))]
    module = _dispatch.load("cpu")
    assert module is not None  # the caller found the op in it
    here = ("generic", *_ISA_LEVELS).index(module.detected_isa())
    sources = ROOT / "csrc" / "cpu"
    family = "conv_run.h" in (sources / f"{op.name}.cpp").read_text()
    stem = "conv" if family else op.name  # the conv1d family shares its loops
    return [
        Variant(f"cpu-{isa}", op, active=partial(_forced, "cpu", isa))
        for isa in _ISA_LEVELS[:here]
        if (sources / isa / f"{stem}.cpp").is_file()
        and (isa != "amx" or dtype == "bfloat16")  # float32 runs on AVX-512 there
    ]


@contextmanager
def _forced(backend: str, isa: str) -> Iterator[None]:
    module = _dispatch.load("cpu") if isa else None
    with ExitStack() as stack:
        if module is not None:
            module.set_isa_cap(isa)
            stack.callback(module.set_isa_cap, "")
        stack.enter_context(vivace.backend(backend))
        yield


def _verify(
    op: _dispatch.Op,
    module: ModuleType,
    case: str,
    args: tuple[Any, ...],
    dtype: torch.dtype,
    variant: Variant,
) -> dict[str, float]:
    """Compares with the float64 reference; memory that the variant leaves unwritten is NaN."""
    if variant.compiles:
        result = variant.call(*args)
    else:
        with _poisoned():
            result = variant.call(*args)
    if hasattr(module, "verify"):
        return dict(module.verify(case, args, result))
    with vivace.backend("torch"):
        truth = tree_leaves(op.reference(*tree_map(_double, args)))
        eager = tree_leaves(op.reference(*args))
    errors = {"max_abs": 0.0, "rel_l2": 0.0}
    for y, t, e in zip(tree_leaves(result), truth, eager, strict=True):
        largest, relative = compare(y, t, e, dtype, terms=getattr(module, "TERMS", 1))
        errors["max_abs"] = max(errors["max_abs"], largest)
        errors["rel_l2"] = max(errors["rel_l2"], relative)
    return errors


def compare(
    y: Tensor, truth: Tensor, eager: Tensor, dtype: torch.dtype, terms: int = 1
) -> tuple[float, float]:
    """Largest and relative L2 error of y. Raises AssertionError unless y is within the tolerance
    table (for so many terms: the TERMS of the op's test), or at most twice as far from the float64
    truth as torch's own result in this dtype.
    """
    assert y.shape == truth.shape, f"expected shape {tuple(truth.shape)}, got {tuple(y.shape)}"
    assert y.dtype == eager.dtype, f"expected {eager.dtype}, got {y.dtype}"
    if not y.is_floating_point():
        assert torch.equal(y, truth), f"{int((y != truth).sum())} of {y.numel()} integers differ"
        return 0.0, 0.0
    assert y.isfinite().all(), "the result is not finite"
    own, rounding = y.double() - truth, eager.double() - truth
    largest, relative = float(own.abs().max()), float(own.norm() / truth.norm())
    try:
        assert_close(y, truth, dtype, terms=terms)
    except AssertionError:
        near = own.norm() <= 2 * rounding.norm() and own.abs().max() <= 2 * rounding.abs().max()
        if not near or relative > 0.1:
            raise
    return largest, relative


@contextmanager
def _poisoned() -> Iterator[None]:
    """torch.empty gives NaN inside: a kernel that skips a part of its output is found out."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _double(value: Any) -> Any:
    wide = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if wide else value
