"""The manifest: what happened to every video, a line of JSON each, appended and on disk before anything else goes on.

``manifest.jsonl`` lies in the output folder (``manifest-2-of-4.jsonl`` for a shard). Lines: ``begin`` and ``end`` (or ``interrupted``)
of a batch; ``started``, ``retry``, ``done``, ``failed`` and ``skipped`` of a video, which is named by its poses file (``output``).
A line that a power cut has torn is no JSON; readers pass over it.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson

from posecli.batch.request import Shard
from posecli.errors import OutputError
from posecli.json_bytes import json_bytes
from posecli.pipeline.lines import read_lines

Record = Mapping[str, Any]

_MAX_LINE_BYTES = 1 << 26  # a record has hundreds; warnings of a video may be many


def manifest_path(out_dir: Path, shard: Shard) -> Path:
    """Where the manifest of a shard lies."""
    return out_dir / f"manifest{shard.suffix()}.jsonl"


class Manifest:
    """An append-only file; one process at a time writes to it, see `posecli.batch.lock`.

    Args:
        path: Created, or continued; a torn last line stays and is closed off.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream: BinaryIO = path.open("ab", buffering=0)
            self._inode = os.fstat(self._stream.fileno()).st_ino
            if _is_torn(path):
                self._stream.write(b"\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def append(self, records: Sequence[Record]) -> None:
        """Add records, with the time; they are on disk when this returns.

        Raises:
            OutputError: The disk is full, or somebody has removed the file meanwhile.
        """
        if not records:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = b"".join(json_bytes({"time": now, **record}, option=orjson.OPT_APPEND_NEWLINE) for record in records)
        try:
            if self.path.stat().st_ino != self._inode:
                raise OutputError(f"{self.path}: was replaced while the batch was running")
            view = memoryview(lines)
            while view:
                view = view[self._stream.write(view) :]
            os.fsync(self._stream.fileno())
        except FileNotFoundError as error:
            hint = "give the same command again; what was in the folder has to be made anew"
            raise OutputError(f"{self.path}: was removed while the batch was running", hint=hint) from error
        except OSError as error:
            hint = "free some space; the same command goes on"
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}", hint=hint) from error


class History:
    """What manifests say about the past.

    Args:
        records: As read, oldest first.

    Attributes:
        num_torn: Lines that could not be read.
    """

    def __init__(self, records: Sequence[Record], num_torn: int = 0) -> None:
        self.num_torn = num_torn
        self._records = list(records)
        self._of: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self._records:
            if isinstance(record.get("output"), str):
                self._of[record["output"]].append(record)

    @classmethod
    def read(cls, *paths: Path) -> History:
        """Read manifests; one that is not there is empty.

        Raises:
            OutputError: One cannot be read.
        """
        records: list[Record] = []
        num_torn = 0
        for path in paths:
            for record in _lines(path):
                if record is None:
                    num_torn += 1
                else:
                    records.append(record)
        return cls(records, num_torn)

    @classmethod
    def of_folder(cls, out_dir: Path) -> History:
        """All manifests of an output folder, of every shard."""
        return cls.read(*sorted(out_dir.glob("manifest*.jsonl")))

    def of(self, output: str) -> list[Record]:
        """Records of a video, oldest first (of one manifest)."""
        return self._of.get(output, [])

    def all(self, event: str) -> Iterator[Record]:
        """Records of a kind."""
        return (record for record in self._records if record.get("event") == event)

    def since_unfinished_overwrite(self, settings_hash: str) -> History:
        """What has been done by a batch that was to make everything anew and has not come to its end; nothing if there is none."""
        for position in range(len(self._records) - 1, -1, -1):
            record = self._records[position]
            if record.get("event") == "end":
                break
            if record.get("event") == "begin":
                is_same = record.get("overwrite") is True and record.get("settings_hash") == settings_hash
                if not is_same:
                    break
                before = History(self._records[:position]).since_unfinished_overwrite(settings_hash)
                return History([*before._records, *self._records[position:]])
        return History([])


def _lines(path: Path) -> Iterator[Record | None]:
    with contextlib.suppress(FileNotFoundError):
        for line in read_lines(path, max_bytes=_MAX_LINE_BYTES):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                record = None
            yield record if isinstance(record, dict) else None


def _is_torn(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"


__all__ = ["History", "Manifest", "Record", "manifest_path"]
