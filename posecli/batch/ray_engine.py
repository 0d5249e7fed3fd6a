"""A batch on Ray: one actor call a video, networks kept in each actor, death and timeouts handled as by the local engine.

The driver (this process) alone writes the manifest, the log and the summary; workers write the outputs of their video. So videos and
output folder must lie on a file system that all nodes share under the same paths; a worker that does not see the output folder, or
has other weights or another posecli, is refused before it gets a video. A long video is several calls (`posecli.batch.split`): a dead
worker costs no more than the chunk of the stretch it was at, which goes on from its journal elsewhere.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import posecli
from posecli.batch.engine import TICK_S, LocalEngine
from posecli.batch.job import Job
from posecli.batch.ledger import Ledger
from posecli.batch.lock import lock_path
from posecli.batch.pool import AnyWorker
from posecli.batch.ray_actor import Annotator, Greeting, RaySetup
from posecli.batch.ray_cluster import Node, connected, list_nodes
from posecli.batch.request import BatchRequest, num_cores
from posecli.batch.run import EngineMaker
from posecli.batch.split import num_parts
from posecli.batch.status import Status
from posecli.batch.survey import Survey
from posecli.batch.worker import Ready
from posecli.errors import ConfigError, DeviceError

_THREADS_ON_A_CLUSTER = 2
_LAST_LOOK_S = 2.0
_LOOK_EVERY_S = 0.5
_LOOKS_PER_S = 200.0  # of all workers together
_PATIENCE_S = 60.0
_TALK = "talk"  # calls that do not wait for the video to end


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where the work is done.

    Attributes:
        address: Of a cluster, see `posecli.batch.ray_cluster.connected`; ``None``: Ray is started on this machine, for this batch.
        gpus_per_task: Part of a GPU that a worker gets; ``None``: one on a GPU device, else none.

    Raises:
        ConfigError: That is no part.
    """

    address: str | None = None
    gpus_per_task: float | None = None

    def __post_init__(self) -> None:
        if self.gpus_per_task is not None and not 0 < self.gpus_per_task <= 1:
            raise ConfigError(f"gpus per task is {self.gpus_per_task:g}, it must be above 0 and at most 1")

    def gpus(self, device: str) -> float:
        """What a worker asks Ray for.

        Raises:
            ConfigError: The device does not go with it.
        """
        if device == "cpu":
            if self.gpus_per_task is not None:
                raise ConfigError("a part of a GPU, but the device is cpu", hint="add --device cuda")
            return 0.0
        if device != "cuda":
            raise ConfigError(f"device {device}: Ray decides which GPU a worker gets", hint="--device cuda")
        return 1.0 if self.gpus_per_task is None else self.gpus_per_task


def ray_engine(options: RayOptions) -> EngineMaker:
    """For `posecli.batch.run.run_batch`."""
    return partial(RayEngine, options=options)


class RayWorker(AnyWorker):
    """An actor somewhere in the cluster.

    Args:
        number: For people, from 1.
        actor: Its handle.
        ray: The module.
    """

    def __init__(self, number: int, actor: Any, ray: Any) -> None:
        super().__init__(number)
        self._ray, self._actor = ray, actor
        self._call: Any = actor.load.remote()
        self._look: Any = None
        self._looked_s = monotonic()
        self._heard: deque[object] = deque()
        self._greeting: Greeting | None = None
        self._cause: str | None = None

    @property
    def waitables(self) -> list[Connection | int]:
        """None that the operating system knows."""
        return []

    @property
    def answers(self) -> list[Any]:
        """What `ray.wait` may wait for."""
        return [answer for answer in (self._call, self._look) if answer is not None]

    @property
    def process_id(self) -> int | None:
        """On the machine where it runs."""
        return None if self._greeting is None else self._greeting.process_id

    @property
    def is_alive(self) -> bool:
        """Whether no call has failed so far."""
        return self._cause is None

    def look(self, *, every_s: float) -> None:
        """Ask how far it is, if it is at work and was not asked just now."""
        now = monotonic()
        if self.task is not None and self._look is None and now - self._looked_s >= every_s:
            self._look, self._looked_s = self._beside("look"), now

    def receive(self, ready: Collection[Any]) -> None:
        """Take the answers that have come."""
        if self._call is not None and self._call in ready:
            call, self._call = self._call, None
            if self._look is not None:  # it belongs to the video that is over
                self._take_look()
            self._take_call(call)
        elif self._look is not None and self._look in ready:
            self._take_look()

    def messages(self) -> Iterator[object]:
        """What it has said."""
        while self._heard:
            yield self._heard.popleft()

    def cause_of_death(self) -> str:
        """In a few words."""
        return self._cause or "not known"

    def stop(self) -> None:
        """Ask it to end its video early."""
        if self.task is not None:
            self._beside("stop")

    def kill(self) -> None:
        """End its process."""
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(self._actor, no_restart=True)

    def _send(self, job: Job) -> None:
        self._call = self._actor.annotate.remote(job)
        self._looked_s = monotonic()

    def _beside(self, name: str) -> Any:
        return getattr(self._actor, name).options(concurrency_group=_TALK).remote()

    def _take_call(self, call: Any) -> None:
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            self._cause = self._explain(error)
            return
        if isinstance(answer, Greeting):
            self._greeting = answer
            self._heard.append(Ready())
        else:
            self._heard.extend(answer if isinstance(answer, list) else [answer])

    def _take_look(self) -> None:
        """A lost one costs a line of progress; if the worker is dead, the call will say so."""
        answer, self._look = self._look, None
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._heard.extend(self._ray.get(answer, timeout=_LAST_LOOK_S))

    def _explain(self, error: Exception) -> str:
        """Ray's reasons are pages."""
        text = str(error)
        where = "" if self._greeting is None else f" {self._greeting.process_id} on {self._greeting.host}"
        if "No module named 'posecli" in text:
            return "posecli is not installed on that Ray node"
        if "low on memory" in text or isinstance(error, self._ray.exceptions.OutOfMemoryError):
            return f"process{where} was killed by Ray, its node was low on memory"
        if "node has died" in text or "node was dead" in text or "node died" in text:
            return f"process{where} was lost with its node"
        if isinstance(error, self._ray.exceptions.RayActorError):
            return f"process{where} has ended"
        return f"process{where}: {type(error).__name__}: {text.strip().splitlines()[-1][:200]}"


class RayEngine(LocalEngine):
    """Does what a survey found, on Ray.

    A worker that dies is replaced by Ray wherever there is room, and its video tried again from its journal, three times in all:
    machines of a cluster go for reasons that are not the video's.

    Args:
        request: What the user wants.
        found: What there is to do.
        ledger: Is told everything.
        show: Called a few times a second.
        lock_fd: Held by this process alone.
        options: Where.
    """

    max_attempts = 3

    def __init__(
        self,
        request: BatchRequest,
        found: Survey,
        ledger: Ledger,
        show: Callable[[Status], None],
        lock_fd: int,
        *,
        options: RayOptions,
    ) -> None:
        super().__init__(request, found, ledger, show, lock_fd)
        self._options = options
        self._gpus = options.gpus(request.settings.device)
        self._ray: Any = None
        self._actors: Any = None
        self._ray_setup: RaySetup | None = None
        self._has_complained = False

    def run(self) -> bool:
        """Connect, work until nothing is left, disconnect.

        Returns:
            Whether it was interrupted.

        Raises:
            PoseCliError: Ray is missing or cannot be reached, has no room for a worker, or no worker can load its networks.
            OutputError: The manifest or the log cannot be written.
        """
        if not self._tasks:
            return False
        is_local = self._options.address is None
        num_cpus = max(num_cores(), self._num_workers * self._setup.threads) if is_local else None
        try:
            with connected(self._options.address, num_cpus=num_cpus) as ray:
                self._prepare(ray)
                return super().run()
        except KeyboardInterrupt:  # while it was connecting: Ray would not let itself be asked
            return True

    def _prepare(self, ray: Any) -> None:
        nodes = list_nodes(ray)
        threads = self._size(nodes)
        self._ray = ray
        self._setup = replace(self._setup, threads=threads)
        request = self._request
        self._ray_setup = RaySetup(
            worker=self._setup,
            request=request,
            settings_hash=request.settings_hash,
            folder=Path.cwd(),
            proof=lock_path(request.out_dir, request.shard).absolute(),
            version=posecli.__version__,
            is_offline=bool(os.environ.get("POSECLI_OFFLINE")),
        )
        actor_class = ray.remote(concurrency_groups={_TALK: 1})(Annotator)
        self._actors = actor_class.options(num_cpus=threads, num_gpus=self._gpus, max_restarts=0, max_task_retries=0)

    def _size(self, nodes: list[Node]) -> int:
        """Decide how many workers there are; their CPU threads."""
        request = self._request
        is_cluster = self._options.address is not None
        most = max((node.cpus for node in nodes if node.is_alive), default=0.0)
        threads = self._setup.threads
        if is_cluster:
            threads = request.threads or max(1, min(_THREADS_ON_A_CLUSTER, int(most)))
        rooms = sum(node.rooms(cpus=threads, gpus=self._gpus) for node in nodes)
        if not rooms:
            wanted = f"{threads} CPUs" + (f" and {self._gpus:g} GPUs" if self._gpus else "")
            raise DeviceError(
                f"no Ray node has {wanted}, which a worker needs",
                hint="fewer --threads, or --device cpu; see: ray status",
            )
        if is_cluster or self._gpus:
            most_workers = request.workers or rooms
            self._num_workers = min(most_workers, num_parts(self._tasks, request, enough=most_workers))
        return threads

    def _new_worker(self, number: int) -> AnyWorker:
        return RayWorker(number, self._actors.remote(self._ray_setup), self._ray)

    def _wait(self) -> None:
        workers = [worker for worker in self._workers if isinstance(worker, RayWorker)]
        for worker in workers:
            worker.look(every_s=max(_LOOK_EVERY_S, len(workers) / _LOOKS_PER_S))
        answers = [answer for worker in workers for answer in worker.answers]
        if not answers:
            sleep(TICK_S)
            return
        ready, _ = self._ray.wait(answers, num_returns=1, timeout=TICK_S)
        if ready:
            ready, _ = self._ray.wait(answers, num_returns=len(answers), timeout=0)
        come = set(ready)
        for worker in workers:
            worker.receive(come)
        self._complain()

    def _complain(self) -> None:
        """A full cluster looks like a hung one."""
        if self._ready_s is None and not self._has_complained and monotonic() - self._begin_s > _PATIENCE_S:
            self._has_complained = True
            self._ledger.remark(f"no Ray worker is ready after {_PATIENCE_S:g} s; is the cluster busy? see: ray status")


__all__ = ["RayEngine", "RayOptions", "RayWorker", "ray_engine"]
