"""Worker processes, seen from the parent."""

from __future__ import annotations

import contextlib
import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic

from posecli.batch.decide import Decision
from posecli.batch.job import Job
from posecli.batch.lock import HeldFile
from posecli.batch.worker import Ready, Stop, WorkerSetup, Working, work

# the first report of a video that begins at its beginning
_FIRST_FRAMES = 64


@dataclass
class Task:
    """A job on its way through the workers: ``attempt`` counts from 1."""

    job: Job
    decision: Decision
    attempt: int = 0


class AnyWorker(ABC):
    """Whoever annotates one video after another, in whatever process, and what it is at.

    Args:
        number: For people, from 1.

    Attributes:
        task: What it works on.
        stage: Of that, with ``done`` of ``total`` frames.
        is_ready: Whether its networks are loaded.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_ready = False
        self.task: Task | None = None
        self.stage, self.done = "", 0
        self.total: int | None = None
        self._given_s = self._stage_s = monotonic()

    @property
    @abstractmethod
    def waitables(self) -> list[Connection | int]:
        """What `multiprocessing.connection.wait` may wait for."""

    @property
    @abstractmethod
    def process_id(self) -> int | None:
        """Of the operating system it runs on."""

    @property
    @abstractmethod
    def is_alive(self) -> bool:
        """Whether it can still say anything."""

    @abstractmethod
    def messages(self) -> Iterator[object]:
        """What it has said, until there is no more; ends at its death too."""

    @abstractmethod
    def cause_of_death(self) -> str:
        """For people."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end its video early, and itself."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""

    @abstractmethod
    def _send(self, job: Job) -> None:
        """Hand out a job; a worker that has just died is found out later."""

    @property
    def seconds(self) -> float:
        """Since it got its task."""
        return monotonic() - self._given_s

    @property
    def stage_seconds(self) -> float:
        """Since the stage began."""
        return monotonic() - self._stage_s

    def give(self, task: Task) -> None:
        """Hand out a task."""
        self.task = task
        self.stage, self.done, self.total = "", 0, None
        self._given_s = self._stage_s = monotonic()
        self._send(task.job)

    def take_back(self) -> Task | None:
        """The task it no longer works on."""
        task, self.task = self.task, None
        return task

    def note(self, message: object) -> int:
        """Keep how far it is.

        Returns:
            Frames annotated since the last time.
        """
        if isinstance(message, Ready):
            self.is_ready = True
        if not isinstance(message, Working):
            return 0
        if message.stage != self.stage:
            self.stage, self._stage_s = message.stage, monotonic()
            # frames of an earlier run come with the first report, a few of this one too
            self.done = 0 if message.done <= _FIRST_FRAMES else message.done
        new = max(0, message.done - self.done) if message.stage == "annotate" else 0
        self.done, self.total = message.done, message.total
        return new


class Worker(AnyWorker):
    """A process of this machine.

    Args:
        number: For people, from 1.
        setup: What it needs to know.
        lock_fd: Stays open in the worker as long as it lives.
    """

    def __init__(self, number: int, setup: WorkerSetup, lock_fd: int) -> None:
        super().__init__(number)
        self.connection, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=work, args=(setup, theirs, HeldFile(lock_fd)), name=f"posecli-worker-{number}", daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def waitables(self) -> list[Connection | int]:
        """What `multiprocessing.connection.wait` may wait for."""
        return [self.connection, self._process.sentinel]

    @property
    def process_id(self) -> int | None:
        """Of the operating system."""
        return self._process.pid

    def messages(self) -> Iterator[object]:
        """What it has said, until there is no more; ends at its death too."""
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll():
                yield self.connection.recv()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def cause_of_death(self) -> str:
        """For people; waits until it is certain."""
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """Ask it to end its video early, and itself."""
        with contextlib.suppress(OSError):
            self.connection.send(Stop())

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._process.close()

    def _send(self, job: Job) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(job)


__all__ = ["AnyWorker", "Task", "Worker"]
