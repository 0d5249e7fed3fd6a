"""Long videos of a batch on their way through the workers: stretches first, by whoever has time, then one worker joins them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from posecli.batch.headers import HeaderReader
from posecli.batch.job import Part
from posecli.batch.outcome import Outcome
from posecli.batch.pool import Task
from posecli.batch.request import BatchRequest


@dataclass
class _Progress:
    """Of one video: positions of stretches not done; seconds and frames of earlier runs, summed up."""

    missing: set[int]
    seconds: float
    num_resumed: int = 0


@dataclass
class LongVideos:
    """Who waits for what."""

    _under_way: dict[str, _Progress] = field(default_factory=dict)

    def follow(self, task: Task, outcome: Outcome) -> list[Task]:
        """What there is to do after a success that was not the end of a video.

        Args:
            task: A video that has turned out to be long, or a stretch.
            outcome: Of that.
        """
        job, part = task.job, task.job.part
        if part is None:
            stretches = outcome.stretches
            self._under_way[job.name] = _Progress(set(range(len(stretches))), outcome.seconds)
            return [self._task(task, Part(stretches, position)) for position in range(len(stretches))]
        progress = self._under_way[job.name]
        progress.seconds += outcome.seconds
        if part.position is not None:
            progress.missing.discard(part.position)
        if task.attempt == 1:  # else it was this batch that did them
            progress.num_resumed += outcome.facts["resumed"]
        return [] if progress.missing else [self._task(task, Part(part.stretches, None))]

    def end(self, task: Task, outcome: Outcome) -> Outcome:
        """The outcome of a video whose stretches are joined: with what they took; any other as it is."""
        progress = self._under_way.pop(task.job.name, None)
        if progress is None:
            return outcome
        seconds = round(progress.seconds + outcome.seconds, 3)
        resumed = min(progress.num_resumed, outcome.facts["frames"]) or None
        return replace(outcome, facts={**outcome.facts, "seconds": seconds, "resumed_at_frame": resumed})

    def _task(self, task: Task, part: Part) -> Task:
        return Task(replace(task.job, part=part), task.decision)


def is_on_the_way(task: Task, outcome: Outcome) -> bool:
    """Whether a success is not the end of its video."""
    return bool(outcome.stretches) or (task.job.part is not None and task.job.part.position is not None)


def num_parts(tasks: Sequence[Task], request: BatchRequest, *, enough: int) -> int:
    """About how many workers can work at the same time, by the headers of videos.

    Args:
        tasks: The videos.
        request: Says what is long.
        enough: More need not be counted.
    """
    if request.split is None or len(tasks) >= enough:
        return len(tasks)
    reader = HeaderReader([task.job.video for task in tasks], image_fps=request.settings.image_fps)
    lengths_s = [header.duration_s or 0.0 for header in reader.read_all()]
    return sum(max(1, math.ceil(length_s / (60.0 * request.split.max_minutes))) for length_s in lengths_s)


__all__ = ["LongVideos", "is_on_the_way", "num_parts"]
