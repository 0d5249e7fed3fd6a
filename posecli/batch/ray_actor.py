"""A Ray worker process: networks loaded once, then one video after another; the same work as that of a local worker."""

from __future__ import annotations

import os
import platform
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import posecli
from posecli.batch.job import Job, printable
from posecli.batch.outcome import Outcome
from posecli.batch.request import BatchRequest
from posecli.batch.task import StopAsked
from posecli.batch.worker import CannotStart, Finished, WorkerSetup, Working, do, load
from posecli.errors import ConfigError, OutputError, PoseCliError, WeightsError

if TYPE_CHECKING:
    from posecli.pipeline.models import Models


@dataclass(frozen=True)
class RaySetup:
    """What a Ray worker needs to know before its first video.

    Attributes:
        worker: As for local workers.
        request: Of the batch; weights are compared with those that the driver has.
        settings_hash: Of the request, as the driver sees it.
        folder: The driver's working directory: relative paths begin there.
        proof: A file in the output folder, made by the driver: whoever sees it shares the file system.
        version: The driver's posecli.
        is_offline: Whether no connection may be opened for weights.
    """

    worker: WorkerSetup
    request: BatchRequest
    settings_hash: str
    folder: Path
    proof: Path
    version: str
    is_offline: bool


@dataclass(frozen=True, slots=True)
class Greeting:
    """Worker to driver: the networks are loaded, in this process of this machine."""

    host: str
    process_id: int


class Annotator:
    """The actor: `load` once, `annotate` as often as there are videos; `look` and `stop` are called beside them.

    Args:
        setup: See `RaySetup`.
    """

    def __init__(self, setup: RaySetup) -> None:
        self._setup = setup
        self._stack = ExitStack()  # lives as long as the process
        self._models: Models | None = None
        self._unread: list[Working] = []
        self._guard = threading.Lock()
        self._is_stopped = threading.Event()

    def load(self) -> Greeting | CannotStart:
        """Look whether this machine can do the work, and load the networks."""
        try:
            _check(self._setup)
            self._models = load(self._setup.worker, self._stack)
        except PoseCliError as error:
            return CannotStart(error)
        return Greeting(platform.node(), os.getpid())

    def annotate(self, job: Job) -> list[object]:
        """Do a video; what `look` has not told yet comes with its end."""
        assert self._models is not None, "load comes first"
        outcome: Outcome = do(job, self._models, self._setup.worker, check=self._check_stop, report=self._report)
        return [*self.look(), Finished(outcome)]

    def look(self) -> list[Working]:
        """How far it has come since the last look: every stage, and the last place in each."""
        with self._guard:
            unread, self._unread = self._unread, []
        return unread

    def stop(self) -> None:
        """End the video early, and keep its journal."""
        self._is_stopped.set()

    def _check_stop(self) -> None:
        if self._is_stopped.is_set():
            raise StopAsked

    def _report(self, stage: str, done: int, total: int | None) -> None:
        with self._guard:
            # the first of a stage says where it began
            if len(self._unread) > 1 and self._unread[-1].stage == self._unread[-2].stage == stage:
                self._unread.pop()
            self._unread.append(Working(stage, done, total))


def _check(setup: RaySetup) -> None:
    """The same program, files and weights as where the driver is; anything else would give other poses, or none."""
    host = platform.node()
    if setup.version != posecli.__version__:
        what = f"Ray node {host} has posecli {posecli.__version__}, the batch was started by {setup.version}"
        raise ConfigError(what, hint="install the same version on all nodes")
    if not setup.proof.exists():
        what = f"Ray node {host} does not see {printable(setup.proof.parent)}"
        raise OutputError(what, hint="videos and outputs must lie on a file system that all nodes share")
    if setup.is_offline:
        os.environ["POSECLI_OFFLINE"] = "1"
    try:
        os.chdir(setup.folder)
    except OSError as error:
        what = f"Ray node {host} does not see {printable(setup.folder)}: {error.strerror}"
        raise OutputError(what, hint="start the batch from a folder that all nodes share") from error
    if replace(setup.request).settings_hash != setup.settings_hash:  # replace: a copy that has not been asked yet
        raise WeightsError(
            f"Ray node {host} has other weights than the machine that started the batch",
            hint="put the weights on the shared file system, or run there: posecli weights verify",
        )


__all__ = ["Annotator", "Greeting", "RaySetup"]
