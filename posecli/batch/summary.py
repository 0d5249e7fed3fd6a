"""The end of a batch in a table and in ``summary.json``: what was done, what failed, and what to do about each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from posecli.atomic import write_atomic
from posecli.batch.ledger import Tally
from posecli.batch.manifest import Record
from posecli.batch.request import BatchRequest
from posecli.errors import EXIT_INTERRUPTED, EXIT_WARNINGS
from posecli.json_bytes import json_bytes


@dataclass(frozen=True)
class Summary:
    """What became of a batch.

    Attributes:
        tally: All records.
        num_left: Videos that were not reached: the batch was interrupted, or there is a limit.
        seconds: From beginning to end.
        is_interrupted: Whether it was.
        remarks: About the batch itself.
        manifest: Where the manifest is.
    """

    tally: Tally
    num_left: int
    seconds: float
    is_interrupted: bool
    remarks: tuple[str, ...]
    manifest: Path

    @property
    def exit_code(self) -> int:
        """0: every video is done; 3: some have failed; 130: interrupted."""
        if self.is_interrupted:
            return EXIT_INTERRUPTED
        return EXIT_WARNINGS if self.tally.failed else 0

    @property
    def frames_per_s(self) -> float | None:
        """Frames annotated in this batch by its time, loading included."""
        return self.tally.frames / self.seconds if self.tally.frames and self.seconds > 0 else None

    def to_json(self) -> dict[str, Any]:
        """For ``summary.json``."""
        tally = self.tally
        return {
            "done": len(tally.done),
            "failed": len(tally.failed),
            "skipped": len(tally.skipped),
            "left": self.num_left,
            "with_warnings": len(tally.warned),
            "retries": tally.retries,
            "frames": tally.frames,
            "seconds": round(self.seconds, 3),
            "frames_per_s": None if self.frames_per_s is None else round(self.frames_per_s, 3),
            "interrupted": self.is_interrupted,
            "exit_code": self.exit_code,
            "remarks": list(self.remarks),
            "failed_by_kind": dict(Counter(str(record.get("kind")) for record in tally.failed)),
            "failures": [_failure(record) for record in tally.failed],
            "warnings": [{"video": record["video"], "warnings": record["warnings"]} for record in tally.warned],
        }


def _failure(record: Record) -> dict[str, Any]:
    return {name: record.get(name) for name in ("video", "output", "kind", "message", "hint", "exit_code")}


def summary_path(request: BatchRequest) -> Path:
    """Where the summary of a shard lies."""
    return request.out_dir / f"summary{request.shard.suffix()}.json"


def write_summary(summary: Summary, request: BatchRequest) -> Path:
    """Write ``summary.json`` in the place of an earlier one.

    Raises:
        OutputError: It cannot be written.
    """
    path = summary_path(request)
    content = json_bytes(summary.to_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_atomic(path, content, overwrite=True)
    return path


__all__ = ["Summary", "summary_path", "write_summary"]
