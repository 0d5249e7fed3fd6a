"""Locks between processes.

They belong to open files: a lock goes when the last process that has the file open ends, however it ends.
"""

from __future__ import annotations

import sys
import time
from typing import IO

_POLL_S = 0.05
_LOCKED_BYTE = 1 << 30  # Windows locks bytes, and what is locked cannot be read: one behind everything


def acquire(stream: IO[bytes], *, patience_s: float) -> bool:
    """Lock an open file for this process alone; closing it releases the lock.

    Args:
        stream: The file, open for writing.
        patience_s: How long to wait for whoever holds the lock; may be infinite.

    Returns:
        Whether nobody else holds the lock; so too on file systems that know no locks.
    """
    deadline = time.monotonic() + patience_s
    while not _try_lock(stream):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _try_lock(stream: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(_LOCKED_BYTE)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # somebody has it; so says POSIX, so says Windows
        return False
    except OSError:  # a file system that knows no locks: nobody can have it
        return True
    return True
