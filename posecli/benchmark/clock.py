"""What time is measured with: processor time where one thread works, the clock on the wall where several do or a GPU does.

Processor time hardly moves when the neighbours of a shared machine are busy, but it cannot tell whether two threads were faster than
one, and it does not see a GPU.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

ClockKind = Literal["cpu", "wall"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        num_frames: Frames of the clip to look at, at most.
        seconds: A measurement is repeated for about so long ...
        min_repeats: ... but at least so often.
    """

    num_frames: int
    seconds: float
    min_repeats: int


FULL = Effort(num_frames=60, seconds=1.0, min_repeats=5)
QUICK = Effort(num_frames=10, seconds=0.05, min_repeats=1)


@dataclass(frozen=True, slots=True)
class Timing:
    """Several runs of the same work, ms."""

    min_ms: float
    median_ms: float
    num_runs: int


@dataclass(frozen=True, slots=True)
class Clock:
    """Reads the time.

    Attributes:
        kind: ``cpu``: processor time of the whole process, all its threads; ``wall``: elapsed time.
        device: Where the work runs; a GPU is waited for before each reading.
    """

    kind: ClockKind
    device: torch.device

    @classmethod
    def fitting(cls, device: torch.device, num_threads: int) -> Clock:
        """The clock that tells most about work on this device with so many threads."""
        return cls("cpu" if device.type == "cpu" and num_threads == 1 else "wall", device)

    def now_s(self) -> float:
        """Seconds since some fixed moment."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.kind == "cpu" else time.perf_counter()

    def time(self, work: Callable[[], object], effort: Effort) -> Timing:
        """Run work once to warm up, then as often as the effort allows.

        Args:
            work: Does the same every time.
            effort: How often.

        Returns:
            Milliseconds a run.
        """
        work()
        gc.collect()
        seconds: list[float] = []
        until = time.perf_counter() + effort.seconds
        while len(seconds) < effort.min_repeats or time.perf_counter() < until:
            start = self.now_s()
            work()
            seconds.append(self.now_s() - start)
        return Timing(1e3 * min(seconds), 1e3 * statistics.median(seconds), len(seconds))

    def least_ms(self, work: Callable[[], object], effort: Effort) -> float:
        """Milliseconds of the fastest run: what the work costs when nobody disturbs it."""
        return self.time(work, effort).min_ms
