"""The machine that numbers come from, and how busy it is."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """What to say beside a number.

    Attributes:
        cpu: Model name, as far as the system tells.
        cores: That this process may use.
        gpu: Name of the CUDA device in use; ``None`` on a CPU.
        load_average: Processes that wanted a core, the mean of the last minute; ``None`` where the system does not count. Times taken
            while it is near ``cores`` are those of a busy machine.
    """

    cpu: str
    cores: int
    gpu: str | None
    load_average: float | None
    system: str
    python: str
    torch_version: str

    @classmethod
    def look(cls, device: torch.device) -> Machine:
        """Describe this one."""
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
        system = f"{platform.system()} {platform.machine()}"
        return cls(_cpu(), num_cores(), gpu, load_average(), system, platform.python_version(), torch.__version__)


def num_cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """The last minute's; ``None`` where there is none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
