"""The order of a batch: longest first, so that no worker ends up alone with a long video."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from posecli.batch.headers import Header
from posecli.batch.pool import Task


class Queue:
    """Tasks by length; as long as headers are not read, files are judged by their size.

    Args:
        tasks: All of them.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = list(tasks)
        self._later: list[Task] = []
        self._sizes = {task.job.name: _num_bytes(task.job.video) for task in tasks}
        self._headers: dict[str, Header] = {}
        self._is_sorted = False

    def __len__(self) -> int:
        return len(self._tasks) + len(self._later)

    def learn(self, headers: dict[str, Header]) -> None:
        """Take note of headers, by the names of jobs."""
        if len(headers) > len(self._headers):
            self._headers = dict(headers)
            self._is_sorted = False

    def put_back(self, task: Task, *, is_last: bool = False) -> None:
        """Try a task again: next, or when all others are done."""
        if is_last:
            self._later.append(task)
        else:
            self._tasks.append(task)

    def take(self) -> Task:
        """The longest."""
        if not self._tasks:
            return self._later.pop(0)
        if not self._is_sorted:
            ratio = self._seconds_per_byte()
            self._tasks.sort(key=lambda task: (task.attempt, self._length(task, ratio)))
            self._is_sorted = True
        return self._tasks.pop()

    def num_frames(self, default: float) -> float:
        """Of all tasks together, as far as their headers say."""
        return sum(self.frames_of(task) or default for task in (*self._tasks, *self._later))

    def frames_of(self, task: Task) -> int | None:
        """As its header says."""
        return self._headers.get(task.job.name, Header()).num_frames

    def mean_frames(self) -> float | None:
        """Of the videos whose headers are known."""
        known = [header.num_frames for header in self._headers.values() if header.num_frames is not None]
        return sum(known) / len(known) if known else None

    def _length(self, task: Task, seconds_per_byte: float) -> float:
        known = self._headers.get(task.job.name, Header()).duration_s
        return known if known is not None else self._sizes[task.job.name] * seconds_per_byte

    def _seconds_per_byte(self) -> float:
        known = [(h.duration_s, self._sizes[name]) for name, h in self._headers.items() if h.duration_s is not None]
        num_bytes = sum(size for _, size in known)
        return sum(seconds for seconds, _ in known) / num_bytes if num_bytes else 1.0


def _num_bytes(video: Path) -> int:
    with contextlib.suppress(OSError):
        return video.stat().st_size if video.is_file() else sum(f.stat().st_size for f in video.iterdir())
    return 0


__all__ = ["Queue"]
