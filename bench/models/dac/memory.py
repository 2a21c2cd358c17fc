"""Peak memory of DAC calls on long audio, each in a process of its own."""

import contextlib
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from bench.case import DTYPES, Options
from bench.models.dac.weights import CONFIGS, config_of, random_model
from bench.record import ROOT, Memory

_CHUNK_S = 1.0
_CHILD = "import sys; from bench.models.dac.memory import child; child(sys.argv[1])"


def memory(options: Options, fail: Callable[[str], None]) -> Iterator[Memory]:
    """Chunked encode and, where audio is short enough to afford it, the full pass beside it."""
    seconds = 2.0 if options.quick else options.memory_s
    for name in CONFIGS:
        case_id = f"{name}/encode/memory"
        if not options.wants(case_id) or seconds <= 0:
            continue
        for chunk_s in (_CHUNK_S, None) if seconds <= 60 else (_CHUNK_S,):
            dtype = options.dtypes[0] if options.dtypes else "float32"
            call = {
                "name": name,
                "dtype": dtype,
                "device": options.device,
                "seconds": seconds,
                "chunk_s": chunk_s,
            }
            command = [sys.executable, "-c", _CHILD, json.dumps(call)]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            if done.returncode != 0:
                fail(f"{case_id}: the process ended with status {done.returncode}")
                continue
            peak = json.loads(done.stdout)
            yield Memory(
                id=case_id,
                variant="vivace" if chunk_s is None else f"vivace, chunks of {chunk_s:g} s",
                dtype=dtype,
                shape=[peak["shape"]],
                audio_s=seconds,
                peak_bytes=peak["peak"],
                before_bytes=peak["before"],
            )


def child(call: str) -> None:
    """The measured process: prints the shape of the audio and the peaks as JSON."""
    wanted = json.loads(call)
    device, dtype = wanted["device"], DTYPES[wanted["dtype"]]
    config = config_of(wanted["name"])
    with torch.no_grad():
        model = random_model(config).to(device, dtype)
        time = round(wanted["seconds"] * config.sampling_rate)
        audio = torch.randn(1, 1, time, device=device, dtype=dtype).mul_(0.2)
        # One short call first: libraries allocate at their first use.
        model.encode(audio[..., : 2 * config.hop_length])
        before = _restart(device)
        model.encode(audio, chunk_length_s=wanted["chunk_s"])
    print(json.dumps({"shape": list(audio.shape), "before": before, "peak": _peak(device)}))


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
