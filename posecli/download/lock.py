"""A lock between processes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_POLL_S = 0.2


@contextlib.contextmanager
def locked(path: Path, *, is_patient: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on ``path`` (created, and left in place: removing it would race with the next waiter).

    Args:
        path: The lock file.
        is_patient: Whether to wait for whoever holds it.

    Yields:
        Whether the lock is held; always so after waiting.
    """
    with path.open("a+b") as stream:
        yield _acquire(stream, is_patient)  # closing the file releases the lock, also when the process dies


def _acquire(stream: IO[bytes], is_patient: bool) -> bool:
    if sys.platform == "win32":
        while not _try_windows(stream):
            if not is_patient:
                return False
            time.sleep(_POLL_S)
        return True
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX if is_patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_windows(stream: IO[bytes]) -> bool:
    if sys.platform != "win32":
        raise NotImplementedError
    import msvcrt

    stream.seek(0)
    try:
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True
