"""The parts of a batch by themselves: headers, order, one video with loaded networks, failures in words, the log."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from posecli.batch import headers as headers_module
from posecli.batch.decide import Decision
from posecli.batch.forecast import _makespan
from posecli.batch.headers import Header, HeaderReader
from posecli.batch.job import Job, OutputFiles
from posecli.batch.log import BatchLog
from posecli.batch.order import Queue
from posecli.batch.outcome import Failure, failure_of
from posecli.batch.pool import Task, Worker
from posecli.batch.task import StopAsked, annotate_job, remove_leftovers, throttled
from posecli.batch.worker import Ready, Working
from posecli.crew import Crew
from posecli.errors import DeviceError, OutputError, VideoError
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.journal import journal_path
from posecli.pipeline.models import Models, load_models
from posecli.pipeline.settings import AnnotateSettings

MakeVideo = Callable[..., Path]


def test_headers_are_read_around_what_breaks_the_reader(tmp_path: Path, make_video: MakeVideo) -> None:
    good = make_video(tmp_path / "good.mp4", 50, (64, 48))
    (tmp_path / "text.mp4").write_text("no video")
    # more than a pipe holds: the reader cannot come to its end before it is killed
    videos = [good, tmp_path / "text.mp4", *[good] * 1000]
    reader = HeaderReader(videos, image_fps="30")
    while len(reader.found) < 2:
        reader.receive()
    process = reader._process
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    found = reader.read_all()
    assert len(found) == len(videos)
    lost = [i for i, header in enumerate(found) if header != Header(2.0, 50)]
    assert len(lost) == 2 and 1 in lost  # the text, and the one that was being read
    assert reader.connection.closed


def test_headers_that_never_come_are_given_up(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = make_video(tmp_path / "good.mp4", 50, (64, 48))
    reader = HeaderReader([good, good], image_fps="30")
    assert reader._process.pid is not None
    os.kill(reader._process.pid, signal.SIGSTOP)  # long before it has imported anything
    monkeypatch.setattr(headers_module, "_PATIENCE_S", 0.2)
    while not reader.found:
        sleep(0.05)
        reader.receive()
    monkeypatch.setattr(headers_module, "_PATIENCE_S", 60.0)
    assert reader.read_all() == [Header(), Header(2.0, 50)]


def make_task(folder: Path, name: str, size: int) -> Task:
    video = folder / f"{name}.mp4"
    video.write_bytes(bytes(size))
    return Task(Job(video, name, OutputFiles(folder / f"{name}.poses.json")), Decision("run", "", {}))


def test_the_longest_goes_first_by_header_or_else_by_size(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path, name, size) for name, size in (("a", 100), ("b", 900), ("c", 500), ("d", 300))]
    assert [Queue(tasks).take().job.name] == ["b"]
    queue = Queue(tasks)
    # b is large but short: 10 bytes a second is what the others look like, so d is thought to last 30 s
    queue.learn({"a": Header(60.0, 1500), "b": Header(1.0, 25), "c": Header(89.0, None)})
    assert queue.mean_frames() == pytest.approx(762.5)
    assert queue.num_frames(100.0) == 1500 + 25 + 100 + 100
    order = [queue.take() for _ in range(3)]
    assert [task.job.name for task in order] == ["c", "a", "d"]
    order[0].attempt = 1
    queue.put_back(order[0])
    queue.put_back(order[1], is_last=True)
    assert [queue.take().job.name for _ in range(3)] == ["c", "b", "a"]
    assert len(queue) == 0


def test_the_time_of_all_is_that_of_the_last_worker() -> None:
    assert _makespan([5.0, 4.0, 3.0, 3.0, 3.0], 2) == 10.0
    assert _makespan([5.0], 4) == 5.0


@pytest.fixture
def models(tiny_weights: Path) -> Iterator[Models]:
    with Crew(1) as crew:
        yield load_models(AnnotateSettings(weights=str(tiny_weights), head_weights=None, detector="full-frame"), crew)


def make_job(video: Path, poses: Path) -> Job:
    return Job(video, poses.name, OutputFiles(poses))


def test_one_load_serves_many_videos_as_if_each_were_alone(
    tmp_path: Path, make_video: MakeVideo, models: Models
) -> None:
    for name, count in (("first", 40), ("second", 23)):
        video = make_video(tmp_path / f"{name}.mp4", count, (96, 64))
        outcome = annotate_job(make_job(video, tmp_path / "deep" / name / "x.json"), models)
        assert outcome.failure is None
        assert (outcome.facts["frames"], outcome.facts["people"]) == (count, 1)
        annotate(video, Outputs(tmp_path / f"{name}.json"), models.settings)
        assert (tmp_path / "deep" / name / "x.json").read_bytes() == (tmp_path / f"{name}.json").read_bytes()
        busy = outcome.facts["timings_s"]["pass1_busy"]
        assert 0 < busy <= outcome.seconds


def test_a_stop_keeps_the_journal_and_the_next_attempt_goes_on(
    tmp_path: Path, make_video: MakeVideo, models: Models
) -> None:
    job = make_job(make_video(tmp_path / "v.mp4", 200, (96, 64)), tmp_path / "p.json")

    def stop(stage: str, done: int, total: int | None, speeds: object) -> None:
        if done > 100:
            raise StopAsked

    outcome = annotate_job(job, models, progress=stop)
    assert outcome.is_stopped
    assert journal_path(job.files.poses).exists()
    assert not job.files.poses.exists()
    assert annotate_job(job, models).facts["resumed_at_frame"] == 60


def test_every_end_is_told(tmp_path: Path, make_video: MakeVideo, models: Models) -> None:
    video = make_video(tmp_path / "v.mp4", 30, (96, 64))

    def touch(stage: str, done: int, total: int | None, speeds: object) -> None:
        if stage == "finish":
            os.utime(video, (1, 1))

    def no_memory(stage: str, done: int, total: int | None, speeds: object) -> None:
        raise MemoryError

    def mistake(stage: str, done: int, total: int | None, speeds: object) -> None:
        raise ZeroDivisionError("in the middle")

    kinds = {}
    for name, progress in (("touch", touch), ("memory", no_memory), ("bug", mistake)):
        failure = annotate_job(make_job(video, tmp_path / f"{name}.json"), models, progress=progress).failure
        assert failure is not None
        kinds[name] = failure.kind
        assert failure.message and failure.hint
        assert (failure.detail is not None) == (name == "bug")
    assert kinds == {"touch": "changed", "memory": "memory", "bug": "bug"}
    (tmp_path / "file").touch()
    failure = annotate_job(make_job(video, tmp_path / "file" / "p.json"), models).failure
    assert failure is not None
    assert (failure.kind, failure.exit_code) == ("output", 7)
    gone = annotate_job(make_job(tmp_path / "gone.mp4", tmp_path / "p.json"), models).failure
    assert gone is not None
    assert (gone.kind, gone.exit_code) == ("input", 5)


def test_failures_speak_in_one_line_with_a_remedy() -> None:
    with_hint = failure_of(VideoError("x.mp4: is\nodd", hint="look\nat it"))
    assert (with_hint.kind, with_hint.message, with_hint.hint, with_hint.exit_code) == (
        "input",
        "x.mp4: is\\nodd",  # shown, so that nothing in a name can start a line of its own
        "look\\nat it",
        5,
    )
    assert failure_of(VideoError("odd")).hint
    assert failure_of(DeviceError("gone")).kind == "device"
    assert failure_of(PermissionError(13, "Permission denied", "x")).message == "x: Permission denied"
    assert Failure.of("died", "x").exit_code == 1


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path / "a[1].poses.json", overlay=tmp_path / "a[1].overlay.mp4")
    ours = [
        ".a[1].poses.0123abcd.partial.json",
        ".a[1].overlay.mp4.0123abcd.probe",
        ".a[1].overlay.89abcdef.partial.mp4",
    ]
    others = [".a1.poses.0123abcd.partial.json", ".a[1].poses.nothexad.partial.json", ".a[1].poses.json.journal"]
    for name in (*ours, *others):
        (tmp_path / name).touch()
    remove_leftovers(files)
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_progress_is_told_seldom_but_first_and_last() -> None:
    told: list[tuple[str, int]] = []
    progress = throttled(lambda stage, done, total: told.append((stage, done)), every_s=1000.0)
    for done in (5, 10, 15):
        progress("annotate", done, 15, {})
    progress("finish", 0, None, {})
    progress("overlay", 1, 15, {})
    assert told == [("annotate", 5), ("annotate", 15), ("finish", 0), ("overlay", 1)]


def test_frames_of_an_earlier_run_do_not_count() -> None:
    worker = Worker.__new__(Worker)
    worker.stage, worker.done, worker.is_ready = "", 0, False
    worker._stage_s = monotonic()
    assert worker.note(Ready()) == 0
    assert worker.is_ready
    assert [worker.note(Working("annotate", done, 900)) for done in (500, 520, 580)] == [0, 20, 60]
    assert worker.note(Working("overlay", 700, 900)) == 0
    worker.stage = ""
    assert [worker.note(Working("annotate", done, 900)) for done in (5, 20)] == [5, 15]


def test_the_log_is_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        with BatchLog(path) as log:
            log.write("info", "stage", video="a\nb", stage="annotate", frame=3, duration_s=1.23456, worker=None)
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["duration_s"] == 1.235
    assert "worker" not in second
    with pytest.raises(OutputError, match="cannot be written"):
        BatchLog(tmp_path / "nowhere" / "log")
    with BatchLog(Path("/dev/full")) as log, pytest.raises(OutputError, match="No space"):
        log.write("info", "begin")
