"""The journal: what pass 1 has found so far, on disk, so that a killed run loses nothing and memory stays flat.

A text file of lines ``CRC32 JSON``. The first line names the run (input, settings, weights); each further one holds a chunk of
frames and the poses that became final with it; every now and then one holds the state to go on from. A torn last line fails its
checksum and is dropped. Pass 2 always reads the journal, in an uninterrupted run too, so both end with the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from posecli.errors import OutputError
from posecli.file_lock import acquire
from posecli.json_bytes import json_bytes
from posecli.pipeline.lines import read_lines

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_VERSION = 2
_PATIENCE_S = 3.0  # a run that was killed needs a moment to end


def journal_path(output: Path) -> Path:
    """Where the journal of an output file lies."""
    return output.with_name(f".{output.name}.journal")


@dataclass(frozen=True, slots=True)
class Resume:
    """Where to go on: the next chunk, and the state written with the one before."""

    next_chunk: int
    state: Mapping[str, Any]


class Journal:
    """Append-only record of a run.

    Args:
        path: The file; created, continued, or started afresh when it belongs to another run.
        run: What identifies the run; JSON.

    Attributes:
        is_foreign: Whether the file held another run, which was dropped.
        is_worth_keeping: Whether a later run could go on from it.
        remarks: What was noted at the end, see `note_end`.
        resume: Where to go on, ``None`` at the beginning.

    Raises:
        OutputError: The file cannot be written, is none of ours, or another run is writing it.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path = path
        self._header = {"version": _VERSION, "run": orjson.loads(json_bytes(run, option=_OPTIONS))}
        self.is_foreign = False
        self.is_worth_keeping = False
        self.resume: Resume | None = None
        self.remarks: Mapping[str, Any] | None = None
        self._written: set[str] = set()
        self._stream = _open_alone(path)
        try:
            end = self._find_end()
            with self._writing():
                self._stream.truncate(end)
            if not end:
                self._append(self._header)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk has been told already
                self._stream.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write_chunk(self, chunk: int, content: Mapping[str, Any], *, state: Mapping[str, Any] | None) -> None:
        """Append what chunk number ``chunk`` brought; ``state`` makes it a place to go on from after it."""
        record: dict[str, Any] = {"chunk": chunk, **content}
        if state is not None:
            record["state"] = dict(state)
        self._append(record)

    def note_output(self, path: Path) -> None:
        """Remember that this run writes ``path`` next: a resumed run may replace it.

        Raises:
            OutputError: See `chunks`.
        """
        self._append({"wrote": path.name})
        self._flush()
        self._check_place()
        self._written.add(path.name)

    def note_end(self, remarks: Mapping[str, Any]) -> None:
        """There will be no more chunks; what a run that reads them all should know besides.

        Raises:
            OutputError: See `chunks`.
        """
        self._append({"end": dict(remarks)})
        self._flush()
        self._check_place()
        self.remarks = remarks

    def chunks(self) -> Iterator[dict[str, Any]]:
        """All chunks, in order.

        Raises:
            OutputError: The disk is full, or the file was removed or replaced meanwhile: what lies there is not this run's.
        """
        self._flush()
        self._check_place()
        for record, _ in _records(self.path):
            if "chunk" in record:
                yield record

    def written_outputs(self) -> set[str]:
        """Names of the files this run has written or begun to write, before it was interrupted and since."""
        return set(self._written)

    def close(self) -> None:
        """Flush and close; the file stays.

        Raises:
            OutputError: The disk is full.
        """
        if not self._stream.closed:
            with self._writing(), self._stream:
                self._stream.flush()
                os.fsync(self._stream.fileno())

    def remove(self) -> None:
        """The run is complete: the journal is not needed any more."""
        is_ours = self._is_in_place()
        with contextlib.suppress(OSError):  # what a full disk does not take any more is not needed
            self._stream.close()
        if is_ours:
            self.path.unlink(missing_ok=True)

    def _append(self, record: Mapping[str, Any]) -> None:
        body = json_bytes(record, option=_OPTIONS)
        with self._writing():
            self._stream.write(b"%08x %s\n" % (zlib.crc32(body), body))
        if "state" in record:
            self._flush()
            self._check_place()
            self.is_worth_keeping = True

    def _flush(self) -> None:
        with self._writing():
            self._stream.flush()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}", hint="free some space") from error

    def _check_place(self) -> None:
        """A folder that is removed takes the journal along, and a new run may have begun another in its place."""
        if not self._is_in_place():
            raise OutputError(
                f"{self.path}: was removed while it was being written", hint="give the same command again"
            )

    def _is_in_place(self) -> bool:
        try:
            return not self._stream.closed and os.path.samestat(self.path.stat(), os.fstat(self._stream.fileno()))
        except OSError:
            return False

    def _find_end(self) -> int:
        """Bytes to keep: up to the last record one can go on from, all of it when pass 1 is complete."""
        end = 0
        for position, (record, record_end) in enumerate(_records(self.path)):
            if position == 0:
                if record != self._header:
                    self.is_foreign = True
                    return 0
                end = record_end
            elif "state" in record:
                end = record_end
                self.resume = Resume(record["chunk"] + 1, record["state"])
                self.is_worth_keeping = True
            elif "wrote" in record:
                end = record_end
                self._written.add(record["wrote"])
            elif "end" in record:
                end, self.remarks = record_end, record["end"]
        return end


def _open_alone(path: Path) -> IO[bytes]:
    """The file, open for appending; nobody else has it as long as it is open."""
    while True:
        try:
            stream = path.open("a+b")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        if not acquire(stream, patience_s=_PATIENCE_S):
            stream.close()
            raise OutputError(
                f"{path}: another run of posecli is writing this output",
                hint="wait for its end, or name another output",
            )
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                return stream
        stream.close()  # whoever had it is done and has removed it: begin another


def _records(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Intact records from the start, with the offset after each; stops at the first torn one."""
    end = 0
    for line in read_lines(path):
        checksum, _, body = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
            return
        end += len(line)
        yield orjson.loads(body), end
