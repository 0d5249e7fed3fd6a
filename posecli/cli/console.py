"""The only place that prints: data to stdout; messages and progress to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress

QUIET_VARIABLE = "POSECLI_QUIET"
_PIPE_COLUMNS = 110

Grid = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A title, the heads of the columns, and rows of cells."""


def print_data(text: str) -> None:
    """Write a line to stdout at once, so that a closed pipe is noticed here and not at exit."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Write one JSON document to stdout; dataclasses and NumPy values are welcome, NaN becomes null."""
    import orjson

    from posecli.json_bytes import json_bytes

    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    print_data(json_bytes(value, default=_to_json, option=options).decode())


def print_json_line(value: Any) -> None:
    """Write one JSON document to stdout, in one line; as `print_json` else."""
    import orjson

    from posecli.json_bytes import json_bytes

    print_data(json_bytes(value, default=_to_json, option=orjson.OPT_SERIALIZE_NUMPY).decode())


def print_table(rows: list[Mapping[str, object]]) -> None:
    """Write rows of equal keys to stdout, in columns wide enough, under upper-case heads."""
    if not rows:
        return
    lines = [[name.upper() for name in rows[0]], *([str(cell) for cell in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print_data("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_grid(grid: Grid) -> None:
    """Write a table with a title to stdout; the first column is text, the others are figures."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title, heads, rows = grid
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, head in enumerate(heads):
        table.add_column(head, justify="left" if column == 0 else "right", no_wrap=column == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(file=sys.stdout, width=width, highlight=False).print(Text(title, style="bold"), table)


def info(message: str) -> None:
    """Say something on stderr, unless quiet."""
    if not is_quiet():
        _to_stderr(message)


def warn(message: str) -> None:
    """Say on stderr that something is not as it should be; also when quiet."""
    _to_stderr(f"warning: {message}")


def error(message: str, hint: str | None = None) -> None:
    """Say on stderr why the command failed and, below, what to do about it."""
    _to_stderr(f"error: {message}")
    if hint is not None:
        _to_stderr(f"hint: {hint}")


def is_quiet() -> bool:
    """Whether the user asked for silence (``--quiet`` or ``POSECLI_QUIET``)."""
    return bool(os.environ.get(QUIET_VARIABLE))


def shows_progress() -> bool:
    """Whether a progress line makes sense: a terminal, and nobody who asked for plain output."""
    if is_quiet() or os.environ.get("NO_COLOR") or os.environ.get("CI"):
        return False
    return sys.stderr.isatty()


class ProgressLine:
    """One progress line; call it with the count done so far. Without a terminal it does nothing.

    The library never sees this class, only that it can be called.
    """

    def __init__(self, description: str, progress: Progress | None) -> None:
        self._description = description
        self._progress = progress
        self._task = None if progress is None else progress.add_task(description, total=None, speeds="")

    def __call__(self, done: int, total: int | None = None, speeds: Mapping[str, float] | None = None) -> None:
        """Show ``done`` of ``total``; ``speeds`` maps a stage to its rate per second."""
        if self._progress is None or self._task is None:
            return
        shown = "  ".join(f"{stage} {rate:.0f}/s" for stage, rate in (speeds or {}).items())
        self._progress.update(self._task, completed=done, total=total, speeds=shown)

    def stage(self, stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        """As a call, for work of several stages: a new stage renames the line and starts its clock anew."""
        if self._progress is None or self._task is None:
            return
        if stage != self._description:
            self._description = stage
            self._progress.reset(self._task, description=stage)
        self(done, total, speeds)


@contextlib.contextmanager
def progress(description: str, *, unit: Literal["frames", "bytes", "steps"] = "frames") -> Iterator[ProgressLine]:
    """Show one progress line on stderr while the block runs; messages printed meanwhile appear above it.

    Args:
        description: What is going on, a verb.
        unit: What is counted.

    Yields:
        A callable for the counts.
    """
    if not shows_progress():
        yield ProgressLine(description, None)
        return
    from rich import progress as bars
    from rich.console import Console

    counts = (
        [bars.DownloadColumn(), bars.TransferSpeedColumn()]
        if unit == "bytes"
        else [bars.MofNCompleteColumn(), bars.TextColumn(unit), bars.TextColumn("{task.fields[speeds]}")]
    )
    columns: list[bars.ProgressColumn] = [bars.TextColumn("{task.description}"), bars.BarColumn(), *counts]
    columns += [bars.TimeElapsedColumn(), bars.TextColumn("eta"), bars.TimeRemainingColumn()]
    with bars.Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as shown:
        yield ProgressLine(description, shown)


@contextlib.contextmanager
def board() -> Iterator[Callable[[RenderableType], None] | None]:
    """Several lines on stderr that change in place while the block runs; messages printed meanwhile appear above them.

    Yields:
        A callable that shows something else from now on; ``None`` without a terminal.
    """
    if not shows_progress():
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, transient=True, redirect_stdout=False, refresh_per_second=4) as live:
        yield live.update


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def _to_json(value: Any) -> Any:
    if isinstance(value, Path | Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
