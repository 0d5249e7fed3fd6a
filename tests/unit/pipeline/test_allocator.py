"""Large blocks are reused, in a process of its own because the switch acts on all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# page faults of touching a fresh 8 MB block again and again
CODE = """
import resource, sys
import numpy as np
from posecli.pipeline.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.empty(1 << 20).fill(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
done = keep_freed_memory()
faults()
print(before, faults(), done)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the switch exists in glibc only")
def test_large_blocks_are_reused() -> None:
    output = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True).stdout.split()
    before, after, done = int(output[0]), int(output[1]), output[2]
    if done == "True":
        assert after < before / 4
    else:
        assert after > 0  # another C library: nothing is promised
