"""A lock between processes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from posecli.file_lock import acquire


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
        yield acquire(stream, patience_s=math.inf if is_patient else 0.0)
