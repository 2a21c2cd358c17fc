"""Peak memory of DAC calls on long audio, each in a process of its own."""

import contextlib
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.case import DTYPES, Options
from bench.models.dac.peers import transformers_model
from bench.models.dac.weights import CONFIGS, config_of, random_model
from bench.record import ROOT, Memory

_CHUNK_S = 1.0
_FULL_S = 60  # longer audio is coded in chunks alone
_FULL = "vivace"
_TRANSFORMERS = "transformers"
_VARIANTS = (f"vivace, chunks of {_CHUNK_S:g} s", _FULL, _TRANSFORMERS)
_CHILD = "import sys; from bench.models.dac.memory import child; child(sys.argv[1])"


def memory(options: Options, fail: Callable[[str], None]) -> Iterator[Memory]:
    """Chunked calls and, where audio is short enough to afford it, full passes beside them."""
    seconds = 2.0 if options.quick else options.memory_s
    for name in CONFIGS:
        for direction in ("encode", "decode"):
            case_id = f"{name}/{direction}/memory"
            if options.wants(case_id) and seconds > 0:
                for variant in _VARIANTS if seconds <= _FULL_S else _VARIANTS[:1]:
                    row = _measure(case_id, name, direction, variant, seconds, options)
                    if isinstance(row, str):
                        fail(f"{case_id} {variant}: {row}")
                    else:
                        yield row


def _measure(
    case_id: str, name: str, direction: str, variant: str, seconds: float, options: Options
) -> Memory | str:
    """The row of one variant, or why there is none."""
    dtype = options.dtypes[0] if options.dtypes else "float32"
    call = {
        "name": name,
        "direction": direction,
        "dtype": dtype,
        "device": options.device,
        "seconds": seconds,
        "variant": variant,
    }
    command = [sys.executable, "-c", _CHILD, json.dumps(call)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return f"the process ended with status {done.returncode}"
    peak = json.loads(done.stdout)
    return Memory(
        id=case_id,
        variant=variant,
        dtype=dtype,
        shape=[peak["shape"]],
        audio_s=seconds,
        peak_bytes=peak["peak"],
        before_bytes=peak["before"],
    )


def child(call: str) -> None:
    """The measured process: prints the shape of the input and the peaks as JSON."""
    wanted = json.loads(call)
    device, dtype = wanted["device"], DTYPES[wanted["dtype"]]
    config = config_of(wanted["name"])
    with torch.no_grad():
        model: Any = random_model(config).to(device, dtype)
        options: dict[str, Any] = {}
        if wanted["variant"] == _TRANSFORMERS:
            model = transformers_model(model)
        elif wanted["variant"] != _FULL:
            options["chunk_length_s"] = _CHUNK_S
        frames = round(wanted["seconds"] * config.sampling_rate / config.hop_length)
        if wanted["direction"] == "encode":
            x = torch.randn(1, 1, frames * config.hop_length, device=device, dtype=dtype).mul_(0.2)
            run = model.encode
        else:
            shape = (1, config.n_codebooks, frames)
            x = torch.randint(config.codebook_size, shape, device=device)
            run = partial(_decode, model)
        # One short call first: libraries allocate at their first use, and weights are packed.
        run(x[..., : 2 * config.hop_length if wanted["direction"] == "encode" else 2], **options)
        before = _restart(device)
        run(x, **options)
    print(json.dumps({"shape": list(x.shape), "before": before, "peak": _peak(device)}))


def _decode(model: Any, codes: torch.Tensor, **options: Any) -> Any:
    return model.decode(audio_codes=codes, **options)


def _restart(device: str) -> int:
    """Forgets earlier peaks; returns what is in use now."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with contextlib.suppress(OSError):  # where it is forbidden, the peak is an upper bound
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's way to reset VmHWM
    return _status("VmRSS")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    """Bytes of a field of this process's status."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024
