"""Decoding and looking for people, ahead of those who follow and estimate them.

Both need nothing but the video, so they may run while the poses of earlier frames are still being estimated: a few windows ahead, no
more, so that memory stays flat. Decoding is one chain of tasks, each of which starts the next one; looks are tasks of their own, one
frame each on a GPU too: how many wait at a time depends on the load of the machine, and with the batch so would the last digits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from posecli.crew import Crew, Task
from posecli.people.detector import Detector
from posecli.pipeline.route import Route
from posecli.records import Detections, Frame
from posecli.stopwatch import Stopwatch

_FRAMES_AHEAD = 10


def nearest_frame(held: Iterable[Frame], index: int) -> Frame:
    """The frame of that index, or the nearest one."""
    return min(held, key=lambda frame: abs(frame.index - index))


@dataclass(frozen=True)
class Step:
    """What a chunk brings: frames not seen before, the frame where people are looked for, and the look if one is due.

    Without a key frame the video has ended before the chunk.
    """

    frames: list[Frame]
    key: Frame | None
    look: Task[Detections] | None


class Scout:
    """Goes ahead of the caller, chunk by chunk; a context manager: at its end nobody reads the frames any more.

    Args:
        frames: From the first frame that ``first_chunk`` needs, in order.
        detector: Who finds people; asked by one thread at a time.
        route: Which frames to decode and to look at.
        crew: Who works; a crew of one does each step when it is asked for.
        first_chunk: Where to begin.
        stopwatch: Gets the time spent in the stages ``decode`` and ``detect``.
    """

    def __init__(
        self,
        frames: Iterator[Frame],
        detector: Detector,
        route: Route,
        crew: Crew,
        *,
        first_chunk: int,
        stopwatch: Stopwatch,
    ) -> None:
        self._frames, self._detector, self._route, self._crew = frames, detector, route, crew
        self._stopwatch = stopwatch
        self._depth = 0 if crew.num_threads == 1 else -(-_FRAMES_AHEAD // route.plan.hop)
        self._held: list[Frame] = []
        self._has_ended = False
        self._look_lock = threading.Lock()
        self._lock = threading.Lock()  # of all below
        self._tasks: dict[int, Task[Step]] = {}
        self._looks: dict[int, Task[Detections]] = {}
        self._next, self._last_allowed = first_chunk, first_chunk - 1
        self._is_decoding = self._is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_stopped = True
        self._crew.drop([*self._tasks.values(), *self._looks.values()])

    def step(self, chunk: int) -> Step:
        """Wait for a chunk; chunks are asked for one after another.

        Raises:
            VideoError: And whatever else the frames raise, where they raise it.
        """
        with self._lock:
            # several at a time, and not before all are used up: in between, helpers are free for a window that is alone
            if chunk >= self._last_allowed:
                self._last_allowed = chunk + self._depth
            self._go_on()
            task = self._tasks[chunk]
        step = self._crew.finish(task)
        with self._lock:
            del self._tasks[chunk]
            self._go_on()
        return step

    def look(self, chunk: int, step: Step) -> Detections | None:
        """Whom the detector sees in the chunk; ``None`` when no look is due.

        Raises:
            Whatever the detector raises.
        """
        if step.look is None:
            return None
        found = self._crew.finish(step.look)
        with self._lock:
            del self._looks[chunk]
        return found

    def _go_on(self) -> None:
        """Start the next step if it is time; with the lock held."""
        if not self._is_decoding and not self._is_stopped and self._next <= self._last_allowed:
            self._is_decoding = True
            self._tasks[self._next] = self._crew.start(partial(self._decode, self._next))
            self._next += 1

    def _decode(self, chunk: int) -> Step:
        route, new = self._route, []
        with self._stopwatch.time("decode"):
            while not self._has_ended and (not self._held or self._held[-1].index < route.last_needed(chunk)):
                frame = None if self._is_stopped else next(self._frames, None)
                if frame is None:
                    self._has_ended = True
                    break
                new.append(frame)
                self._held.append(frame)
        own = [frame for frame in self._held if frame.index in route.own(chunk)]
        key = nearest_frame(own, route.key(chunk)) if own else None
        with self._lock:
            look = None
            if key is not None and route.is_look_due(chunk) and not self._is_stopped:
                look = self._looks[chunk] = self._crew.start(partial(self._look_at, key))
            self._held = [f for f in self._held if f.index >= route.own(chunk).stop] or self._held[-1:]
            self._is_decoding = False
            self._go_on()
        return Step(new, key, look)

    def _look_at(self, frame: Frame) -> Detections:
        with self._look_lock, self._stopwatch.time("detect"):
            return self._detector.detect([frame])[0]
