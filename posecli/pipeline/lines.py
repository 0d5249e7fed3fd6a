"""Lines of a file that somebody may have put there: never more of it in memory than one line may have."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from posecli.errors import OutputError

MAX_LINE_BYTES = 1 << 28


def read_lines(path: Path, *, max_bytes: int | None = None) -> Iterator[bytes]:
    """The lines of a file, each with its line break, the last one perhaps without.

    Args:
        path: The file.
        max_bytes: Longest line; default `MAX_LINE_BYTES`.

    Raises:
        FileNotFoundError: There is none.
        OutputError: It is no file but a device or a pipe, cannot be read, or has a longer line.
    """
    longest = max_bytes or MAX_LINE_BYTES
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OutputError(f"{path}: is not a file", hint="remove it")
        with path.open("rb") as stream:
            while line := stream.readline(longest + 1):
                if len(line) > longest:
                    raise OutputError(f"{path}: a line has more than {longest} bytes", hint="remove or repair the file")
                yield line
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from error


__all__ = ["MAX_LINE_BYTES", "read_lines"]
