"""Keep freed memory for the next window instead of giving it back to the kernel.

Every window allocates the same few hundred tensors of a few megabytes. The C library maps blocks that large afresh each time, and
the kernel zeroes them page by page: measured, a sixth of the pose stage on a CPU. Raising its thresholds lets it reuse them.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_REUSED_BYTES = 32 << 20  # glibc accepts no more
_KEPT_BYTES = 512 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks; for programs, not for libraries: it acts on the whole process.

    Returns:
        Whether it was done; other C libraries have no such switch.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
