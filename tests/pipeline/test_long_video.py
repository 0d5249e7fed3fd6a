"""A video gone through in stretches and put together again: the bytes of one pass over all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from posecli.batch.engine import LocalEngine
from posecli.batch.pool import Worker
from posecli.batch.request import BatchRequest
from posecli.batch.run import run_batch
from posecli.batch.status import Status
from posecli.crew import Crew
from posecli.errors import OutputError
from posecli.formats.coco import read_coco_dataset
from posecli.pipeline import models as models_module
from posecli.pipeline.annotate import AnnotateResult, Outputs, annotate
from posecli.pipeline.long_video import (
    annotate_stretch,
    join_stretches,
    remove_stretches,
    split_video,
    stretches_folder,
)
from posecli.pipeline.models import Models, load_models
from posecli.pipeline.settings import AnnotateSettings
from posecli.pipeline.stretches import SplitConfig, Stretch
from posecli.pipeline.threads import all_threads
from posecli.pipeline.unchanged import ChangedVideoError
from posecli.records import Detections, Frame
from posecli.video.source import open_source

MakeVideo = Callable[..., Path]
SIZE = (96, 64)
NUM_FRAMES = 260
FPS = 5  # a look a second: the tracker has forgotten how it began after few frames
SPLIT = SplitConfig(max_minutes=0.5, overlap_s=20.0)


class Walkers:
    """Two who walk to and fro and meet again and again; a third who comes and goes, across a seam too."""

    name = "walkers"

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes as thought out."""
        return [self._detect(frame.index) for frame in frames]

    def _detect(self, index: int) -> Detections:
        to_and_fro = 30.0 * (1.0 - np.cos(2.0 * np.pi * index / 100.0))
        corners = [(5.0 + to_and_fro, 4.0), (70.0 - to_and_fro, 10.0)]
        if 90 <= index < 140 or 190 <= index < 220:
            corners.append((40.0, 34.0))
        boxes = np.array([(x, y, x + 12.0, y + 26.0) for x, y in corners], np.float32)
        return Detections(index, boxes, np.full(len(boxes), 0.9, np.float32))


@pytest.fixture
def models(settings: AnnotateSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Models]:
    monkeypatch.setattr(models_module, "load_detector", lambda settings: Walkers())
    with all_threads() as crew:
        yield load_models(settings, crew)


def in_stretches(video: Path, poses: Path, models: Models, order: Sequence[int] | None = None) -> AnnotateResult:
    stretches = split_video(video, models, SPLIT)
    assert len(stretches) == 2
    stretches_folder(poses).mkdir()
    for position in order or range(len(stretches)):
        annotate_stretch(video, stretches, position, poses, models)
    join_stretches(video, stretches, poses, models)
    result = annotate(video, Outputs(poses), models=models)
    remove_stretches(poses)
    return result


@pytest.mark.parametrize("changes", [{}, {"hop": 3, "detect_every": 10}])
def test_split_and_whole_are_the_same_bytes(
    tmp_path: Path, make_video: MakeVideo, models: Models, changes: Mapping[str, object]
) -> None:
    models = replace(models, settings=replace(models.settings, **changes))  # type: ignore[arg-type]
    video = make_video(tmp_path / "long.mp4", NUM_FRAMES, SIZE, fps=FPS)
    whole = annotate(video, Outputs(tmp_path / "whole.json"), models=models)
    assert len(whole.annotation.poses) >= 3
    in_stretches(video, tmp_path / "split.json", models, order=[1, 0])
    assert (tmp_path / "split.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_with_little_overlap_only_what_is_near_the_seam_differs(
    tmp_path: Path, make_video: MakeVideo, models: Models
) -> None:
    """Ids, frames and boxes stay; keypoints are those of a tracker that has seen no more than a few looks."""
    video = make_video(tmp_path / "long.mp4", NUM_FRAMES, SIZE, fps=FPS)
    poses = tmp_path / "split.json"
    whole = annotate(video, Outputs(tmp_path / "whole.json"), models=models).annotation
    stretches = (Stretch(0, 0, 25), Stretch(21, 25, None))
    stretches_folder(poses).mkdir()
    for position in range(2):
        annotate_stretch(video, stretches, position, poses, models)
    join_stretches(video, stretches, poses, models)
    split = annotate(video, Outputs(poses), models=models).annotation
    assert [pose.track_id for pose in split.poses] == [pose.track_id for pose in whole.poses]
    far = 0
    for got, wanted in zip(split.poses, whole.poses, strict=True):
        np.testing.assert_array_equal(got.frame_indices, wanted.frame_indices)
        is_far = (wanted.frame_indices < 120) | (wanted.frame_indices >= 225)
        np.testing.assert_array_equal(got.raw_keypoints[is_far], wanted.raw_keypoints[is_far])
        np.testing.assert_array_equal(got.boxes[is_far], wanted.boxes[is_far])
        far += int(is_far.sum())
    assert far > 300


def test_a_varying_rate_moves_no_seam(tmp_path: Path, make_video: MakeVideo, models: Models) -> None:
    """Frame numbers say where a stretch begins, whatever the mean rate makes of them."""
    steps = np.where(np.arange(NUM_FRAMES) < 130, 9_000, 27_000)  # ten frames a second, then three
    pts = np.concatenate([[0], np.cumsum(steps)[:-1]]).tolist()
    video = make_video(tmp_path / "uneven.mp4", NUM_FRAMES, SIZE, pts=pts, time_base=Fraction(1, 90_000))
    annotate(video, Outputs(tmp_path / "whole.json"), models=models)
    result = in_stretches(video, tmp_path / "split.json", models)
    assert len(result.annotation.frames) == NUM_FRAMES
    split, whole = (read_coco_dataset(tmp_path / f"{name}.json") for name in ("split", "whole"))
    np.testing.assert_array_equal(split.frames.pts, whole.frames.pts)
    np.testing.assert_array_equal(split.frames.time_s, whole.frames.time_s)
    assert [len(pose) for pose in split.poses] == [len(pose) for pose in whole.poses]


class PullThePlug(BaseException):
    """As if the process had been killed."""


def test_an_interrupted_stretch_goes_on_and_a_finished_one_is_not_done_again(
    tmp_path: Path, make_video: MakeVideo, models: Models
) -> None:
    video = make_video(tmp_path / "long.mp4", NUM_FRAMES, SIZE, fps=FPS)
    poses = tmp_path / "poses.json"
    stretches = split_video(video, models, SPLIT)
    stretches_folder(poses).mkdir()

    def unplug(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        if done >= 150:
            raise PullThePlug

    def refuse(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        raise AssertionError("is done already")

    with pytest.raises(PullThePlug):
        annotate_stretch(video, stretches, 1, poses, models, progress=unplug)
    with pytest.raises(OutputError, match=r"0000\.journal: is missing"):
        join_stretches(video, stretches, poses, models)
    annotate_stretch(video, stretches, 0, poses, models)
    with pytest.raises(OutputError, match="a stretch is not finished"):
        join_stretches(video, stretches, poses, models)
    assert annotate_stretch(video, stretches, 1, poses, models) == 50
    assert annotate_stretch(video, stretches, 1, poses, models, progress=refuse) == NUM_FRAMES - 130
    join_stretches(video, stretches, poses, models)
    annotate(video, Outputs(poses), models=models)
    annotate(video, Outputs(tmp_path / "whole.json"), models=models)
    assert poses.read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_a_video_that_changes_between_two_stretches_is_noticed(
    tmp_path: Path, make_video: MakeVideo, models: Models
) -> None:
    video = make_video(tmp_path / "clip.mp4", 60, SIZE, fps=FPS)
    poses = tmp_path / "poses.json"
    stretches = (Stretch(0, 0, 6), Stretch(3, 6, None))
    stretches_folder(poses).mkdir()
    annotate_stretch(video, stretches, 0, poses, models)
    make_video(video, 50, SIZE, fps=FPS)
    annotate_stretch(video, stretches, 1, poses, models)
    with pytest.raises(ChangedVideoError, match="has changed while"):
        join_stretches(video, stretches, poses, models)
    assert not poses.exists()


def test_what_cannot_be_entered_in_the_middle_is_not_split(
    tmp_path: Path, make_video: MakeVideo, models: Models
) -> None:
    one_key = make_video(tmp_path / "one_key.mp4", NUM_FRAMES, SIZE, fps=FPS, gop=1000)
    assert split_video(one_key, models, SPLIT) == ()
    short = make_video(tmp_path / "short.mp4", 100, SIZE, fps=FPS)
    assert split_video(short, models, SPLIT) == ()
    part_only = replace(models, settings=replace(models.settings, end_s=60.0))
    long = make_video(tmp_path / "long.mp4", NUM_FRAMES, SIZE, fps=FPS)
    assert split_video(long, part_only, SPLIT) == ()
    assert len(split_video(long, models, SPLIT)) == 2
    with Crew(1) as crew:
        assert split_video(long, replace(models, crew=crew), SPLIT) == split_video(long, models, SPLIT)


class Watcher:
    """Sees who is at what; pulls the plug of a batch when all stretches are done."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, str]] = set()
        self.is_to_unplug = True

    def __call__(self, status: Status) -> None:
        self.seen |= {(worker.number, worker.video) for worker in status.workers if worker.video}
        if self.is_to_unplug and any("(joining)" in (worker.video or "") for worker in status.workers):
            raise PullThePlug


def test_local_workers_share_a_video_and_the_next_batch_goes_on(
    tmp_path: Path, tiny_weights: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "long.mp4", NUM_FRAMES, SIZE, fps=FPS)
    poses = tmp_path / "split" / "long.poses.json"
    plain = AnnotateSettings(weights=str(tiny_weights), head_weights=None, detector="full-frame")
    request = BatchRequest((str(video),), tmp_path / "split", plain, workers=2, threads=1, overlay=True, split=SPLIT)
    watcher = Watcher()
    hand_out = LocalEngine._hand_out

    def watched(engine: LocalEngine, worker: Worker) -> None:
        hand_out(engine, worker)
        watcher(engine.status())  # what is shown as time goes by may miss a joining that is soon over

    monkeypatch.setattr(LocalEngine, "_hand_out", watched)
    with pytest.raises(PullThePlug):
        run_batch(request, show=watcher)
    assert list(stretches_folder(poses).iterdir())
    assert not poses.exists()
    watcher.is_to_unplug = False
    summary = run_batch(request, show=watcher)
    assert {f"{video} ({part}/2)" for part in (1, 2)} <= {name for _, name in watcher.seen}
    [done] = summary.tally.done
    assert (done["frames"], done["people"], summary.num_left) == (NUM_FRAMES, 1, 0)
    assert done["resumed_at_frame"] == NUM_FRAMES
    records = [json.loads(line) for line in (tmp_path / "split" / "manifest.jsonl").read_text().splitlines()]
    assert [record["event"] for record in records] == ["begin", "started", "begin", "started", "done", "end"]
    annotate(video, Outputs(tmp_path / "whole.json"), plain)
    assert poses.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not stretches_folder(poses).exists()
    with open_source(poses.with_name("long.overlay.mp4")) as overlay:
        assert len(list(overlay.frames())) == NUM_FRAMES
