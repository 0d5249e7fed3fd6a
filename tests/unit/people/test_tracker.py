"""The life of tracks, told as stories: walkers on known paths, a detector that fails on cue, poses fed back as the pipeline does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from posecli.errors import ConfigError, FormatError
from posecli.geometry import iou_matrix
from posecli.people.tracker import TrackedBox, Tracker, TrackerConfig
from posecli.records import Detections, FloatArray
from posecli.skeletons import POSECLI19

# A standing figure in units of its height: x from the middle, y from the crown down. The order of POSECLI19.
_FIGURE = np.array(
    [
        *([0.0, 0.07], [0.02, 0.05], [-0.02, 0.05], [0.04, 0.06], [-0.04, 0.06]),
        *([0.11, 0.18], [-0.11, 0.18], [0.14, 0.33], [-0.14, 0.33], [0.15, 0.46], [-0.15, 0.46]),
        *([0.07, 0.5], [-0.07, 0.5], [0.07, 0.73], [-0.07, 0.73], [0.07, 0.95], [-0.07, 0.95]),
        *([0.0, 0.16], [0.0, 0.0]),
    ]
)


@dataclass
class Walker:
    """A person: ``path`` gives the middle of the box in px at a time; in the picture from ``enters_s`` until ``leaves_s``."""

    path: Callable[[float], tuple[float, float]]
    height_px: float = 200.0
    enters_s: float = 0.0
    leaves_s: float = 1e9
    gait_hz: float = 1.0

    def is_in(self, time_s: float) -> bool:
        return self.enters_s <= time_s < self.leaves_s

    def box(self, time_s: float) -> FloatArray:
        centre, half = np.array(self.path(time_s)), np.array([0.2, 0.5]) * self.height_px
        return np.concatenate([centre - half, centre + half]).astype(np.float32)

    def keypoints(self, time_s: float) -> FloatArray:
        swing = 0.08 * np.sin(2 * np.pi * self.gait_hz * time_s) * np.maximum(_FIGURE[:, 1] - 0.3, 0.0)
        side = np.sign(_FIGURE[:, 0])
        figure = _FIGURE + np.stack([swing * side, np.zeros(19)], axis=1) - [0.0, 0.5]
        return (figure * self.height_px + self.path(time_s)).astype(np.float32)


@dataclass
class Scene:
    """People in order from back to front, and a camera."""

    walkers: list[Walker]
    fps: float = 30.0
    every: int = 5
    jitter: float = 0.0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def detect(self, frame: int) -> Detections:
        """Everybody in the picture except those mostly hidden behind somebody in front."""
        time_s = frame / self.fps
        boxes: list[FloatArray] = []
        for n, walker in enumerate(self.walkers):
            box = walker.box(time_s)
            front = [w.box(time_s) for w in self.walkers[n + 1 :] if w.is_in(time_s)]
            hidden = bool(front) and iou_matrix(box[None], np.stack(front)).max() > 0.5
            if walker.is_in(time_s) and not hidden:
                boxes.append(box + (self.jitter * walker.height_px * self.rng.standard_normal(4)).astype(np.float32))
        if not boxes:
            return Detections.empty(frame)
        return Detections(frame, np.stack(boxes), np.full(len(boxes), 0.9, np.float32))

    def poses(self, frame: int, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What a pose network would say: the frontmost person that fits a box, or a guess with low scores."""
        time_s = frame / self.fps
        present = [w for w in self.walkers if w.is_in(time_s)]
        keypoints = np.zeros((len(boxes), 19, 2), np.float32)
        scores = np.full((len(boxes), 19), 0.05, np.float32)
        for n, box in enumerate(boxes):
            fit = [float(iou_matrix(box[None], w.box(time_s)[None])[0, 0]) for w in present]
            best = max(fit, default=0.0)
            if best > 0.25:
                keypoints[n] = next(
                    w for w, f in reversed(list(zip(present, fit, strict=True))) if f > best - 0.15
                ).keypoints(time_s)
                scores[n] = 0.8
        return keypoints, scores

    def owner(self, frame: int, box: FloatArray) -> int:
        """The walker that a box is on, or -1 when that is anybody's guess."""
        time_s = frame / self.fps
        fit = [float(iou_matrix(box[None], w.box(time_s)[None])[0, 0]) * w.is_in(time_s) for w in self.walkers]
        first, second = sorted([*fit, 0.0], reverse=True)[:2]
        return int(np.argmax(fit)) if first > 0.3 and second < first - 0.2 else -1


Looks = dict[int, list[TrackedBox]]
Detector = Callable[[int], Detections]


def play(
    scene: Scene,
    num_frames: int,
    *,
    tracker: Tracker | None = None,
    detect: Detector | None = None,
    with_poses: bool = True,
    first_frame: int = 0,
    previous: dict[int, FloatArray] | None = None,
) -> tuple[Tracker, Looks]:
    """Run a tracker as the pipeline does: look, then poses of the frames since the last look, in interpolated boxes."""
    tracker = tracker or Tracker()
    detect = detect or scene.detect
    looks: Looks = {}
    last = {} if previous is None else previous
    for frame in range(first_frame, num_frames, scene.every):
        callback = (lambda boxes, at=frame: scene.poses(at, boxes)) if with_poses else None
        looks[frame] = tracker.update(frame, frame / scene.fps, detect(frame), estimate_poses=callback)
        for tracked in looks[frame]:
            start = last.get(tracked.track_id, tracked.box)
            for step in range(1, scene.every + 1) if with_poses and frame else []:
                at = frame - scene.every + step
                box = start + (tracked.box - start) * step / scene.every
                keypoints, scores = scene.poses(at, box[None].astype(np.float32))
                tracker.observe_pose(tracked.track_id, at, at / scene.fps, keypoints[0], scores[0])
        last.clear()
        last.update({tracked.track_id: tracked.box for tracked in looks[frame]})
    return tracker, looks


def ids_of(scene: Scene, looks: Looks, walker: int, *, after: int = 0) -> set[int]:
    """The ids that detected boxes of a walker carried."""
    return {
        t.track_id
        for frame, tracked in looks.items()
        if frame >= after
        for t in tracked
        if t.is_detected and scene.owner(frame, t.box) == walker
    }


def walk(x: float, speed: float, y: float = 300.0) -> Callable[[float], tuple[float, float]]:
    return lambda time_s: (x + speed * time_s, y)


def boxes_of(*rows: tuple[float, float, float, float, float], frame: int) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(frame, table[:, :4], table[:, 4])


def test_one_walker_is_one_track_from_the_first_frame() -> None:
    scene = Scene([Walker(walk(100, 150))], jitter=0.03)
    tracker, looks = play(scene, 90)
    assert {t.track_id for tracked in looks.values() for t in tracked} == {0}
    assert not looks[0][0].is_confirmed
    assert looks[5][0].is_confirmed
    assert tracker.finish().confirmed_ids == (0,)
    np.testing.assert_array_equal(looks[0][0].box.shape, (4,))


@pytest.mark.parametrize("with_poses", [True, False])
def test_two_people_walking_apart_keep_their_ids(with_poses: bool) -> None:
    scene = Scene([Walker(walk(300, -100)), Walker(walk(420, 100))], jitter=0.02)
    _, looks = play(scene, 60, with_poses=with_poses)
    assert ids_of(scene, looks, 0) == {0}
    assert ids_of(scene, looks, 1) == {1}


@pytest.mark.parametrize(
    ("fps", "every"), [(10.0, 1), (10.0, 5), (25.0, 4), (30.0, 10), (60.0, 5), (120.0, 10), (120.0, 1)]
)
def test_two_people_crossing_keep_their_ids(fps: float, every: int) -> None:
    """The one behind is hidden for about half a second; both walk on."""
    scene = Scene(
        [Walker(walk(100, 180)), Walker(walk(640, -180, y=310.0), height_px=215.0, gait_hz=1.3)],
        fps,
        every,
        jitter=0.02,
    )
    _, looks = play(scene, int(3.0 * fps))
    assert len(ids_of(scene, looks, 0)) == 1
    assert len(ids_of(scene, looks, 1)) == 1
    assert ids_of(scene, looks, 0) != ids_of(scene, looks, 1)


def test_two_people_meeting_and_turning_back_keep_their_ids() -> None:
    """Motion alone would swap them: they approach to a third of a body, and turn. Their poses tell them apart."""

    def approach(x: float, towards: float) -> Callable[[float], tuple[float, float]]:
        return lambda t: (x + towards * 150.0 * (1.0 - abs(1.0 - t)), 300.0)

    scene = Scene([Walker(approach(200, 1.0)), Walker(approach(560, -1.0), height_px=215.0)], jitter=0.02)
    _, looks = play(scene, 60)
    assert ids_of(scene, looks, 0) == {0}
    assert ids_of(scene, looks, 1) == {1}


def test_a_fast_runner_at_a_low_rate_keeps_the_id_although_boxes_hardly_overlap() -> None:
    scene = Scene([Walker(walk(100, 240))], fps=10.0, every=5, jitter=0.02)
    assert iou_matrix(scene.walkers[0].box(0.0)[None], scene.walkers[0].box(0.5)[None])[0, 0] == 0.0
    _, looks = play(scene, 40)
    assert ids_of(scene, looks, 0) == {0}
    _, looks = play(scene, 40, with_poses=False)
    assert ids_of(scene, looks, 0) == {0}


def test_a_track_the_detector_misses_is_held_by_its_pose() -> None:
    scene = Scene([Walker(walk(100, 120))])

    def detect(frame: int) -> Detections:
        return Detections.empty(frame) if 30 <= frame < 75 else scene.detect(frame)

    _, looks = play(scene, 120, detect=detect)
    for frame in range(30, 75, 5):
        (held,) = looks[frame]
        assert (held.track_id, held.is_detected) == (0, False)
        assert iou_matrix(held.box[None], scene.walkers[0].box(frame / 30.0)[None])[0, 0] > 0.75
    assert ids_of(scene, looks, 0) == {0}


def test_the_box_of_a_held_track_does_not_shrink_to_the_part_that_is_seen() -> None:
    """Nobody detects the walker any more, and of the pose only the legs are sure: the rest of the person is still there."""
    walker = Walker(walk(100, 120))
    scene = Scene([walker])
    tracker, _ = play(scene, 30)
    legs = _FIGURE[:, 1] >= 0.5
    for frame in range(30, 75, 5):
        (held,) = tracker.update(frame, frame / 30.0, Detections.empty(frame))
        assert iou_matrix(held.box[None], walker.box(frame / 30.0)[None])[0, 0] > 0.7
        for at in range(frame - 4, frame + 1):
            scores = np.where(legs, 1.0, 0.19)
            tracker.observe_pose(held.track_id, at, at / 30.0, walker.keypoints(at / 30.0), scores)


def test_a_track_without_detection_and_without_a_good_pose_is_not_shown_but_remembered() -> None:
    scene = Scene([Walker(walk(100, 60))])
    blind = Scene([Walker(walk(100, 60), leaves_s=1.0)])
    tracker, _ = play(scene, 30)
    looks = {}
    for frame in (30, 35, 40):
        looks[frame] = tracker.update(frame, frame / 30.0, Detections.empty(frame))
        for tracked in looks[frame]:
            for at in range(frame - 4, frame + 1):
                keypoints, scores = blind.poses(at, tracked.box[None])
                tracker.observe_pose(tracked.track_id, at, at / 30.0, keypoints[0], scores[0])
    assert [len(looks[frame]) for frame in (30, 35, 40)] == [1, 0, 0]
    (back,) = tracker.update(45, 1.5, scene.detect(45))
    assert back.track_id == 0


def test_who_comes_after_the_track_is_over_is_somebody_else() -> None:
    """The same place, but later than max_lost_s: position alone is no identity."""
    scene = Scene([Walker(walk(200, 0), leaves_s=1.0), Walker(walk(200, 0), enters_s=2.2)])
    tracker, looks = play(scene, 120)
    assert ids_of(scene, looks, 0) == {0}
    assert ids_of(scene, looks, 1) == {1}
    assert tracker.finish().confirmed_ids == (0, 1)


def test_a_pose_cannot_hold_a_track_for_ever() -> None:
    scene = Scene([Walker(walk(200, 0))])
    _, looks = play(scene, 180, detect=lambda frame: scene.detect(frame) if frame < 20 else Detections.empty(frame))
    shown = [frame for frame, tracked in looks.items() if tracked]
    assert 15 + 2.8 * 30 <= max(shown) <= 15 + 3.2 * 30


def test_an_id_given_to_a_false_alarm_is_not_confirmed() -> None:
    tracker = Tracker()
    tracker.update(0, 0.0, boxes_of((10, 10, 50, 110, 0.9), frame=0))
    assert tracker.update(5, 0.2, boxes_of((400, 10, 450, 130, 0.9), frame=5))[-1].track_id == 1
    tracker.update(10, 0.4, boxes_of((400, 10, 450, 130, 0.9), frame=10))
    assert tracker.finish().confirmed_ids == (1,)


def test_a_single_picture_has_people() -> None:
    tracker = Tracker()
    tracker.update(0, 0.0, boxes_of((10, 10, 50, 110, 0.9), (200, 10, 250, 120, 0.8), frame=0))
    assert tracker.finish().confirmed_ids == (0, 1)


def test_weak_detections_carry_a_track_on_but_found_none() -> None:
    tracker = Tracker()
    for frame, score in enumerate((0.9, 0.9, 0.3, 0.2, 0.3)):
        tracked = tracker.update(
            frame, frame / 5.0, boxes_of((10, 10, 50, 110, score), (300, 10, 350, 120, 0.35), frame=frame)
        )
        assert [t.track_id for t in tracked] == [0]
        assert tracked[0].is_detected


def test_a_detection_below_low_score_is_nothing() -> None:
    tracker = Tracker()
    tracker.update(0, 0.0, boxes_of((10, 10, 50, 110, 0.9), frame=0))
    (tracked,) = tracker.update(1, 0.1, boxes_of((10, 10, 50, 110, 0.1), frame=1))
    assert not tracked.is_detected


def test_a_second_box_of_somebody_founds_no_track() -> None:
    tracker = Tracker()
    double = ((100, 100, 180, 300, 0.9), (104, 98, 186, 302, 0.8))
    assert [t.track_id for t in tracker.update(0, 0.0, boxes_of(*double, frame=0))] == [0]


def test_half_a_person_detected_again_is_recognised_by_the_pose() -> None:
    """IoU 0.45 is no duplicate by itself; the same pose in both boxes is."""
    scene = Scene([Walker(lambda _: (140.0, 200.0))])
    double = boxes_of((100, 100, 180, 300, 0.9), (100, 100, 180, 190, 0.8), frame=0)
    with_poses = Tracker().update(0, 0.0, double, estimate_poses=lambda boxes: scene.poses(0, boxes))
    assert [t.track_id for t in with_poses] == [0]
    assert len(Tracker().update(0, 0.0, double)) == 2


def test_two_tracks_that_coincide_become_the_older_one() -> None:
    """Two tracks begin apart, then the detector puts both boxes on one person."""
    scene = Scene([Walker(lambda _: (300.0, 300.0))])

    def detect(frame: int) -> Detections:
        offset = max(0.0, 60.0 - 4.0 * frame)
        x0, y0, x1, y1 = scene.walkers[0].box(frame / 30.0)
        return boxes_of((x0, y0, x1, y1, 0.9), (x0 + offset, y0, x1 + offset, y1, 0.8), frame=frame)

    tracker, looks = play(scene, 60, detect=detect, with_poses=False)
    assert {t.track_id for t in looks[5]} == {0, 1}
    assert {t.track_id for t in looks[50]} == {0}
    ledger = tracker.finish()
    assert ledger.merged == {1: 0}
    assert ledger.confirmed_ids == (0,)


def test_people_side_by_side_with_their_own_poses_are_not_merged() -> None:
    """One stands close behind the other: boxes nearly coincide, poses do not."""
    scene = Scene([Walker(lambda _: (300.0, 300.0)), Walker(lambda _: (316.0, 300.0))])

    def detect(frame: int) -> Detections:
        # Known as two before they close up.
        gap = max(0.0, 50.0 - 2.0 * frame)
        a, b = (w.box(0.0) for w in scene.walkers)
        return Detections(
            frame, np.stack([a, b + np.array([gap, 0, gap, 0], np.float32)]), np.array([0.9, 0.9], np.float32)
        )

    tracker = Tracker()
    for frame in range(0, 60, 5):
        tracked = tracker.update(frame, frame / 30.0, detect(frame))
        for box, walker in zip(tracked, scene.walkers, strict=True):
            tracker.observe_pose(box.track_id, frame, frame / 30.0, walker.keypoints(0.0), np.full(19, 0.8))
    assert {t.track_id for t in tracked} == {0, 1}


def test_two_boxes_side_by_side_stay_two_people_although_one_pose_is_seen_in_both() -> None:
    """A pose network that puts the limbs of one into both crops is wrong; the detector, which sees two bodies, is not."""
    walker = Walker(lambda _: (300.0, 300.0))
    x0, y0, x1, y1 = walker.box(0.0)
    tracker = Tracker()
    for frame in range(0, 60, 5):
        both = boxes_of((x0, y0, x1, y1, 0.9), (x0 + 40, y0 + 5, x1 + 40, y1 + 5, 0.8), frame=frame)
        tracked = tracker.update(frame, frame / 30.0, both)
        for box in tracked:
            tracker.observe_pose(box.track_id, frame, frame / 30.0, walker.keypoints(0.0), np.full(19, 0.8))
    assert {t.track_id for t in tracked} == {0, 1}
    assert tracker.finish().merged == {}


def test_a_body_and_its_upper_half_become_one_although_both_are_detected() -> None:
    """Known as two at first, because nobody had looked at poses yet."""
    walker = Walker(lambda _: (300.0, 300.0))
    x0, y0, x1, y1 = walker.box(0.0)
    tracker = Tracker()
    for frame in range(0, 20, 5):
        both = boxes_of((x0, y0, x1, y1, 0.9), (x0, y0 - 2, x1, y0 + 90, 0.8), frame=frame)
        for box in tracker.update(frame, frame / 30.0, both):
            tracker.observe_pose(box.track_id, frame, frame / 30.0, walker.keypoints(0.0), np.full(19, 0.8))
    assert tracker.finish().merged == {1: 0}


def test_a_hidden_person_does_not_take_over_the_body_in_front() -> None:
    """Somebody walks up behind another and stays hidden for two seconds: the pose in the hidden one's box is the front person's."""
    scene = Scene(
        [Walker(lambda t: (100.0 + 150.0 * min(t, 1.4), 300.0)), Walker(lambda _: (315.0, 305.0), height_px=220.0)]
    )
    _, looks = play(scene, 100)
    front = ids_of(scene, looks, 1)
    assert len(front) == 1
    assert {t.track_id for t in looks[95]} == front


def test_a_lost_track_is_not_held_by_a_pose_made_of_two_others() -> None:
    """Somebody leaves unseen; in the box that stays between two people the network sees the arms of one and the legs of the other."""
    left, right, gone = (Walker(walk(x, 0.0)) for x in (300.0, 370.0, 335.0))
    tracker, upper = Tracker(), _FIGURE[:, 1] < 0.5
    for frame in range(0, 60, 5):
        present = [left, right, gone] if frame < 20 else [left, right]
        boxes = np.stack([walker.box(0.0) for walker in present])
        shown = tracker.update(frame, frame / 30.0, Detections(frame, boxes, np.full(len(boxes), 0.9, np.float32)))
        poses = {0: left.keypoints(0.0), 1: right.keypoints(0.0), 2: gone.keypoints(0.0)}
        if frame >= 20:
            poses[2] = np.where(upper[:, None], poses[0], poses[1])
        for box in shown:
            at = frame if box.is_detected else frame + 2  # as far as the window around the look reaches
            tracker.observe_pose(box.track_id, at, at / 30.0, poses[box.track_id], np.full(19, 0.8))
        if frame == 10:
            assert {t.track_id for t in shown} == {0, 1, 2}
        if frame >= 30:
            assert {t.track_id for t in shown} == {0, 1}


def test_a_new_video_starts_with_id_zero() -> None:
    scene = Scene([Walker(walk(100, 100)), Walker(walk(500, 0))])
    for _ in range(2):
        _, looks = play(scene, 20)
        assert {t.track_id for t in looks[15]} == {0, 1}


def test_frames_must_ascend() -> None:
    tracker = Tracker()
    tracker.update(4, 0.1, Detections.empty(4))
    with pytest.raises(ValueError, match="frame 4 after frame 4"):
        tracker.update(4, 0.1, Detections.empty(4))


def test_poses_of_unknown_tracks_are_ignored() -> None:
    tracker = Tracker()
    tracker.observe_pose(9, 0, 0.0, np.zeros((19, 2)), np.ones(19))
    assert tracker.state_dict()["tracks"] == []


@pytest.mark.parametrize("stop", [5, 30, 45, 60])
def test_a_resumed_tracker_gives_identical_results(stop: int) -> None:
    """Kill in the middle of misses, holds and crossings; the state goes through JSON."""

    def scene() -> Scene:
        return Scene([Walker(walk(100, 180)), Walker(walk(640, -180, y=310.0), height_px=215.0), Walker(walk(900, 0))])

    def detect(frame: int) -> Detections:
        noise = np.random.default_rng(frame)
        found = scene().detect(frame)
        keep = noise.random(len(found.scores)) > 0.3
        boxes = found.boxes[keep] + noise.normal(0.0, 4.0, (int(keep.sum()), 4)).astype(np.float32)
        return Detections(frame, boxes, noise.uniform(0.1, 1.0, int(keep.sum())).astype(np.float32))

    whole, expected = play(scene(), 120, detect=detect)
    boxes: dict[int, FloatArray] = {}
    first, _ = play(scene(), stop, detect=detect, previous=boxes)
    state = json.loads(json.dumps(first.state_dict(), allow_nan=False))
    resumed = Tracker()
    resumed.load_state_dict(state)
    resumed, looks = play(scene(), 120, tracker=resumed, detect=detect, first_frame=stop, previous=boxes)
    for frame, tracked in looks.items():
        for ours, theirs in zip(tracked, expected[frame], strict=True):
            assert (ours.track_id, ours.score, ours.is_detected) == (theirs.track_id, theirs.score, theirs.is_detected)
            np.testing.assert_array_equal(ours.box, theirs.box)
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.finish() == whole.finish()


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(FormatError, match="version 99"):
        Tracker().load_state_dict({"version": 99})


@pytest.mark.parametrize(
    ("field_name", "value"), [("min_oks", 1.5), ("max_lost_s", 0.0), ("confirm_hits", 0), ("duplicate_iou", -0.1)]
)
def test_a_config_checks_itself(field_name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field_name):
        TrackerConfig(**{field_name: value})  # type: ignore[arg-type]


def test_scores_of_a_config_must_not_descend() -> None:
    with pytest.raises(ConfigError, match=r"0\.6, 0\.4, 0\.4"):
        TrackerConfig(low_score=0.6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), every=st.integers(1, 10), fps=st.sampled_from([10.0, 30.0, 120.0]))
def test_whatever_comes_ids_are_unique_in_a_frame_and_each_detection_is_used_once(
    seed: int, every: int, fps: float
) -> None:
    rng = np.random.default_rng(seed)
    tracker = Tracker()
    for frame in range(0, 15 * every, every):
        count = int(rng.integers(0, 6))
        corner = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(0, 200, (count, 2))], axis=1).astype(np.float32)
        found = Detections(frame, boxes, rng.random(count).astype(np.float32))

        def poses(asked: FloatArray) -> tuple[FloatArray, FloatArray]:
            points: NDArray[np.float32] = rng.uniform(0, 500, (len(asked), 19, 2)).astype(np.float32)
            points[rng.random(points.shape[:2]) < 0.3] = np.nan
            return points, rng.random((len(asked), 19)).astype(np.float32)

        tracked = tracker.update(frame, frame / fps, found, estimate_poses=poses)
        ids = [t.track_id for t in tracked]
        assert ids == sorted(set(ids))
        assert sum(t.is_detected for t in tracked) <= count
        assert all(np.isfinite(t.box).all() and (t.box[2:] >= t.box[:2]).all() for t in tracked)
        for track_id in ids:
            keypoints, scores = poses(np.zeros((1, 4), np.float32))
            tracker.observe_pose(track_id, frame, frame / fps, keypoints[0], scores[0])
    ledger = tracker.finish()
    assert set(ledger.merged.values()).isdisjoint(ledger.merged.keys())
    assert len(POSECLI19) == 19
