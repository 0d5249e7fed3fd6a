"""The log of a batch: JSON lines for programs and for whoever looks for a fault afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import orjson

from posecli.errors import OutputError
from posecli.json_bytes import json_bytes

Level = Literal["info", "warning", "error"]


class BatchLog:
    """Lines are appended: ``time``, ``level``, ``event``, and where it applies ``video``, ``stage``, ``frame`` and ``duration_s``.

    Args:
        path: The file; ``None``: nothing is written.

    Raises:
        OutputError: It cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stream: BinaryIO | None = None
        if path is not None:
            try:
                self._stream = path.open("ab", buffering=0)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> BatchLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def write(self, level: Level, event: str, **facts: object) -> None:
        """Add a line; facts that are ``None`` are left out.

        Raises:
            OutputError: It cannot be written.
        """
        if self._stream is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"time": now, "level": level, "event": event}
        line |= {name: _rounded(value) for name, value in facts.items() if value is not None}
        try:
            self._stream.write(json_bytes(line, default=str, option=orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror}", hint="free some space") from error


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


__all__ = ["BatchLog", "Level"]
