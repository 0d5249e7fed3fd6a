"""Labelled people of a video, estimated in windows: which pictures and boxes a window gets, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posecli.errors import ConfigError, FormatError, VideoError
from posecli.evaluation.clip_keypoints import judge_clips
from posecli.evaluation.clips import Clip
from posecli.evaluation.video_keypoints import estimate_video

NUM_IN_VIDEO = 14


class KnowingEstimator:
    """Reads the number of a picture and answers with the truth of the person in the box, moved right by ``offset_px`` in windows."""

    def __init__(self, config, read: Callable[[np.ndarray], int], walker, offset_px: float = 0.0) -> None:
        self.config, self.read, self.walker, self.offset_px = config, read, walker, offset_px
        self.windows: list[tuple[tuple[int, ...], int]] = []
        self.boxes: list[np.ndarray] = []

    def who(self, box: np.ndarray) -> int:
        return 1 if box[1] < 20 else 2

    def estimate_windows(self, windows: Sequence[Sequence[np.ndarray]], boxes: Sequence[np.ndarray], *, mode="clip"):
        points, scores = [], []
        for images, box in zip(windows, boxes, strict=True):
            numbers = [self.read(image) for image in images]
            known = box[np.isfinite(box).all(axis=1)]
            person = self.who(known[0])
            self.windows.append((tuple(numbers), person))
            self.boxes.append(box)
            found = np.stack([self.walker(person, number) for number in numbers])
            found[..., 0] += self.offset_px
            if mode == "key":
                others = np.arange(len(images)) != len(images) // 2
                found[others] = np.nan
            points.append(found)
            scores.append(np.full((len(images), 19), 0.5, np.float32))
        shape = (0, self.config.num_frames, 19)
        return np.array(points).reshape(len(points), *shape[1:], 2), np.array(scores).reshape(len(points), *shape[1:])

    def estimate_images(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]):
        found = [self.walker(self.who(box), self.read(image)) for image, box in zip(images, boxes, strict=True)]
        return np.stack(found), np.full((len(found), 19), 0.5, np.float32)


@pytest.fixture(scope="module")
def video(make_video, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("walk") / "walk.mp4", NUM_IN_VIDEO)


@pytest.fixture
def estimator(tiny_pose_config, frame_number, walkers) -> KnowingEstimator:
    return KnowingEstimator(tiny_pose_config, frame_number, walkers.points)


@pytest.mark.parametrize("mode", ["clip", "key", "still"])
@pytest.mark.parametrize("hop", [None, 2])
def test_an_estimator_that_knows_is_right_about_everybody(estimator, walk_labels, video, mode, hop) -> None:
    people = estimate_video(estimator, walk_labels, video, mode=mode, hop=None if mode == "key" else hop)
    np.testing.assert_allclose(people.keypoints, walk_labels.truth.keypoints[..., :2], atol=1e-4)
    np.testing.assert_array_equal(people.image_ids, walk_labels.truth.image_ids)
    np.testing.assert_array_equal(people.track_ids, walk_labels.track_ids)
    np.testing.assert_allclose(people.point_scores, 0.5)
    judged = judge_clips([Clip("walk", video, walk_labels, people)], boxes="given")
    assert judged.report.oks["ap"] == 100.0
    assert judged.report.boxes == "given"


def test_windows_follow_each_other_and_the_ends_stand_in(estimator, walk_labels, video) -> None:
    calls: list[tuple[int, int]] = []
    estimate_video(estimator, walk_labels, video, progress=lambda done, total: calls.append((done, total)))
    seen = [numbers for numbers, person in estimator.windows if person == 1]
    # the last labelled frame is 11; 12 and 13 exist, 14 does not
    assert seen == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (10, 11, 12, 13, 13)]
    assert calls[-1] == (12, 12)
    last = estimator.boxes[-1]
    assert np.isfinite(last[:2]).all()
    assert np.isnan(last[2:]).all()


def test_key_windows_are_centred(estimator, walk_labels, video) -> None:
    estimate_video(estimator, walk_labels, video, mode="key")
    seen = [numbers for numbers, person in estimator.windows if person == 2]
    assert seen[0] == (0, 0, 0, 1, 2)
    assert seen[6] == (4, 5, 6, 7, 8)
    assert len(seen) == 12


def test_between_labelled_frames_boxes_move_and_only_windows_with_labels_are_asked(
    estimator, save_labels, walkers, video
) -> None:
    labels = save_labels(walkers.document([2, 4, 11], is_there=lambda track, frame: track == 1))
    people = estimate_video(estimator, labels, video)
    assert [numbers for numbers, _ in estimator.windows] == [(0, 1, 2, 3, 4), (10, 11, 12, 13, 13)]
    boxes = estimator.boxes[0]
    assert np.isnan(boxes[:2]).all()
    np.testing.assert_allclose(boxes[3], (boxes[2] + boxes[4]) / 2)
    assert people.image_ids.tolist() == [102, 104, 111]


def test_what_an_estimator_misses_costs(estimator, walk_labels, video) -> None:
    estimator.offset_px = 30.0
    people = estimate_video(estimator, walk_labels, video)
    report = judge_clips([Clip("walk", video, walk_labels, people)], boxes="given").report
    assert report.num_found == 24
    assert report.pck["pck_box_0.1"]["all"] == 0.0
    assert report.motion is not None
    assert report.motion["error"] == pytest.approx(0.0, abs=1e-3)


def test_what_cannot_be_done_is_said(estimator, walk_labels, save_labels, walkers, video, make_video, tmp_path) -> None:
    document = walkers.document(range(3))
    del document["annotations"][0]["track_id"]
    loose = save_labels(document, "loose.json")
    with pytest.raises(FormatError, match=r"loose.json: people without track_id .*--window-mode still"):
        estimate_video(estimator, loose, video)
    assert len(estimate_video(estimator, loose, video, mode="still")) == 6
    with pytest.raises(VideoError, match=r"short.mp4: ends after frame 4, frame 11 is labelled"):
        estimate_video(estimator, walk_labels, make_video(tmp_path / "short.mp4", 5))
    truth = walk_labels.truth
    larger = replace(truth, images=tuple(replace(image, width_px=640) for image in truth.images))
    with pytest.raises(FormatError, match=r"labels pictures of 640x48 px, .*walk.mp4 is 64x48"):
        estimate_video(estimator, replace(walk_labels, truth=larger), video)
    with pytest.raises(ConfigError, match="hop 6"):
        estimate_video(estimator, walk_labels, video, hop=6)
