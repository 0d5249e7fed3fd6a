"""The order of a batch: longest first, so that no worker ends up alone with a long video."""

from __future__ import annotations

import contextlib
from collections import Counter
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
        self._parts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._tasks) + len(self._later)

    def learn(self, headers: dict[str, Header]) -> None:
        """Take note of headers, by the names of jobs."""
        if len(headers) > len(self._headers):
            self._headers = dict(headers)
            self._is_sorted = False

    @property
    def num_whole(self) -> int:
        """Tasks that are a whole video."""
        return len(self) - self._parts.total()

    def names_of_parts(self) -> set[str]:
        """Of the jobs only parts of which are waiting."""
        return set(self._parts)

    def add(self, tasks: Sequence[Task]) -> None:
        """Parts of videos."""
        self._tasks += tasks
        self._count(tasks, 1)
        self._is_sorted = False

    def drop(self, name: str) -> None:
        """Forget all parts of a job."""
        if name in self._parts:
            del self._parts[name]
            self._tasks = [task for task in self._tasks if task.job.name != name]
            self._later = [task for task in self._later if task.job.name != name]

    def put_back(self, task: Task, *, is_last: bool = False) -> None:
        """Try a task again: next, or when all others are done."""
        self._count([task], 1)
        if is_last:
            self._later.append(task)
        else:
            self._tasks.append(task)

    def take(self) -> Task:
        """The longest."""
        task = self._take()
        self._count([task], -1)
        return task

    def _take(self) -> Task:
        if not self._tasks:
            return self._later.pop(0)
        if not self._is_sorted:
            ratio = self._seconds_per_byte()
            self._tasks.sort(key=lambda task: (task.attempt, self._length(task, ratio)))
            self._is_sorted = True
        return self._tasks.pop()

    def num_frames(self, default: float) -> float:
        """Of all tasks together, as far as their headers say."""
        return sum(self._frames_or(task, default) for task in (*self._tasks, *self._later))

    def frames_of(self, task: Task) -> int | None:
        """As its header says."""
        return self._headers.get(task.job.name, Header()).num_frames

    def mean_frames(self) -> float | None:
        """Of the videos whose headers are known."""
        known = [header.num_frames for header in self._headers.values() if header.num_frames is not None]
        return sum(known) / len(known) if known else None

    def _frames_or(self, task: Task, default: float) -> float:
        share = 1.0 if task.job.part is None else task.job.part.share
        return (self.frames_of(task) or default) * share

    def _count(self, tasks: Sequence[Task], change: int) -> None:
        for task in tasks:
            if task.job.part is None:
                continue
            self._parts[task.job.name] += change
            if not self._parts[task.job.name]:
                del self._parts[task.job.name]

    def _length(self, task: Task, seconds_per_byte: float) -> float:
        part = task.job.part
        if part is not None and part.position is None:
            return float("inf")  # the video waits for nothing else
        known = self._headers.get(task.job.name, Header()).duration_s
        length = known if known is not None else self._sizes[task.job.name] * seconds_per_byte
        return length * (1.0 if part is None else part.share)

    def _seconds_per_byte(self) -> float:
        known = [(h.duration_s, self._sizes[name]) for name, h in self._headers.items() if h.duration_s is not None]
        num_bytes = sum(size for _, size in known)
        return sum(seconds for seconds, _ in known) / num_bytes if num_bytes else 1.0


def _num_bytes(video: Path) -> int:
    with contextlib.suppress(OSError):
        return video.stat().st_size if video.is_file() else sum(f.stat().st_size for f in video.iterdir())
    return 0


__all__ = ["Queue"]
