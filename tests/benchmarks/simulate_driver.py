"""Whether one driver keeps up with thousands of workers: the real queue, ledger, manifest and fsync; only the workers are made up.

    python tests/benchmarks/simulate_driver.py [--jobs 100000] [--workers 2000] [--seconds 0] [--dir DIR] [--json]

A second process plays all workers: it gets jobs and sends back outcomes over a pipe, as many at a time as there are workers, each
after --seconds on average (0: at once, which shows how much the driver can do at most). The driver does for each what a batch does:
takes the longest job, notes ``started``, hands out, receives, notes ``done`` or ``failed``. Every record is on disk before the next.
--dir decides on which disk: a record is one fsync.

Latency is the time from a worker's end to the moment its record is on disk; with --seconds 0 it is mostly waiting in line.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import os
import queue
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from posecli.batch.decide import Decision
from posecli.batch.headers import Header
from posecli.batch.job import Job, OutputFiles
from posecli.batch.ledger import Ledger
from posecli.batch.log import BatchLog
from posecli.batch.manifest import History, Manifest
from posecli.batch.order import Queue
from posecli.batch.outcome import Failure, Outcome
from posecli.batch.pool import Task
from posecli.batch.request import BatchRequest
from posecli.pipeline.settings import AnnotateSettings

FAILED_PART = 0.002
TICKS = 5
NEVER = 3600.0


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        jobs: All of them.
        failed: Made to fail.
        workers: At a time.
        video_s: Mean time of a worker for a video.
        elapsed_s: From the first job handed out to the last record.
        records: In the manifest.
        records_s: A second.
        start_ms: Median time of noting ``started``.
        done_ms: Median time of noting ``done``.
        latency_ms: Median from a worker's end to its record on disk.
        latency_99_ms: 99 of 100 are faster.
        cpu_ms: Processor time of the driver for a record: what is left when the disk costs nothing.
        manifest_bytes: A video.
        memory_bytes: Growth of the driver's resident memory while it works, a video: records kept for the summary.
        plan_bytes: The same for jobs and queue, before.
        status_ms: Processor time of counting what is left, done at every tick, with all jobs in the queue.
        sort_ms: That of taking a job after a header has come, with all jobs in the queue.
        read_s: Processor time of reading the manifest, as the next batch does.
        read_bytes: Memory that takes, a video.
    """

    jobs: int
    failed: int
    workers: int
    video_s: float
    elapsed_s: float
    records: int
    records_s: float
    start_ms: float
    done_ms: float
    latency_ms: float
    latency_99_ms: float
    cpu_ms: float
    manifest_bytes: float
    memory_bytes: float
    plan_bytes: float
    status_ms: float
    sort_ms: float
    read_s: float
    read_bytes: float


def outcome_of(job: int, seconds: float) -> Outcome:
    """An outcome as large as a real one; some fail."""
    chance = random.Random(job)
    if chance.random() < FAILED_PART:
        return Outcome(
            seconds, failure=Failure.of("input", f"video{job}.mp4: no picture could be decoded", exit_code=5)
        )
    facts: dict[str, Any] = {
        "frames": 18000,
        "people": 3,
        "poses": 27000,
        "resumed_at_frame": None,
        "warnings": [],
        "notes": [],
        "timings_s": {stage: round(chance.random() * 100, 3) for stage in ("pass1", "pass2", "write")},
        "input": {"num_bytes": 214_500_000, "mtime_ns": time.time_ns()},
        "sha256": f"{chance.getrandbits(256):064x}",
        "stamp": {"num_bytes": 33_700_000, "mtime_ns": time.time_ns(), "sha256": f"{chance.getrandbits(256):064x}"},
    }
    return Outcome(seconds, facts)


def play_workers(connection: Connection, video_s: float) -> None:
    """All workers in one process: gets numbers of jobs, sends (job, when it ended, outcome); ``None`` ends it."""
    arrived: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, arrived), daemon=True).start()
    busy: list[tuple[float, int]] = []
    while True:
        wait_s = busy[0][0] - time.monotonic() if busy else NEVER
        try:
            job = arrived.get(timeout=max(0.0, wait_s)) if wait_s > 0 else arrived.get_nowait()
        except queue.Empty:
            end_s, job = heapq.heappop(busy)
            connection.send((job, max(end_s, time.monotonic()), outcome_of(job, video_s)))
            continue
        if job is None:
            return
        spread = 0.5 + random.Random(-1 - job).random()
        heapq.heappush(busy, (time.monotonic() + video_s * spread, job))


def _receive(connection: Connection, arrived: queue.SimpleQueue[int | None]) -> None:
    """Always ready to take a job, so that two full pipes never wait for each other."""
    job: int | None = 0
    while job is not None:
        job = connection.recv()
        arrived.put(job)


class Driver:
    """What `posecli.batch.engine` does with jobs and messages, without processes to look after.

    Args:
        tasks: All jobs.
        ledger: Of the batch.
        connection: To the process that plays the workers.
        num_workers: At a time.
    """

    def __init__(self, tasks: Sequence[Task], ledger: Ledger, connection: Connection, num_workers: int) -> None:
        self._numbers = {task.job.name: number for number, task in enumerate(tasks)}
        self._tasks, self._ledger, self._connection = tasks, ledger, connection
        self.queue = Queue(tasks)
        self._idle, self._busy = num_workers, 0
        self.start_s: list[float] = []
        self.done_s: list[float] = []
        self.latencies_s: list[float] = []

    def run(self) -> None:
        """Until nothing is left."""
        while self._busy or len(self.queue):
            while self._idle and len(self.queue):
                self._hand_out()
                if self._connection.poll():
                    break  # a pipe of one machine holds little: hear before more is said
            if self._connection.poll(1.0):
                self._hear()

    def _hand_out(self) -> None:
        task = self.queue.take()
        task.attempt += 1
        begin = time.perf_counter()
        self._ledger.start(task.job, worker=1, attempt=task.attempt, decision=task.decision)
        self.start_s.append(time.perf_counter() - begin)
        self._connection.send(self._numbers[task.job.name])
        self._idle, self._busy = self._idle - 1, self._busy + 1

    def _hear(self) -> None:
        number, end_s, outcome = self._connection.recv()
        job = self._tasks[number].job
        begin = time.perf_counter()
        if outcome.failure is None:
            self._ledger.done(job, outcome, worker=1)
        else:
            self._ledger.fail(job, outcome.failure, seconds=outcome.seconds)
        self.done_s.append(time.perf_counter() - begin)
        self.latencies_s.append(time.monotonic() - end_s)
        self._idle, self._busy = self._idle + 1, self._busy - 1


def simulate(folder: Path, *, jobs: int, workers: int, video_s: float) -> Figures:
    """Run all jobs through a driver.

    Args:
        folder: Empty; on the disk to be measured.
        jobs: How many.
        workers: How many at a time.
        video_s: Mean time of a worker for a video, s; each takes between half and one and a half of it.
    """
    request = BatchRequest((str(folder),), folder, AnnotateSettings())
    _ = request.settings_hash  # reads weights; not part of the work
    before = resident_bytes()
    tasks = make_tasks(folder, jobs)
    status_ms, sort_ms = time_queue(tasks)
    ours, theirs = multiprocessing.Pipe()
    path = folder / "manifest.jsonl"
    process = multiprocessing.get_context("spawn").Process(target=play_workers, args=(theirs, video_s), daemon=True)
    process.start()
    theirs.close()
    with Manifest(path) as manifest:
        ledger = Ledger(request, manifest, BatchLog(None), lambda record: None)
        driver = Driver(tasks, ledger, ours, workers)
        planned = resident_bytes()
        begin, cpu = time.perf_counter(), time.process_time()
        driver.run()
        elapsed, cpu = time.perf_counter() - begin, time.process_time() - cpu
    ours.send(None)
    process.join()
    after = resident_bytes()
    tally = ledger.tally
    if len(tally.done) + len(tally.failed) != jobs:
        raise SystemExit(f"{jobs} jobs, but {len(tally.done)} done and {len(tally.failed)} failed were noted")
    begin = time.process_time()
    history = History.read(path)
    read_s = time.process_time() - begin
    records = sum(len(list(history.all(event))) for event in ("started", "done", "failed"))
    return Figures(
        jobs=jobs,
        failed=len(tally.failed),
        workers=workers,
        video_s=video_s,
        elapsed_s=elapsed,
        records=records,
        records_s=records / elapsed,
        start_ms=1000 * quantile(driver.start_s, 0.5),
        done_ms=1000 * quantile(driver.done_s, 0.5),
        latency_ms=1000 * quantile(driver.latencies_s, 0.5),
        latency_99_ms=1000 * quantile(driver.latencies_s, 0.99),
        cpu_ms=1000 * cpu / records,
        manifest_bytes=path.stat().st_size / jobs,
        memory_bytes=(after - planned) / jobs,
        plan_bytes=(planned - before) / jobs,
        status_ms=status_ms,
        sort_ms=sort_ms,
        read_s=read_s,
        read_bytes=(resident_bytes() - after) / jobs,
    )


def make_tasks(folder: Path, jobs: int) -> list[Task]:
    """Jobs of one small video, so that looking at it costs what it costs; their poses are never there."""
    video = folder / "video.mp4"
    video.write_bytes(bytes(1000))
    names = [f"site{number % 100:02d}/camera{number:09d}.mp4.poses.json" for number in range(jobs)]
    return [Task(Job(video, name, OutputFiles(folder / name)), Decision("run", "not done yet", {})) for name in names]


def time_queue(tasks: Sequence[Task]) -> tuple[float, float]:
    """Processor time, ms, of counting what is left, and of taking a job after news, with all jobs in the queue."""
    jobs = Queue(tasks)
    headers = {task.job.name: Header(600.0 + number % 7, 18000) for number, task in enumerate(tasks)}
    jobs.learn(headers)
    begin = time.process_time()
    for _ in range(TICKS):
        jobs.num_frames(jobs.mean_frames() or 1.0)
    status_s = (time.process_time() - begin) / TICKS
    begin = time.process_time()
    jobs.take()
    return 1000 * status_s, 1000 * (time.process_time() - begin)


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which a part of all values lie.

    Raises:
        ValueError: There are none.
    """
    if not values:
        raise ValueError("no values, no quantile")
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def report(found: Figures) -> str:
    """For people."""
    utmost = found.video_s == 0
    lines = [
        (
            "jobs, of which failed; workers; seconds a video",
            f"{found.jobs:,}, {found.failed}; {found.workers:,}; {found.video_s:g}",
        ),
        ("manifest records; elapsed", f"{found.records:,}; {found.elapsed_s:.1f} s"),
        ("manifest records a second" + (" (as fast as it can)" if utmost else ""), f"{found.records_s:,.0f}"),
        ("noting `started`; `done` (median)", f"{found.start_ms:.2f} ms; {found.done_ms:.2f} ms"),
        (
            "from a worker's end to its record on disk: median; 99 %",
            f"{found.latency_ms:.1f} ms; {found.latency_99_ms:.1f} ms",
        ),
        ("driver's processor time, a record", f"{found.cpu_ms:.2f} ms"),
        ("manifest, a video", f"{found.manifest_bytes:,.0f} bytes"),
        (
            "driver's memory, a video: jobs and queue; records kept",
            f"{found.plan_bytes:,.0f}; {found.memory_bytes:,.0f} bytes",
        ),
        (
            "all jobs queued: counting what is left; taking one after news",
            f"{found.status_ms:.1f} ms; {found.sort_ms:.1f} ms",
        ),
        ("reading the manifest again", f"{found.read_s:.1f} s; {found.read_bytes:,.0f} bytes a video"),
    ]
    if utmost:
        lines += [
            (
                f"so {found.workers:,} workers need videos of at least",
                f"{2 * found.workers / found.records_s:.1f} s each",
            ),
            (
                "so workers of 10 s; 60 s; 600 s a video",
                "; ".join(f"{found.records_s * s / 2:,.0f}" for s in (10, 60, 600)),
            ),
        ]
    return "".join(
        f"| {what} | {value} |\n"
        for what, value in [("", f"load average {os.getloadavg()[0]:.1f}"), ("---", "---"), *lines]
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--dir", type=Path, help="on the disk to be measured; a folder is made in it and removed")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.dir) as name:
        found = simulate(Path(name), jobs=chosen.jobs, workers=chosen.workers, video_s=chosen.seconds)
    sys.stdout.write(json.dumps(asdict(found), indent=2) + "\n" if chosen.json else report(found))


if __name__ == "__main__":
    main()
