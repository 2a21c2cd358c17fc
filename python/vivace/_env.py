"""What this machine and installation offer: behind `vivace env` and `vivace explain`."""

import importlib.metadata
import os
import platform
from typing import Any

import torch

from vivace import _dispatch

# Every environment variable that vivace reads at run time.
VARIABLES = ("VIVACE_BACKEND", "VIVACE_CPU", "VIVACE_DISABLE")


def env() -> dict[str, Any]:
    """Versions, native modules, CPU instruction set, threads and GPUs, as plain values."""
    modules: dict[str, str] = {}
    for backend in ("cpu", "cuda", "simt"):
        loaded = _dispatch.load(backend) is not None
        modules[f"_{backend}"] = (
            "loaded" if loaded else f"missing ({_dispatch._load_errors[backend]})"
        )
    cpu, cuda = _dispatch.load("cpu"), _dispatch.load("cuda")
    return {
        "vivace": importlib.metadata.version("vivace"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "modules": modules,
        "cpu_isa": cpu.detected_isa() if cpu else None,
        "cpu_isa_active": cpu.active_isa() if cpu else None,
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda_runtime": cuda.runtime_version() if cuda else None,
        "cuda_driver": cuda.driver_version() if cuda else None,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def explain() -> str:
    """A table of ops and what runs them here, or why torch does."""
    forced = _dispatch.forced_backend()
    lines = [
        f"backend: {forced or 'automatic'}"
        + (" (VIVACE_DISABLE is set: torch runs everything)" if _dispatch.DISABLED else ""),
        "",
        f"{'op':<20} {'on CPU tensors':<28} on CUDA tensors",
    ]
    for op in _dispatch.ops().values():
        cpu, cuda = _availability(op, "cpu"), _availability(op, "cuda")
        lines.append(f"{op.name:<20} {cpu:<28} {cuda}")
    lines += [
        "",
        "A kernel also steps aside where a gradient is needed or torch is faster for the shape.",
    ]
    return "\n".join(lines)


def _availability(op: _dispatch.Op, backend: str) -> str:
    module = _dispatch.load(backend)
    if _dispatch.DISABLED:
        return "torch"
    if module is None:
        return f"torch (no vivace._{backend})"
    if not hasattr(module, op.name):
        return "torch (no kernel)"
    if backend == "cpu":
        isa = module.active_isa()
        return "torch (no AVX2)" if isa == "generic" else f"vivace._cpu ({isa})"
    return "vivace._cuda" if module.device_count() > 0 else "torch (no GPU or driver)"
