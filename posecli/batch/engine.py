"""A batch on this machine: worker processes get videos, longest first; whatever happens to one costs no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing.connection import wait
from time import monotonic

from posecli.batch.headers import HeaderReader
from posecli.batch.job import printable
from posecli.batch.ledger import Ledger
from posecli.batch.order import Queue
from posecli.batch.outcome import Failure, Outcome
from posecli.batch.pool import AnyWorker, Task, Worker
from posecli.batch.request import BatchRequest
from posecli.batch.signals import Interruptions
from posecli.batch.split import LongVideos, is_on_the_way, num_parts
from posecli.batch.status import Status, WorkerStatus
from posecli.batch.survey import Survey
from posecli.batch.task import remove_leftovers
from posecli.batch.worker import CannotStart, Finished, Ready, WorkerSetup, Working
from posecli.errors import DeviceError, PoseCliError

TICK_S = 0.25
_SHOW_EVERY_S = 0.1
_SHOW_SHARE = 50.0  # times as long is spent on other things
_GRACE_S = 20.0
_MAX_FAILED_STARTS = 2


class LocalEngine:
    """Does what a survey found.

    A worker that dies is replaced, and its video tried once more, from its journal; one that exceeds the timeout is killed. When
    memory runs out, the video is tried once more at the very end, in a new process.

    Args:
        request: What the user wants.
        found: What there is to do.
        ledger: Is told everything.
        show: Called a few times a second.
        lock_fd: Passed on to the workers.

    Attributes:
        max_attempts: At a video whose worker dies.
    """

    max_attempts = 2

    def __init__(
        self, request: BatchRequest, found: Survey, ledger: Ledger, show: Callable[[Status], None], lock_fd: int
    ) -> None:
        self._request, self._ledger, self._show, self._lock_fd = request, ledger, show, lock_fd
        self._tasks = [Task(job, decision) for job, decision in found.todo]
        self._queue = Queue(self._tasks)
        self._long = LongVideos()
        self._num_workers = request.num_workers(num_parts(self._tasks, request, enough=request.max_workers))
        self._total = found.num_videos
        self._workers: list[AnyWorker] = []
        self._headers: HeaderReader | None = None
        self._num_failed_starts = 0
        self._start_error: PoseCliError | None = None
        self._stopped: set[str] = set()
        self._failed: set[str] = set()
        self._begin_s = monotonic()
        self._ready_s: float | None = None
        self._frames = 0
        self._next_show_s = 0.0
        self._setup = WorkerSetup(
            settings=request.settings,
            style=request.overlay_style,
            threads=request.num_threads(self._num_workers),
            command=request.command,
            parent_id=os.getpid(),
            split=request.split,
        )

    @property
    def num_left(self) -> int:
        """Videos not reached, or not finished because of an interruption."""
        return self._queue.num_whole + len((self._queue.names_of_parts() | self._stopped) - self._failed)

    def run(self) -> bool:
        """Work until nothing is left.

        Returns:
            Whether it was interrupted.

        Raises:
            PoseCliError: Not one worker can load its networks.
            OutputError: The manifest or the log cannot be written.
        """
        if not self._tasks:
            return False
        with Interruptions() as interruptions:
            try:
                for number in range(1, self._num_workers + 1):
                    self._start(number)
                self._read_headers()
                while self._is_at_work() and not interruptions.count:
                    self._step()
                self._tell_status()
                if interruptions.count:
                    self._stop(interruptions)
                return interruptions.count > 0
            finally:
                self._close()

    def _is_at_work(self) -> bool:
        return len(self._queue) > 0 or any(worker.task for worker in self._workers)

    def _step(self) -> None:
        for worker in self._workers:
            if worker.is_ready and worker.task is None and len(self._queue):
                self._hand_out(worker)
        self._listen()
        self._check_time()
        self._fill_up()
        if monotonic() >= self._next_show_s:
            self._tell_status()

    def _tell_status(self) -> None:
        """Adding up a long queue takes time: however often workers wake us up, it stays a small part of it."""
        begin_s = monotonic()
        self._show(self.status())
        end_s = monotonic()
        self._next_show_s = end_s + max(_SHOW_EVERY_S, _SHOW_SHARE * (end_s - begin_s))

    def _start(self, number: int) -> None:
        self._workers.append(self._new_worker(number))

    def _new_worker(self, number: int) -> AnyWorker:
        return Worker(number, self._setup, self._lock_fd)

    def _wait(self) -> None:
        """Until somebody has something to say, but not for long."""
        waitables = [waitable for worker in self._workers for waitable in worker.waitables]
        if self._headers is not None and not self._headers.is_done:
            waitables.append(self._headers.connection)
        wait(waitables, timeout=TICK_S)

    def _fill_up(self) -> None:
        """As many workers as there is work for."""
        busy = sum(worker.task is not None for worker in self._workers)
        wanted = min(self._num_workers, busy + len(self._queue))
        used = {worker.number for worker in self._workers}
        for number in range(1, self._num_workers + 1):
            if len(self._workers) < wanted and number not in used:
                self._start(number)

    def _read_headers(self) -> None:
        """Lengths decide the order, where there is a choice."""
        if len(self._tasks) > self._num_workers:
            videos = [task.job.video for task in self._tasks]
            self._headers = HeaderReader(videos, image_fps=self._request.settings.image_fps)

    def _hand_out(self, worker: AnyWorker) -> None:
        task = self._queue.take()
        task.attempt += 1
        self._ledger.start(task.job, worker=worker.number, attempt=task.attempt, decision=task.decision)
        worker.give(task)

    def _listen(self) -> None:
        self._wait()
        for worker in list(self._workers):
            was_alive = worker.is_alive  # asked first: what it said before its death must be heard
            for message in worker.messages():
                self._hear(worker, message)
            if not was_alive and worker in self._workers:
                self._bury(worker)
        if self._headers is not None and not self._headers.is_done:
            self._headers.receive()
            names = [task.job.name for task in self._tasks]
            self._queue.learn({names[position]: header for position, header in self._headers.found.items()})

    def _hear(self, worker: AnyWorker, message: object) -> None:
        if isinstance(message, Ready):
            self._ready_s = self._ready_s or monotonic()
            self._num_failed_starts = 0
        if isinstance(message, CannotStart):
            self._start_error, self._num_failed_starts = message.error, _MAX_FAILED_STARTS
            self._dismiss(worker, f"worker {worker.number} cannot start: {message.error.message}")
            return
        if worker.task is not None:
            has_new_stage = isinstance(message, Working) and worker.stage not in ("", message.stage)
            if has_new_stage or isinstance(message, Finished):
                self._note_stage(worker, worker.task)
        self._frames += worker.note(message)
        if isinstance(message, Finished):
            self._finish(worker, message.outcome)

    def _note_stage(self, worker: AnyWorker, task: Task) -> None:
        if worker.stage:
            self._ledger.stage(
                task.job, worker.stage, frame=worker.done, seconds=worker.stage_seconds, worker=worker.number
            )

    def _finish(self, worker: AnyWorker, outcome: Outcome) -> None:
        task = worker.take_back()
        if task is None or task.job.name in self._failed:
            return
        if outcome.is_stopped:
            self._stopped.add(task.job.name)
        elif outcome.failure is None and is_on_the_way(task, outcome):
            self._queue.add(self._long.follow(task, outcome))
        elif outcome.failure is None:
            self._ledger.done(task.job, self._long.end(task, outcome), worker=worker.number)
        elif _is_memory(outcome.failure) and task.attempt < self.max_attempts:
            self._ledger.retry(task.job, outcome.failure)
            self._queue.put_back(task, is_last=True)
            self._remove(worker)  # a new process has no memory lost in pieces
        else:
            self._fail(task, outcome.failure, seconds=outcome.seconds)

    def _bury(self, worker: AnyWorker) -> None:
        cause = worker.cause_of_death()
        task = worker.take_back()
        if task is None:
            if not worker.is_ready:
                self._num_failed_starts += 1
                self._start_error = DeviceError(
                    f"worker processes end while they load ({cause})",
                    hint="memory may have run out: give fewer --workers",
                )
            self._dismiss(worker, f"worker {worker.number} died ({cause})")
            return
        self._remove(worker)
        if task.job.name in self._failed:
            return
        remove_leftovers(task.job.files)
        failure = Failure.of("died", f"{printable(task.job.video)}: worker died ({cause})")
        if task.attempt < self.max_attempts:
            self._ledger.retry(task.job, failure)
            self._queue.put_back(task)
        else:
            self._fail(task, failure)

    def _fail(self, task: Task, failure: Failure, *, seconds: float = 0.0) -> None:
        """No other part of the video is begun; what comes of those under way is kept for the next time."""
        self._failed.add(task.job.name)
        self._queue.drop(task.job.name)
        self._ledger.fail(task.job, failure, seconds=seconds)

    def _dismiss(self, worker: AnyWorker, why: str) -> None:
        """Go on with fewer workers; without any, only if it is worth another try."""
        self._remove(worker)
        if self._workers:
            if not worker.is_ready:
                self._num_workers = min(self._num_workers, len(self._workers))
            self._ledger.remark(f"{why}; going on with {len(self._workers)}", worker=worker.number)
            return
        if self._start_error is not None and self._num_failed_starts >= _MAX_FAILED_STARTS:
            raise self._start_error
        self._ledger.remark(f"{why}; starting another", worker=worker.number)

    def _check_time(self) -> None:
        timeout_s = self._request.timeout_s
        if timeout_s is None:
            return
        for worker in [worker for worker in self._workers if worker.task and worker.seconds > timeout_s]:
            where = f" in stage {worker.stage}, frame {worker.done}" if worker.stage else ""
            task = worker.take_back()
            self._remove(worker)
            assert task is not None
            if task.job.name in self._failed:
                continue
            remove_leftovers(task.job.files)
            what = f"{printable(task.job.video)}: took longer than {timeout_s:g} s{where}"
            self._fail(task, Failure.of("timeout", what))

    def _remove(self, worker: AnyWorker) -> None:
        self._workers.remove(worker)
        worker.kill()

    def _stop(self, interruptions: Interruptions) -> None:
        """Let the workers put their journals in order; a second Ctrl-C does without."""
        for worker in self._workers:
            worker.stop()
        deadline = monotonic() + _GRACE_S
        while any(w.task for w in self._workers) and monotonic() < deadline and interruptions.count < 2:
            self._listen()
            self._show(self.status())
        self._stopped |= self._names_at_work()

    def _names_at_work(self) -> set[str]:
        return {worker.task.job.name for worker in self._workers if worker.task is not None}

    def _close(self) -> None:
        for worker in list(self._workers):
            task = worker.task
            self._remove(worker)
            if task is not None:
                remove_leftovers(task.job.files)
        if self._headers is not None and not self._headers.is_done:
            self._headers.close()

    def status(self) -> Status:
        """How it gets on."""
        tally = self._ledger.tally
        now = monotonic()
        seconds = 0.0 if self._ready_s is None else now - self._ready_s
        rate = self._frames / seconds if self._frames and seconds > 0 else None
        return Status(
            total=self._total,
            done=len(tally.done),
            failed=len(tally.failed),
            skipped=len(tally.skipped),
            left=self._queue.num_whole + len((self._queue.names_of_parts() | self._names_at_work()) - self._failed),
            frames=self._frames,
            frames_per_s=rate,
            eta_s=None if rate is None else self._frames_left() / rate,
            elapsed_s=now - self._begin_s,
            workers=tuple(map(_status_of, self._workers)),
        )

    def _frames_left(self) -> float:
        mean = self._queue.mean_frames() or (self._frames / max(1, len(self._ledger.tally.done)))
        busy = [(worker.total or mean) - worker.done for worker in self._workers if worker.task is not None]
        return self._queue.num_frames(mean) + max(0.0, sum(busy))


def _status_of(worker: AnyWorker) -> WorkerStatus:
    task = worker.task
    waiting = "waiting" if worker.is_ready else "loading"
    video = None if task is None else printable(task.job.video)
    if task is not None and task.job.part is not None:
        video = f"{video} ({task.job.part})"
    return WorkerStatus(
        number=worker.number,
        process_id=worker.process_id,
        stage=waiting if task is None else worker.stage,
        video=video,
        done=worker.done,
        total=worker.total,
        seconds=worker.seconds,
    )


def _is_memory(failure: Failure) -> bool:
    return failure.kind == "memory" or (failure.kind == "device" and "memory ran out" in failure.message)


__all__ = ["TICK_S", "LocalEngine"]
