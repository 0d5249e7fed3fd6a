"""Run by posecli before it begins: it gets so much more memory than it has, and no more."""

from __future__ import annotations

import importlib
import os
import resource
from pathlib import Path

_NUM_BYTES = 700_000_000

for _name in ("numba", "posecli.ssm.cpu_forward", "posecli.pose.fused_cpu", "posecli.pose.deform_cpu"):
    importlib.import_module(_name)  # what is loaded at first use has its memory
_pages = int(Path("/proc/self/statm").read_text().split()[0])
_limit = _pages * os.sysconf("SC_PAGE_SIZE") + _NUM_BYTES
resource.setrlimit(resource.RLIMIT_AS, (_limit, _limit))
