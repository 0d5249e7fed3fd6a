"""One batch at a time in an output folder; shards of the same division may work there side by side.

Workers hold the lock too, so that a batch whose parent was killed is over only when its workers are.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from posecli.batch.request import Shard
from posecli.errors import OutputError
from posecli.file_lock import acquire

_NAME = re.compile(r"\.batch-(\d+)-of-(\d+)\.lock")
_PATIENCE_S = 3.0  # workers of a killed batch need a moment to end


def lock_path(out_dir: Path, shard: Shard) -> Path:
    """Where the lock of a shard lies, while a batch is at work and afterwards."""
    return out_dir / f".batch-{shard.index}-of-{shard.count}.lock"


@contextlib.contextmanager
def folder_lock(out_dir: Path, shard: Shard) -> Iterator[int]:
    """Hold the lock of a shard of an output folder.

    Yields:
        Its file descriptor.

    Raises:
        OutputError: Another batch works there, or the folder cannot be written.
    """
    path = lock_path(out_dir, shard)
    try:
        stream = path.open("a+b")
    except OSError as error:
        raise OutputError(f"{out_dir}: cannot be written: {error.strerror}") from error
    with stream:
        _wait_for(stream, path)
        for other in sorted(out_dir.glob(".batch-*-of-*.lock")):
            found = _NAME.fullmatch(other.name)
            if found is not None and int(found[2]) != shard.count:
                with other.open("a+b") as probe:
                    _wait_for(probe, other)
        yield stream.fileno()


class HeldFile:
    """An open file that another process gets with its arguments and holds open until it ends."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        if sys.platform == "win32":
            return HeldFile, (-1,)  # locks go with the parent there
        from multiprocessing.reduction import DupFd

        return _received, (DupFd(self.fd),)


def _received(passed: Any) -> HeldFile:
    return HeldFile(passed.detach())


def _wait_for(stream: IO[bytes], path: Path) -> None:
    if not acquire(stream, patience_s=_PATIENCE_S):
        raise OutputError(
            f"{path.parent}: another batch is at work in this folder",
            hint="wait for its end, or give another --out-dir; machines that share a folder need --shard 1/2, --shard 2/2",
        )


__all__ = ["HeldFile", "folder_lock", "lock_path"]
