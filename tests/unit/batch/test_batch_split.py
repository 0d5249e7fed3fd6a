"""Long videos on their way: what waits, in which order, and what is told of them in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from posecli.batch.decide import Decision
from posecli.batch.headers import Header
from posecli.batch.job import Job, OutputFiles, Part
from posecli.batch.order import Queue
from posecli.batch.outcome import Outcome
from posecli.batch.pool import Task
from posecli.batch.request import BatchRequest
from posecli.batch.split import LongVideos, is_on_the_way, num_parts
from posecli.pipeline.settings import AnnotateSettings
from posecli.pipeline.stretches import SplitConfig, Stretch

STRETCHES = (Stretch(0, 0, 10), Stretch(6, 10, 20), Stretch(16, 20, None))


def make_task(folder: Path, name: str) -> Task:
    video = folder / name
    video.write_bytes(b"x" * 1000)
    return Task(Job(video, f"{name}.poses.json", OutputFiles(folder / f"{name}.poses.json")), Decision("run", "", {}))


def parts_of(task: Task, longs: LongVideos) -> list[Task]:
    return longs.follow(task, Outcome(0.5, stretches=STRETCHES))


def test_stretches_wait_by_length_and_joining_waits_for_nothing(tmp_path: Path) -> None:
    long, longs = make_task(tmp_path, "long.mp4"), LongVideos()
    queue = Queue([make_task(tmp_path, "a.mp4"), long, make_task(tmp_path, "b.mp4")])
    queue.learn(
        {
            long.job.name: Header(300.0, 9000),
            "a.mp4.poses.json": Header(150.0, 4500),
            "b.mp4.poses.json": Header(50.0, 1500),
        }
    )
    assert queue.take() is long
    queue.add(parts_of(long, longs))
    assert (len(queue), queue.num_whole, queue.names_of_parts()) == (5, 2, {long.job.name})
    assert queue.num_frames(1.0) == 9000 + 4500 + 1500
    queue.add([Task(replace(long.job, part=Part(STRETCHES, None)), long.decision)])
    taken = [queue.take() for _ in range(6)]
    names = [f"{task.job.video.name} {task.job.part}" for task in taken]
    assert names[:2] == ["long.mp4 joining", "a.mp4 None"]
    assert sorted(names[2:5]) == [f"long.mp4 {k}/3" for k in (1, 2, 3)]
    assert names[5] == "b.mp4 None"
    assert queue.names_of_parts() == set()


def test_a_video_that_failed_leaves_nothing_in_the_queue(tmp_path: Path) -> None:
    long, longs = make_task(tmp_path, "long.mp4"), LongVideos()
    other = make_task(tmp_path, "other.mp4")
    queue = Queue([other, long])
    assert {queue.take().job.name, queue.take().job.name} == {long.job.name, other.job.name}
    first, second, third = parts_of(long, longs)
    queue.add([first, second])
    queue.put_back(third, is_last=True)
    queue.put_back(other)
    queue.drop(long.job.name)
    queue.drop(long.job.name)
    assert (len(queue), queue.num_whole, queue.names_of_parts()) == (1, 1, set())
    assert queue.take() is other


def test_the_last_stretch_brings_the_joining_and_that_tells_of_all(tmp_path: Path) -> None:
    long, longs = make_task(tmp_path, "long.mp4"), LongVideos()
    parts = parts_of(long, longs)
    assert [task.job.part.position for task in parts if task.job.part] == [0, 1, 2]
    found: list[Task] = []
    for part, attempt, resumed in zip(parts, (1, 1, 2), (0, 40, 25), strict=True):
        part.attempt = attempt
        outcome = Outcome(2.0, {"resumed": resumed})
        assert is_on_the_way(part, outcome)
        assert not found
        found = longs.follow(part, outcome)
    [joining] = found
    outcome = Outcome(1.0, {"frames": 100, "resumed_at_frame": None})
    assert not is_on_the_way(joining, outcome)
    end = longs.end(joining, outcome)
    # what a second attempt found was the work of this batch
    assert end.facts == {"frames": 100, "seconds": 7.5, "resumed_at_frame": 40}
    short = make_task(tmp_path, "short.mp4")
    assert longs.end(short, outcome) is outcome


def test_workers_are_counted_by_parts_where_videos_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        def __init__(self, videos: list[Path], *, image_fps: str) -> None:
            self._count = len(videos)

        def read_all(self) -> list[Header]:
            return [Header(3000.0, 90_000), Header(10.0, 300), Header()][: self._count]

    monkeypatch.setattr("posecli.batch.split.HeaderReader", Reader)
    tasks = [make_task(tmp_path, f"{k}.mp4") for k in range(3)]
    request = BatchRequest((str(tmp_path),), tmp_path, AnnotateSettings(), workers=8, split=SplitConfig(10.0))
    assert num_parts(tasks, request, enough=8) == 5 + 1 + 1
    assert num_parts(tasks, request, enough=3) == 3
    assert num_parts(tasks, replace(request, split=None), enough=8) == 3
