"""The pose stage in its variants: window modes, people in a batch, threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from posecli.benchmark.clock import Clock, Effort
from posecli.pose.estimator import PoseEstimator
from posecli.pose.windows import WindowMode
from posecli.records import FloatArray, ImageArray

_OVERLAPPING_HOP = 3


@dataclass(frozen=True, slots=True)
class ModeRow:
    """A window mode: ``hop`` frames between windows; ``ratio`` to clip mode."""

    mode: str
    hop: int
    ms_per_person_frame: float
    ratio: float


@dataclass(frozen=True, slots=True)
class PersonsRow:
    """So many people in a call of the estimator; ``ratio`` to one person."""

    persons: int
    ms_per_person_frame: float
    person_frames_per_second: float
    ratio: float


@dataclass(frozen=True, slots=True)
class ThreadsRow:
    """The pose stage with so many threads.

    Attributes:
        threads: That work on it.
        persons: In the call.
        wall_ms_per_person_frame: Elapsed time.
        cpu_ms_per_person_frame: Processor time of all threads: grows where they get in each other's way.
        speed_up: Over one thread, elapsed time.
    """

    threads: int
    persons: int
    wall_ms_per_person_frame: float
    cpu_ms_per_person_frame: float
    speed_up: float


@dataclass(frozen=True)
class WindowBench:
    """The pose stage (crops, network, decoding) on one window.

    Attributes:
        estimator: What is measured.
        images: T pictures.
        boxes: (T, 4) xyxy px, one person.
    """

    estimator: PoseEstimator
    images: Sequence[ImageArray]
    boxes: FloatArray

    def estimate(self, persons: int, mode: WindowMode = "clip") -> None:
        """So many people in the same window, each a pixel beside the one before."""
        shifts = np.arange(persons, dtype=np.float32)
        boxes = [np.asarray(self.boxes + shift, np.float32) for shift in shifts]
        self.estimator.estimate_windows([self.images] * persons, boxes, mode=mode)

    def modes(self, clock: Clock, effort: Effort) -> tuple[ModeRow, ...]:
        """Clip mode, clip mode with overlapping windows, and the paper's key mode."""
        num_frames = self.estimator.config.num_frames
        clip_ms = clock.least_ms(lambda: self.estimate(1), effort)
        key_ms = clock.least_ms(lambda: self.estimate(1, "key"), effort)
        hop = min(_OVERLAPPING_HOP, num_frames)
        costs = [("clip", num_frames, clip_ms / num_frames), ("clip", hop, clip_ms / hop), ("key", 1, key_ms)]
        return tuple(ModeRow(mode, hop, ms, ms / costs[0][2]) for mode, hop, ms in costs)

    def persons(self, counts: Sequence[int], clock: Clock, effort: Effort) -> tuple[PersonsRow, ...]:
        """Several numbers of people, from one on."""
        rows: list[PersonsRow] = []
        for count in counts:
            ms = clock.least_ms(lambda count=count: self.estimate(count), effort)  # type: ignore[misc]
            each = ms / count / self.estimator.config.num_frames
            first = rows[0].ms_per_person_frame if rows else each
            rows.append(PersonsRow(count, each, 1e3 / each, each / first))
        return tuple(rows)

    def threads(self, counts: Sequence[int], persons: Sequence[int], effort: Effort) -> tuple[ThreadsRow, ...]:
        """Several numbers of threads, from one on; torch is left with the number it had."""
        before, rows = torch.get_num_threads(), []
        try:
            for number in persons:
                one_ms = None
                for count in counts:
                    torch.set_num_threads(count)
                    wall_ms, cpu_ms = _wall_and_cpu_ms(lambda number=number: self.estimate(number), effort)  # type: ignore[misc]
                    one_ms = one_ms or wall_ms
                    scale = 1.0 / (number * self.estimator.config.num_frames)
                    rows.append(ThreadsRow(count, number, scale * wall_ms, scale * cpu_ms, one_ms / wall_ms))
        finally:
            torch.set_num_threads(before)
        return tuple(rows)


def _wall_and_cpu_ms(work: Callable[[], object], effort: Effort) -> tuple[float, float]:
    """Both least, of the same runs."""
    walls, processor = Clock("wall", torch.device("cpu")), Clock("cpu", torch.device("cpu"))
    cpu_s: list[float] = []

    def timed() -> None:
        start = processor.now_s()
        work()
        cpu_s.append(processor.now_s() - start)

    wall_ms = walls.least_ms(timed, effort)
    return wall_ms, 1e3 * min(cpu_s)
