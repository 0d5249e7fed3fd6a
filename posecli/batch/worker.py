"""A worker process: networks loaded once, then one video after another, as the parent hands them out.

It ends with its parent: the kernel kills it when the parent dies (Linux), and a closed pipe tells it everywhere else.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from posecli.batch.job import Job
from posecli.batch.outcome import Outcome
from posecli.batch.parent import end_with_parent
from posecli.batch.task import StopAsked, annotate_job, throttled
from posecli.errors import DeviceError, PoseCliError
from posecli.pipeline.settings import AnnotateSettings
from posecli.pipeline.stretches import SplitConfig

if TYPE_CHECKING:
    from posecli.pipeline.models import Models

_PROGRESS_EVERY_S = 0.2


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs to know before its first video; ``split``: when one is so long that others should help."""

    settings: AnnotateSettings
    style: str
    threads: int
    command: tuple[str, ...]
    parent_id: int
    split: SplitConfig | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker to parent: the networks are loaded."""


@dataclass(frozen=True, slots=True)
class CannotStart:
    """Worker to parent: they cannot be."""

    error: PoseCliError


@dataclass(frozen=True, slots=True)
class Working:
    """Worker to parent: how far the video is."""

    stage: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """Worker to parent: the video is at its end, this way or that."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Stop:
    """Parent to worker: end the video early, and yourself."""


def work(setup: WorkerSetup, connection: Connection, held: object) -> None:
    """A worker's life.

    Args:
        setup: See `WorkerSetup`.
        connection: To the parent: gets `Job` and `Stop`, gives the other messages of this module.
        held: Whatever must live as long as the worker.
    """
    end_with_parent(setup.parent_id)
    try:
        _serve(setup, _Desk(connection))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)
    del held


class _Desk:
    """The worker's end of the pipe: a thread reads, so that a stop is noticed in the middle of a video."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._is_stopped = threading.Event()
        threading.Thread(target=self._read, name="posecli-batch-desk", daemon=True).start()

    def next_job(self) -> Job | None:
        """Wait for the next video; ``None``: go home."""
        return self._jobs.get()

    def tell(self, message: object) -> None:
        """Send a message to the parent."""
        self._connection.send(message)

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """Tell how far we are."""
        self.tell(Working(stage, done, total))

    def check(self) -> None:
        """Raise `StopAsked` if that is so."""
        if self._is_stopped.is_set():
            raise StopAsked

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # nobody is left to tell; the journal is made for this
            if isinstance(message, Stop):
                self._is_stopped.set()
                self._jobs.put(None)
                return
            self._jobs.put(message)


def _serve(setup: WorkerSetup, desk: _Desk) -> None:
    with ExitStack() as stack:
        try:
            models = load(setup, stack)
        except PoseCliError as error:
            desk.tell(CannotStart(error))
            return
        desk.tell(Ready())
        while (job := desk.next_job()) is not None:
            outcome = do(job, models, setup, check=desk.check, report=desk.progress)
            desk.tell(Finished(outcome))
            if outcome.is_stopped:
                return


def load(setup: WorkerSetup, stack: ExitStack) -> Models:
    """Make a process ready for videos.

    Args:
        setup: What it needs to know.
        stack: Gets what must be closed at its end.

    Raises:
        PoseCliError: The networks cannot be loaded, or memory ran out.
    """
    import torch

    import posecli.pipeline.annotate  # noqa: F401 - here, so that it is not counted as the first video's time
    from posecli.pipeline.allocator import keep_freed_memory
    from posecli.pipeline.models import load_models
    from posecli.pipeline.threads import all_threads
    from posecli.video.overlay import get_style

    keep_freed_memory()
    torch.set_num_threads(setup.threads)
    crew = stack.enter_context(all_threads())
    try:
        get_style(setup.style)
        return load_models(setup.settings, crew)
    except MemoryError as error:
        raise DeviceError(f"memory ran out while loading: {error}", hint="give fewer --workers") from error


def do(
    job: Job,
    models: Models,
    setup: WorkerSetup,
    *,
    check: Callable[[], None],
    report: Callable[[str, int, int | None], None],
) -> Outcome:
    """Annotate a video, with ``check`` (which may raise `StopAsked`) called often and ``report`` now and then."""
    tell = throttled(report, every_s=_PROGRESS_EVERY_S)

    def progress(stage: str, done: int, total: int | None, speeds: Any) -> None:
        check()
        tell(stage, done, total, speeds)

    return annotate_job(job, models, style=setup.style, command=setup.command, progress=progress, split=setup.split)


__all__ = ["CannotStart", "Finished", "Ready", "Stop", "WorkerSetup", "Working", "do", "load", "work"]
