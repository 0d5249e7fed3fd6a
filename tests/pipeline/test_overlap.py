"""Stages that overlap: the same bytes, no thread left behind, errors and interruptions that come out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from posecli.errors import VideoError
from posecli.pipeline import first_pass as first_pass_module
from posecli.pipeline import models as models_module
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.journal import journal_path
from posecli.pipeline.settings import AnnotateSettings
from posecli.records import Detections, Frame
from posecli.video.file_source import FileSource

MakeVideo = Callable[..., Path]
DetectWith = Callable[[Callable[[int, int], bool]], None]
_PATIENCE_S = 60.0


@pytest.fixture
def video(tmp_path: Path, make_video: MakeVideo) -> Path:
    return make_video(tmp_path / "clip.mp4", 83, (96, 64))


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    opencv_threads = cv2.getNumThreads()
    yield
    assert [thread.name for thread in set(threading.enumerate()) - before if "posecli-helper" in thread.name] == []
    assert cv2.getNumThreads() == opencv_threads


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    """A test that waits for ever is interrupted."""
    import _thread

    timer = threading.Timer(_PATIENCE_S, _thread.interrupt_main)
    timer.start()
    yield
    timer.cancel()
    timer.join()


@pytest.mark.parametrize(
    ("changes", "most_threads"),
    [
        ({}, 3),
        ({"hop": 3, "detect_every": 7}, 2),
        ({"mode": "key", "end_s": 1.0}, 2),
        ({"start_s": 1.0, "end_s": 2.0}, 2),
    ],
)
def test_the_number_of_threads_changes_no_byte(
    video: Path,
    tmp_path: Path,
    settings: AnnotateSettings,
    detect_with: DetectWith,
    changes: Mapping[str, object],
    most_threads: int,
) -> None:
    detect_with(lambda person, index: person == 0 or 20 < index < 60)
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    written = []
    for num_threads in range(1, most_threads + 1):
        torch.set_num_threads(num_threads)
        path = tmp_path / f"{num_threads}.json"
        annotate(video, Outputs(path), settings)
        assert torch.get_num_threads() == num_threads
        written.append(path.read_bytes())
    assert all(content == written[0] for content in written)


@pytest.mark.parametrize("after", [45, 83])
def test_a_run_killed_with_two_threads_goes_on_with_one(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith, after: int
) -> None:
    detect_with(lambda person, index: True)
    settings = replace(settings, hop=3)
    annotate(video, Outputs(tmp_path / "whole.json"), settings)

    def interrupt(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        if stage == "annotate" and done >= after:
            raise KeyboardInterrupt

    outputs = Outputs(tmp_path / "killed.json")
    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt):
        annotate(video, outputs, settings, progress=interrupt)
    assert [t for t in threading.enumerate() if "posecli-helper" in t.name] == []
    assert journal_path(outputs.poses).exists()
    torch.set_num_threads(1)
    assert annotate(video, outputs, settings).resumed_at_frame is not None
    assert outputs.poses.read_bytes() == (tmp_path / "whole.json").read_bytes()


class FailingDetector:
    """Sees nobody, and breaks at one frame."""

    name = "failing"

    def __init__(self, at: int, error: Exception) -> None:
        self.at, self.error = at, error

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Nobody."""
        if any(frame.index >= self.at for frame in frames):
            raise self.error
        return [Detections(frame.index, np.zeros((0, 4), np.float32), np.zeros(0, np.float32)) for frame in frames]


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_an_error_of_the_detector_comes_out_as_it_was(
    video: Path, tmp_path: Path, settings: AnnotateSettings, monkeypatch: pytest.MonkeyPatch, num_threads: int
) -> None:
    error = ZeroDivisionError("in a helper")
    monkeypatch.setattr(models_module, "load_detector", lambda settings: FailingDetector(42, error))
    torch.set_num_threads(num_threads)
    done: list[int] = []
    with pytest.raises(ZeroDivisionError) as caught:
        annotate(
            video,
            Outputs(tmp_path / "poses.json"),
            settings,
            progress=lambda stage, count, total, speeds: done.append(count),
        )
    assert caught.value is error
    assert done[-1] == 40  # everything before it is there


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_of_the_decoder_comes_out_as_it_was(
    video: Path,
    tmp_path: Path,
    settings: AnnotateSettings,
    detect_with: DetectWith,
    monkeypatch: pytest.MonkeyPatch,
    num_threads: int,
) -> None:
    detect_with(lambda person, index: True)
    real = FileSource.frames

    def broken(self: FileSource) -> Iterator[Frame]:
        for frame in real(self):
            if frame.index == 33:
                raise VideoError("clip.mp4: frame 33 is on fire")
            yield frame

    monkeypatch.setattr(FileSource, "frames", broken)
    torch.set_num_threads(num_threads)
    with pytest.raises(VideoError, match="frame 33 is on fire"):
        annotate(video, Outputs(tmp_path / "poses.json"), settings)
    assert not (tmp_path / "poses.json").exists()


def test_whoever_goes_ahead_does_not_go_far(
    tmp_path: Path,
    make_video: MakeVideo,
    settings: AnnotateSettings,
    detect_with: DetectWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory must stay flat however slow the poses are."""
    detect_with(lambda person, index: False)
    video = make_video(tmp_path / "long.mp4", 200, (96, 64))
    decoded, most = 0, 0
    real = FileSource.frames

    def counted(self: FileSource) -> Iterator[Frame]:
        nonlocal decoded
        for frame in real(self):
            decoded += 1
            yield frame

    def slow(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        nonlocal most
        if stage == "annotate":
            time.sleep(0.01)
            most = max(most, decoded - done)

    monkeypatch.setattr(FileSource, "frames", counted)
    torch.set_num_threads(2)
    annotate(video, Outputs(tmp_path / "poses.json"), settings, progress=slow)
    assert decoded == 200
    assert 5 <= most <= 20


def test_a_slow_helper_cannot_hold_up_an_interruption(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the picture under way is waited for, not the rest of the window."""
    detect_with(lambda person, index: True)
    real = FileSource.frames

    def slow(self: FileSource) -> Iterator[Frame]:
        for frame in real(self):
            if frame.index > 10:
                time.sleep(0.2)
            yield frame

    def interrupt(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FileSource, "frames", slow)
    torch.set_num_threads(2)
    # the first call only loads and compiles what the second is to be timed with
    with pytest.raises(KeyboardInterrupt):
        annotate(video, Outputs(tmp_path / "a.json"), settings, progress=interrupt)
    began: list[float] = []

    def interrupt_later(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        if stage == "annotate" and done >= 5:
            began.append(time.perf_counter())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate(video, Outputs(tmp_path / "b.json"), settings, progress=interrupt_later)
    assert time.perf_counter() - began[0] < 0.6


def test_times_say_how_busy_the_stages_were(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    timings = annotate(video, Outputs(tmp_path / "poses.json"), settings).timings_s
    assert set(first_pass_module.STAGES) <= timings.keys()
    busy_s = sum(timings[stage] for stage in first_pass_module.STAGES)
    assert timings["pass1_busy"] == pytest.approx(busy_s)
    # one thread: the stages are all there is
    assert 0.5 * timings["pass1"] < busy_s <= timings["pass1"]


def test_what_memory_taught_is_told(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    from posecli.pose.estimator import PoseEstimator

    detect_with(lambda person, index: True)
    real = PoseEstimator.load

    def take(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        torch.empty(len(inputs[0]) // 2, 1 << 58)  # with two windows: an allocation that fails

    def load_hungry(*arguments: object, **options: object) -> PoseEstimator:
        estimator = real(*arguments, **options, batch_size=2)  # type: ignore[arg-type]
        estimator.network.register_forward_pre_hook(take)
        return estimator

    monkeypatch.setattr(PoseEstimator, "load", load_hungry)
    result = annotate(video, Outputs(tmp_path / "poses.json"), settings)
    assert result.warnings == ()
    assert any("1 windows of poses at a time instead of 2" in note for note in result.notes)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux lists them")
def test_one_thread_means_one(video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith) -> None:
    """FFmpeg, OpenCV and the encoder of the overlay have threads of their own unless told."""
    detect_with(lambda person, index: True)
    annotate(video, Outputs(tmp_path / "first.json"), settings)  # what starts once and stays is not meant
    before, counts = len(os.listdir("/proc/self/task")), set()

    def count(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        counts.add(len(os.listdir("/proc/self/task")))

    annotate(video, Outputs(tmp_path / "poses.json", overlay=tmp_path / "overlay.mp4"), settings, progress=count)
    assert counts == {before}
