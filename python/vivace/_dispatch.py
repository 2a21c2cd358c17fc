"""Which implementation of an op runs: torch, or a kernel of `_cpu`, `_cuda` or `_simt`.

This is the only place that decides. An automatic choice may fall back to torch; a forced backend
(`with vivace.backend("cuda")`, or VIVACE_BACKEND) runs there or raises. Kernels are for inference:
where a gradient is needed, torch runs. Under torch.compile the registered op `torch.ops.vivace.*`
is traced; everywhere else the native module is called directly, which costs a fifth of that.
"""

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

BACKENDS = ("torch", "cpu", "cuda", "simt", "simt_asan", "simt_race")
_NATIVE = BACKENDS[1:]
_forced: ContextVar[str | None] = ContextVar("vivace_backend", default=None)
_library = torch.library.Library("vivace", "FRAGMENT")
_ops: dict[str, "Op"] = {}


@functools.cache
def load(backend: str) -> ModuleType | None:
    """The native module of a backend, or None; `_load_errors` then says why."""
    try:
        return importlib.import_module(f"vivace._{backend}")
    except ImportError as error:
        _load_errors[backend] = str(error)
        return None


_load_errors: dict[str, str] = {}


def _checked(name: str, source: str) -> str | None:
    if name in ("", "auto"):
        return None
    if name not in BACKENDS:
        raise ValueError(f"{source} must be auto or one of {', '.join(BACKENDS)}, got {name!r}")
    return name


# Read once: a look-up in os.environ costs more than a call of a small kernel.
DISABLED = os.environ.get("VIVACE_DISABLE", "") not in ("", "0")
_default = _checked(os.environ.get("VIVACE_BACKEND", ""), "VIVACE_BACKEND")


def forced_backend() -> str | None:
    """The backend that `backend()` or VIVACE_BACKEND forces, or None for the automatic choice."""
    choice = _forced.get() or _default
    return None if choice == "auto" else choice


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Forces a backend inside a `with` block: torch, cpu, cuda, simt, or auto for none.

    A forced backend never falls back: an op that it cannot run raises RuntimeError. Raises
    ValueError for an unknown name. Applies to the current thread (or asyncio task) alone.
    """
    # "auto" is kept as a value: it undoes the choice of an outer block, or of VIVACE_BACKEND.
    token = _forced.set(_checked(name, "backend") or "auto")
    try:
        yield
    finally:
        _forced.reset(token)


def needs_grad(args: tuple[Any, ...]) -> bool:
    """Whether autograd would record a call with these arguments."""
    return torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args)


class Op:
    """A torch function, which is the reference and the fallback, with native versions beside it.

    `@Op` on the torch body makes the op; `@op.native` adds the call into a native module;
    `@op.check` adds the validation that every backend shares; `@op.supports` may return the reason
    why a backend should not run a case (`supports(backend, *args) -> str | None`): the place for
    "slower than torch here", with the record that shows it. `@Op.mutating("keys")` names the
    arguments that the op writes to.
    """

    def __init__(self, reference: Callable[..., Any], mutates: tuple[str, ...] = ()) -> None:
        self.reference = reference
        self.name = reference.__name__
        functools.update_wrapper(self, reference)
        self._native: Callable[..., Any] | None = None
        self._check: Callable[..., None] | None = None
        self._supports: Callable[..., str | None] | None = None
        _ops[self.name] = self
        _library.define(self.name + torch.library.infer_schema(reference, mutates_args=mutates))
        # One implementation for every device: it chooses at run time, as the eager path does.
        _library.impl(self.name, self._traced_run, "CompositeExplicitAutograd")
        _library.impl(self.name, self._autograd, "Autograd")
        _library._register_fake(self.name, lambda *args: _dense(reference(*args)))

    @classmethod
    def mutating(cls, *names: str) -> Callable[[Callable[..., Any]], "Op"]:
        """As the decorator `Op`, for an op that writes to the arguments of these names."""
        return lambda reference: cls(reference, names)

    def native(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Registers `function(module, *args)`, which allocates outputs and calls the kernel."""
        self._native = function
        return function

    def check(self, function: Callable[..., None]) -> Callable[..., None]:
        """Registers `function(*args)`, which raises for bad arguments, on every backend alike."""
        self._check = function
        return function

    def supports(self, function: Callable[..., str | None]) -> Callable[..., str | None]:
        """Registers `function(backend, *args)`: None, or why that backend should not run this."""
        self._supports = function
        return function

    def __call__(self, *args: Any) -> Any:
        if self._check is not None:
            self._check(*args)
        if _traced(args[0]):
            if needs_grad(args):
                return self.reference(*args)
            return getattr(torch.ops.vivace, self.name)(*args)
        return self._run(*args)

    def _run(self, *args: Any) -> Any:
        module = select(self, args)
        if module is None:
            return self.reference(*args)
        assert self._native is not None  # select() checked it
        if args[0].is_cuda and args[0].device.index != torch.cuda.current_device():
            with torch.cuda.device(args[0].device):
                return self._native(module, *args)
        return self._native(module, *args)

    def _traced_run(self, *args: Any) -> Any:
        """As a compiled graph calls it: with the strides that the trace promised."""
        return _dense(self._run(*args))

    def _autograd(self, *args: Any) -> Any:
        """The raw op where autograd listens: the reference has the gradient, kernels do not."""
        if needs_grad(args):
            return _dense(self.reference(*args))
        with torch._C._AutoDispatchBelowAutograd():
            return getattr(torch.ops.vivace, self.name)(*args)

    def why_not(self, backend: str, args: tuple[Any, ...]) -> str | None:
        """Why `backend` cannot (or should not) run this call; None if it can."""
        device = args[0].device.type
        if device != ("cuda" if backend == "cuda" else "cpu"):
            return f"the tensor is on {device}"
        module = load(backend)
        if module is None:
            return f"the module vivace._{backend} is not installed"
        if self._native is None or not hasattr(module, self.name):
            return f"vivace._{backend} has no such kernel"
        if backend == "cpu" and module.active_isa() == "generic":
            return "the CPU has (or VIVACE_CPU allows) no AVX2"
        if needs_grad(args):
            return "a gradient is needed, and kernels are for inference (use torch.no_grad())"
        return self._supports(backend, *args) if self._supports is not None else None


def _dense(result: Any) -> Any:
    """Contiguous results: a reference may give views, whose strides no kernel has."""
    if isinstance(result, Tensor):
        return result.contiguous()
    return tuple(part.contiguous() for part in result)


def _traced(x: Tensor) -> bool:
    """Whether x may be something without memory that a kernel could read: the dispatcher knows."""
    return (
        torch.compiler.is_compiling()
        or type(x) not in (Tensor, torch.nn.Parameter)  # fake tensors and other subclasses
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None  # vmap and its kin
    )


def select(op: Op, args: tuple[Any, ...]) -> ModuleType | None:
    """The native module that runs this call, or None for torch; raises if a forced one cannot."""
    forced = forced_backend()
    if forced == "torch":
        return None
    if forced is not None:
        reason = op.why_not(forced, args)
        if reason is not None:
            raise RuntimeError(f"{op.name}: backend {forced!r} was forced, but {reason}")
        return load(forced)
    device = args[0].device.type
    if DISABLED or device not in ("cpu", "cuda"):
        return None
    if op.why_not(device, args) is None:
        return load(device)
    if device == "cuda" and load("cuda") is None:
        _warn_without_cuda()
    return None


@functools.cache
def _warn_without_cuda() -> None:
    warnings.warn(
        "vivace was built without CUDA kernels: torch runs on the GPU instead "
        "(`vivace env` shows what is installed)",
        RuntimeWarning,
        stacklevel=2,
    )


def stream_of(x: Tensor) -> int:
    """What native calls take as `stream`: the CUDA stream, or the number of threads on the CPU."""
    if x.is_cuda:
        return int(torch._C._cuda_getCurrentRawStream(x.device.index))
    return torch.get_num_threads()


def ops() -> dict[str, Op]:
    """Every op by name."""
    importlib.import_module("vivace.ops")
    return dict(sorted(_ops.items()))
