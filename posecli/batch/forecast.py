"""What a batch would do, and for about how long: lengths from the videos' own headers, speed from the past or from a short try."""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import Any

from posecli.batch.decide import Decision
from posecli.batch.headers import Header, HeaderReader
from posecli.batch.job import Job, OutputFiles, printable
from posecli.batch.manifest import History
from posecli.batch.pool import Task, Worker
from posecli.batch.request import BatchRequest
from posecli.batch.survey import Survey, survey
from posecli.batch.worker import CannotStart, Finished, WorkerSetup

_TRY_S = 2.0
_MAX_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """A video: what would happen to it, its length as its header says, and about how long it would take one worker."""

    video: str
    what: str
    duration_s: float | None
    num_frames: int | None
    estimate_s: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """All of them, longest first where there is something to do.

    ``frames_per_s`` is that of one worker, ``origin`` where it comes from; ``total_s`` is for all workers together; all ``None``
    where there is nothing to do or nothing to measure with.
    """

    rows: tuple[ForecastRow, ...]
    num_todo: int
    workers: int
    threads: int
    frames_per_s: float | None
    origin: str
    total_s: float | None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def forecast(request: BatchRequest, *, say: Callable[[str], None] = lambda message: None) -> Forecast:
    """Look ahead; nothing is written to the output folder.

    Args:
        request: What would be done.
        say: Told when something takes time.

    Raises:
        PoseCliError: As `posecli.batch.run.run_batch`.
    """
    found = survey(request)
    headers = _read_headers([job for job, _ in found.todo], request)
    workers = request.num_workers(len(found.todo))
    threads = request.num_threads(workers)
    speed, origin = _remembered(found.history, request.settings_hash), "as in earlier batches here"
    readable = [job for (job, _), header in zip(found.todo, headers, strict=True) if header.is_readable]
    if speed is None and readable:
        say(f"measuring the speed on {printable(readable[0].video)}")
        speed, origin = _measured(readable[0], request, threads), f"measured on {printable(readable[0].video)}"
    rows = sorted(_todo_rows(found, headers, speed), key=lambda row: -(row.duration_s or 0.0))
    estimates = [row.estimate_s for row in rows if row.estimate_s is not None]
    total_s = _makespan(estimates, workers) if estimates else None
    return Forecast(
        (*rows, *_other_rows(found)), len(found.todo), workers, threads, speed, "" if speed is None else origin, total_s
    )


def _read_headers(jobs: list[Job], request: BatchRequest) -> list[Header]:
    if not jobs:
        return []
    return HeaderReader([job.video for job in jobs], image_fps=request.settings.image_fps).read_all()


def _todo_rows(found: Survey, headers: list[Header], speed: float | None) -> Iterable[ForecastRow]:
    for (job, decision), header in zip(found.todo, headers, strict=True):
        frames = header.num_frames
        estimate = None if speed is None or frames is None else frames / speed
        what = decision.reason if header.is_readable else "cannot be read"
        yield ForecastRow(printable(job.video), what, header.duration_s, frames, estimate)


def _other_rows(found: Survey) -> list[ForecastRow]:
    rows = [(job, f"skip: {decision.reason}") for job, decision in (*found.skipped, *found.adopted)]
    rows += [(job, "beyond the limit") for job, _ in found.beyond_limit]
    rows += [(job, f"not possible: {failure.message}") for job, failure in found.refused]
    return [ForecastRow(printable(job.video), what, None, None, None) for job, what in rows]


def _remembered(history: History, settings_hash: str) -> float | None:
    """Frames a second of one worker, from what was done here with the same settings."""
    frames = seconds = 0.0
    for record in history.all("done"):
        if record.get("settings_hash") == settings_hash and record.get("seconds"):
            frames += record.get("frames", 0) - (record.get("resumed_at_frame") or 0)
            seconds += record["seconds"]
    return frames / seconds if frames > 0 and seconds > 0 else None


def _measured(job: Job, request: BatchRequest, threads: int) -> float | None:
    """Frames a second of one worker over the first seconds of a video, with loading and first use left out."""
    settings = replace(request.settings, end_s=_TRY_S)
    setup = WorkerSetup(settings, request.overlay_style, threads, (), os.getpid())
    with tempfile.TemporaryDirectory(prefix="posecli-") as folder, tempfile.TemporaryFile() as held:
        worker = Worker(1, setup, held.fileno())
        try:
            return _time(worker, replace(job, files=OutputFiles(Path(folder) / "try.json")))
        finally:
            worker.kill()


def _time(worker: Worker, job: Job) -> float | None:
    """Twice: the first time compiles."""
    deadline = monotonic() + _MAX_WAIT_S
    rounds = 0
    worker.give(Task(job, Decision("run", "", {})))
    while monotonic() < deadline:
        wait(worker.waitables, timeout=1.0)
        was_alive = worker.is_alive
        for message in worker.messages():
            if isinstance(message, CannotStart):
                raise message.error
            if not isinstance(message, Finished):
                continue
            facts, rounds = message.outcome.facts, rounds + 1
            if rounds == 2 or not facts:
                return facts["frames"] / message.outcome.seconds if facts else None
            worker.give(Task(job, Decision("run", "", {})))
        if not was_alive:
            return None
    return None


def _makespan(estimates: Iterable[float], workers: int) -> float:
    """The longest first, each to whoever is free."""
    free = [0.0] * workers
    for seconds in sorted(estimates, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


__all__ = ["Forecast", "ForecastRow", "forecast"]
