"""The machine underneath: its name, its cores and caches, who else is using it, its clocks."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

_CPU = Path("/sys/devices/system/cpu")


def cpu_name() -> str:
    """The CPU's model name, with its family and model where the name alone says little."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.M))
    name = re.sub(r"\((R|TM)\)| CPU| Processor| @.*", "", fields.get("model name", "unknown CPU"))
    return f"{name.strip()} (family {fields.get('cpu family')} model {fields.get('model')})"


def gpu_name() -> str:
    return torch.cuda.get_device_name()


def device_name(device: str) -> str:
    return gpu_name() if device == "cuda" else cpu_name()


def slug(device: str, cores: int) -> str:
    """The machine as a part of a file name."""
    name = gpu_name() if device == "cuda" else f"{cpu_name()} {cores} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def cores() -> list[int]:
    """One logical CPU of every physical core that this process may use."""
    chosen: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = _CPU / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        chosen.setdefault(siblings.read_text() if siblings.is_file() else str(cpu), cpu)
    return list(chosen.values())


def caches() -> dict[str, int]:
    """Bytes of "L2" (of one core) and "L3" as the system shows them; a guest may see its host's."""
    sizes = {}
    for index in sorted((_CPU / "cpu0" / "cache").glob("index*")):
        level, size = ((index / name).read_text().strip() for name in ("level", "size"))
        if level in "23" and size.endswith("K"):
            sizes[f"L{level}"] = int(size[:-1]) * 1024
    return sizes


def pin(cpus: Sequence[int]) -> None:
    """Runs torch with one thread for each of these CPUs, and every thread of the process there."""
    torch.set_num_threads(len(cpus))
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cpus)
        except ProcessLookupError:
            continue  # the thread ended in between


@dataclass(frozen=True)
class Noise:
    """Shares of the pinned CPUs' time that the hypervisor and other processes took meanwhile."""

    steal: float
    other_load: float


class NoiseMeter:
    """Counts from its making; `read` says what share of the CPUs others had since then."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self._cpus = set(cpus)
        self._begin = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        """Ticks: all, stolen, busy on these CPUs; and those of this process."""
        total = steal = busy = 0
        for line in Path("/proc/stat").read_text().splitlines():
            match = re.match(r"cpu(\d+) (.*)", line)
            if match and int(match[1]) in self._cpus:
                ticks = [int(t) for t in match[2].split()[:8]]
                total += sum(ticks)
                steal += ticks[7]
                busy += sum(ticks) - ticks[3] - ticks[4] - ticks[7]
        own = os.times()
        rate = os.sysconf("SC_CLK_TCK")
        return total, steal, busy, (own.user + own.system) * rate

    def read(self) -> Noise:
        total, steal, busy, own = (
            now - then for now, then in zip(self._now(), self._begin, strict=True)
        )
        if total <= 0:
            return Noise(0.0, 0.0)
        return Noise(round(steal / total, 4), round(max(0.0, busy - own) / total, 4))


def gpu_state() -> dict[str, str]:
    """Driver, SM clock, its maximum (MHz), temperature (°C); empty without nvidia-smi."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    fields = ("driver_version", "clocks.sm", "clocks.max.sm", "temperature.gpu")
    command = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "-i", "0"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (subprocess.SubprocessError, OSError):
        return {}
    return dict(zip(fields, (v.strip() for v in out.split(",")), strict=False))
