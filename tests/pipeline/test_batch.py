"""Whole batches with real worker processes: broken files, killed workers, hung ones, Ctrl-C, and a parent killed again and again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posecli.batch.manifest import History, manifest_path
from posecli.batch.request import BatchRequest, Shard
from posecli.batch.run import run_batch
from posecli.batch.status import Status
from posecli.errors import OutputError, WeightsError
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.journal import journal_path
from posecli.pipeline.settings import AnnotateSettings

MakeVideo = Callable[..., Path]
SIZE = (96, 64)
PATIENCE_S = 240  # a busy machine


@pytest.fixture
def plain(tiny_weights: Path) -> AnnotateSettings:
    return AnnotateSettings(weights=str(tiny_weights), head_weights=None, detector="full-frame")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    return folder


def break_files(folder: Path, good: Path) -> set[str]:
    """Five ways to be no video."""
    content = good.read_bytes()
    broken = {
        "empty.mp4": b"",
        "text.mp4": b"this is no video\n" * 50,
        "cut.mp4": content[: len(content) // 2],
        "sub/noise.avi": bytes(range(256)) * 20,
        "sub/zeros.mkv": bytes(5000),
    }
    for name, data in broken.items():
        (folder / name).write_bytes(data)
    return set(broken)


def test_broken_files_cost_no_other_video_and_poses_are_those_of_annotate(
    videos: Path, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    good = [make_video(videos / name, count, SIZE) for name, count in (("a.mp4", 40), ("sub/a.mp4", 83), ("b.mov", 12))]
    broken = break_files(videos, good[0])
    out = tmp_path / "poses"
    request = BatchRequest((str(videos),), out, plain, sheet=True, workers=2, command=("posecli", "batch"))
    summary = run_batch(request, log_file=tmp_path / "log.jsonl")
    assert summary.exit_code == 3
    assert {str(Path(r["video"]).relative_to(videos)) for r in summary.tally.failed} == broken
    assert all(
        r["message"] and r["hint"] and r["exit_code"] == 5 and r["kind"] == "input" for r in summary.tally.failed
    )
    for video in good:
        name = video.relative_to(videos).with_suffix("")
        single = Outputs(tmp_path / "single.json", sheet=tmp_path / "single.png")
        annotate(video, single, plain, overwrite=True)
        assert (out / f"{name}.poses.json").read_bytes() == single.poses.read_bytes()
        assert (out / f"{name}.sheet.png").read_bytes() == (tmp_path / "single.png").read_bytes()
        report = json.loads((out / f"{name}.poses.run.json").read_text())
        assert report["command"] == ["posecli", "batch"]
        # times are those of this video, not of all the worker has done
        assert report["timings_s"]["pass1_busy"] < 5 * report["timings_s"]["pass1"] + 0.1
    content = json.loads((out / "summary.json").read_text())
    assert (content["done"], content["failed"], content["skipped"], content["frames"]) == (3, 5, 0, 135)
    assert content["failed_by_kind"] == {"input": 5}
    check_log(tmp_path / "log.jsonl")
    assert not [path for path in out.rglob(".*") if not path.name.endswith(".lock")]

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json") if path.name != "summary.json"}
    for relative in broken:
        (videos / relative).unlink()
    again = run_batch(request)
    assert (again.exit_code, len(again.tally.skipped), len(again.tally.done)) == (0, 3, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def check_log(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    stages = [line for line in lines if line["event"] == "stage" and line["stage"] == "annotate"]
    assert sorted(line["frame"] for line in stages) == [12, 40, 83]
    assert all(line["duration_s"] >= 0 and line["video"] for line in stages)
    assert sum(line["level"] == "error" for line in lines) == 5
    assert [line["event"] for line in lines][0 :: len(lines) - 1] == ["begin", "end"]


class Killer:
    """Watches a batch, and sends a signal to the worker that is at a certain video, so many times."""

    def __init__(self, name: str, *, times: int, how: signal.Signals = signal.SIGKILL) -> None:
        self._name, self._how = name, how
        self.left = times
        self._seen: set[int] = set()

    def __call__(self, status: Status) -> None:
        for worker in status.workers:
            is_it = worker.video is not None and worker.video.endswith(self._name)
            if self.left and is_it and worker.process_id is not None and worker.process_id not in self._seen:
                self._seen.add(worker.process_id)
                self.left -= 1
                os.kill(worker.process_id, self._how)


def test_a_killed_worker_costs_a_second_try_and_then_only_its_video(
    videos: Path, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    for name, count in (("once.mp4", 400), ("always.mp4", 300), ("good.mp4", 20)):
        make_video(videos / name, count, SIZE)
    once, always = Killer("once.mp4", times=1), Killer("always.mp4", times=2)
    request = BatchRequest((str(videos),), tmp_path / "poses", plain, workers=1)

    def show(status: Status) -> None:
        once(status)
        always(status)

    summary = run_batch(request, show=show)
    assert (once.left, always.left) == (0, 0)
    assert sorted(Path(record["video"]).name for record in summary.tally.done) == ["good.mp4", "once.mp4"]
    [failed] = summary.tally.failed
    assert failed["kind"] == "died"
    assert "worker died (signal 9)" in failed["message"]
    assert "--workers" in failed["hint"]
    assert summary.tally.retries == 2
    annotate(videos / "once.mp4", Outputs(tmp_path / "single.json"), plain)
    assert (tmp_path / "poses" / "once.poses.json").read_bytes() == (tmp_path / "single.json").read_bytes()


def test_a_hung_worker_is_given_up_and_its_video_goes_on_the_next_time(
    videos: Path, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    make_video(videos / "hangs.mp4", 200, SIZE)
    (videos / "empty.mp4").write_bytes(b"")
    request = BatchRequest((str(videos),), tmp_path / "poses", plain, workers=1, timeout_s=3.0)
    summary = run_batch(request, show=Killer("hangs.mp4", times=1, how=signal.SIGSTOP))
    kinds = {Path(record["video"]).name: record["kind"] for record in summary.tally.failed}
    assert kinds == {"hangs.mp4": "timeout", "empty.mp4": "input"}
    assert not [path.name for path in (tmp_path / "poses").glob(".*") if "partial" in path.name]
    (videos / "empty.mp4").unlink()
    again = run_batch(BatchRequest((str(videos),), tmp_path / "poses", plain, workers=1))
    assert (again.exit_code, len(again.tally.done)) == (0, 1)


def test_what_stops_every_video_stops_the_batch_at_once(
    videos: Path, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    make_video(videos / "a.mp4", 10, SIZE)
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(Path(plain.weights).read_bytes()[:5000])
    request = BatchRequest((str(videos),), tmp_path / "poses", AnnotateSettings(weights=str(corrupt)), workers=1)
    with pytest.raises(WeightsError, match="corrupt.safetensors"):
        run_batch(request)
    assert not (tmp_path / "poses" / "a.poses.json").exists()


def test_poses_of_others_and_of_other_settings_are_not_replaced(
    videos: Path, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    make_video(videos / "a.mp4", 10, SIZE)
    out = tmp_path / "poses"
    out.mkdir()
    (out / "a.poses.json").write_text("mine")
    request = BatchRequest((str(videos),), out, plain, workers=1)
    summary = run_batch(request)
    [failed] = summary.tally.failed
    assert (failed["kind"], failed["exit_code"]) == ("output", 7)
    assert "--overwrite" in failed["hint"]
    assert (out / "a.poses.json").read_text() == "mine"
    replaced = run_batch(BatchRequest((str(videos),), out, plain, workers=1, overwrite=True))
    assert replaced.exit_code == 0
    other = BatchRequest(
        (str(videos),),
        out,
        AnnotateSettings(weights=plain.weights, head_weights=None, detector="full-frame", mirror=True),
    )
    with pytest.raises(OutputError, match="other settings"):
        run_batch(other)


def command(videos: Path, out: Path, settings: AnnotateSettings) -> list[str]:
    options = [
        "--weights",
        settings.weights,
        "--head-weights",
        "none",
        "--detector",
        "full-frame",
        "--sheet",
        "--workers",
        "2",
    ]
    return [sys.executable, "-m", "posecli", "batch", str(videos), "--out-dir", str(out), *options]


def children_of(process_id: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == process_id and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return found


def is_running(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def progress_of(out: Path) -> int:
    """Bytes of journals, and a step for every video that was begun or finished."""
    size = 0
    with contextlib.suppress(OSError):
        size = sum(path.stat().st_size for path in out.glob(".*.journal"))
    records = History.read(manifest_path(out, Shard()))
    return size + 20_000 * (sum(1 for _ in records.all("started")) + sum(1 for _ in records.all("done")))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_batch_killed_again_and_again_ends_with_the_same_bytes(
    videos: Path, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    lengths = {"a.mp4": 700, "b.mp4": 600, "c.mp4": 150}
    for name, count in lengths.items():
        make_video(videos / name, count, SIZE)
    out = tmp_path / "poses"
    chance = random.Random(20)
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        with interrupted(command(videos, out, plain), out, chance.randrange(10_000, 120_000)) as process:
            workers = children_of(process.pid)
            assert workers
            process.send_signal(how)
            _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), said
        assert "Traceback" not in said
        wait_until(lambda pids=workers: not any(map(is_running, pids)))  # type: ignore[misc]
    assert any(journal_path(out / f"{Path(name).stem}.poses.json").exists() for name in lengths)
    done = subprocess.run(command(videos, out, plain), capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    for name in lengths:
        stem = Path(name).stem
        single = Outputs(tmp_path / "single.json", sheet=tmp_path / "single.png")
        annotate(videos / name, single, plain, overwrite=True)
        assert (out / f"{stem}.poses.json").read_bytes() == single.poses.read_bytes()
        assert (out / f"{stem}.sheet.png").read_bytes() == (tmp_path / "single.png").read_bytes()
    expected = {f"{Path(name).stem}.{end}" for name in lengths for end in ("poses.json", "poses.run.json", "sheet.png")}
    assert {path.name for path in out.iterdir()} == expected | {"manifest.jsonl", "summary.json", ".batch-1-of-1.lock"}


@contextlib.contextmanager
def interrupted(words: list[str], out: Path, steps: int) -> Iterator[subprocess.Popen[str]]:
    """A batch that has made some more steps."""
    before = progress_of(out)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: process.poll() is not None or progress_of(out) >= before + steps)
        assert process.poll() is None, "finished before it could be killed"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
