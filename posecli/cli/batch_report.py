"""A batch on the terminal: a table that lives while it works, the summary at its end, the plan before it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from posecli.cli import console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from posecli.batch.forecast import Forecast
    from posecli.batch.status import Status, WorkerStatus
    from posecli.batch.summary import Summary

_PIPE_COLUMNS = 140
_MAX_ROWS = 100
_MAX_LIVE_WORKERS = 16

Show = Callable[["RenderableType"], None]


class Reporter:
    """Whoever watches a batch from the command line.

    Args:
        board: Shows the live table, if there is a terminal.
        as_json: Whether every record goes to stdout.
        is_verbose: Whether every record is told on stderr.
    """

    def __init__(self, board: Show | None, *, as_json: bool, is_verbose: bool) -> None:
        self._board, self._as_json, self._is_verbose = board, as_json, is_verbose

    def watch(self, record: Mapping[str, Any]) -> None:
        """A record of the manifest."""
        if record["event"] == "remark":
            console.warn(record["message"])
            return
        if self._as_json:
            console.print_json_line({name: value for name, value in record.items() if name != "detail"})
        if self._is_verbose:
            console.info(_in_words(record))

    def show(self, status: Status) -> None:
        """How it gets on."""
        if self._board is not None:
            self._board(_live_table(status))


def _in_words(record: Mapping[str, Any]) -> str:
    video, event = record["video"], record["event"]
    if event == "started":
        return f"{video}: started on worker {record['worker']}"
    if event == "done":
        seconds = f" in {clock(record['seconds'])}" if "seconds" in record else ""
        words = f"{video}: done{seconds}, {record.get('frames', 0)} frames, {record.get('people', 0)} people"
        if record.get("resumed_at_frame"):
            words += f", went on from frame {record['resumed_at_frame']}"
        return "\n".join(
            [words, *(f"{video}: {text}" for text in (*record.get("warnings", ()), *record.get("notes", ())))]
        )
    if event == "failed":
        return f"{video}: failed: {_without_path(record)}"
    if event == "retry":
        return f"{video}: tried again: {_without_path(record)}"
    return f"{video}: {event}: {record.get('reason', '')}"


def clock(seconds: float) -> str:
    """``1:02:03``, or ``4.5 s`` where it is short."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _live_table(status: Status) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rate = "" if status.frames_per_s is None else f"   {status.frames_per_s:.1f} frames/s"
    eta = "" if status.eta_s is None else f"   eta {clock(status.eta_s)}"
    head = (
        f"videos: {status.done} done, {status.failed} failed, {status.skipped} skipped, {status.left} left of {status.total}"
        f"{rate}   {clock(status.elapsed_s)}{eta}"
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    for number in range(5):
        table.add_column(justify="right" if number in (3, 4) else "left", no_wrap=True)
    for worker in status.workers[:_MAX_LIVE_WORKERS]:
        table.add_row(*(Text(cell) for cell in _worker_cells(worker)))
    return Group(Text(head), table)


def _worker_cells(worker: WorkerStatus) -> list[str]:
    total = "" if not worker.total else f" / {worker.total}"
    frames = f"{worker.done}{total}" if worker.video is not None else ""
    video = "" if worker.video is None else _tail(worker.video, 60)
    return [f"worker {worker.number}", worker.stage or "open", video, frames, clock(worker.seconds)]


def _tail(text: str, width: int) -> str:
    return text if len(text) <= width else f"...{text[3 - width :]}"


def print_summary(summary: Summary) -> None:
    """The end: counts, and for every failed video what happened and what to do."""
    tally = summary.tally
    total = len(tally.done) + len(tally.failed) + len(tally.skipped) + summary.num_left
    rate = "" if summary.frames_per_s is None else f", {summary.frames_per_s:.1f} frames a second"
    lines = [
        f"{total} videos in {clock(summary.seconds)}" + (" (interrupted)" if summary.is_interrupted else ""),
        f"  done     {len(tally.done):>6}   {tally.frames} frames{rate}" + _also(tally.warned, "with warnings"),
        f"  skipped  {len(tally.skipped):>6}   done before",
        f"  failed   {len(tally.failed):>6}",
    ]
    if summary.num_left:
        lines.append(f"  left     {summary.num_left:>6}   for the next time")
    console.print_data("\n".join(lines))
    if tally.failed:
        rows = [[str(r["video"]), _without_path(r), str(r.get("hint") or "")] for r in tally.failed]
        _print_table("Failed", ("video", "what happened", "what to do"), rows)
        console.print_data("The same command tries the failed ones again, and leaves out the others.")
    if tally.warned:
        rows = [[str(record["video"]), "; ".join(map(str, record["warnings"]))] for record in tally.warned]
        _print_table("With warnings", ("video", "what to know"), rows)


def _also(records: Sequence[object], what: str) -> str:
    return f", {len(records)} {what}" if records else ""


def _without_path(record: Mapping[str, Any]) -> str:
    """The first column says the path."""
    return str(record.get("message") or "").removeprefix(f"{record['video']}: ")


def print_forecast(plan: Forecast) -> None:
    """What would be done."""
    rows = [
        [
            row.video,
            row.what,
            "-" if row.duration_s is None else clock(row.duration_s),
            "-" if row.num_frames is None else str(row.num_frames),
            "-" if row.estimate_s is None else clock(row.estimate_s),
        ]
        for row in plan.rows
    ]
    _print_table("Plan", ("video", "what", "length", "frames", "about"), rows)
    if plan.total_s is None:
        console.print_data(f"{plan.num_todo} to do")
        return
    console.print_data(
        f"{plan.num_todo} to do, about {clock(plan.total_s)} with {plan.workers} workers of {plan.threads} threads"
        f" ({plan.frames_per_s:.1f} frames a second and worker, {plan.origin})"
    )


def _print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows[:_MAX_ROWS]:
        table.add_row(*(Text(cell) for cell in row))
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(file=sys.stdout, width=width, highlight=False).print(Text(title, style="bold"), table)
    if len(rows) > _MAX_ROWS:
        console.print_data(f"... and {len(rows) - _MAX_ROWS} more: see summary.json")


__all__ = ["Reporter", "clock", "print_forecast", "print_summary"]
