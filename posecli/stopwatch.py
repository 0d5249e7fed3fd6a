"""How long the stages of a job keep the machine busy, whichever threads they run in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, thread_time


class Stopwatch:
    """Adds up the time spent in named stages; stages that run side by side each count in full.

    Attributes:
        wall_s: Seconds by stage, by the clock on the wall.
        cpu_s: Seconds by stage that the threads which entered it computed. Threads that torch starts by itself do not count, and
            neither do those of FFmpeg.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = threading.local()
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count what happens inside towards ``stage``, from any thread; a stage entered inside another one counts for itself only."""
        outer = getattr(self._inside, "spent", None)
        spent = self._inside.spent = [0.0, 0.0]  # of the stages entered inside
        wall, cpu = perf_counter(), thread_time()
        try:
            yield
        finally:
            cpu, wall = thread_time() - cpu, perf_counter() - wall
            self._inside.spent = outer
            if outer is not None:
                outer[0] += wall
                outer[1] += cpu
            with self._lock:
                self.wall_s[stage] = self.wall_s.get(stage, 0.0) + wall - spent[0]
                self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + cpu - spent[1]
