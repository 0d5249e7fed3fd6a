"""Where tracks are between looks: what the pose windows are cut by."""

from __future__ import annotations

import numpy as np

from posecli.people.tracker import Tracker
from posecli.records import Detections

FPS = 30.0


def walk(tracker: Tracker, frames: list[int], *, px_per_frame: float = 4.0) -> None:
    """One person walking right."""
    for frame in frames:
        x = 50.0 + px_per_frame * frame
        box = np.array([[x, 20, x + 40, 140]], np.float32)
        tracker.update(frame, frame / FPS, Detections(frame, box, np.array([0.9], np.float32)))


def test_boxes_between_looks_follow_the_motion_both_ways() -> None:
    tracker = Tracker()
    walk(tracker, [2, 7, 12, 17, 22])
    boxes = tracker.boxes_at(0, np.arange(20, 25) / FPS)
    assert boxes.shape == (5, 4)
    expected = 50.0 + 4.0 * np.arange(20, 25)
    assert np.abs(boxes[:, 0] - expected).max() < 4.0
    assert np.abs((boxes[:, 2:] - boxes[:, :2]) - [40, 120]).max() < 6.0


def test_a_prediction_shows_the_same_people_and_changes_nothing() -> None:
    tracker = Tracker()
    walk(tracker, [2, 7, 12])
    before = tracker.state_dict()
    [seen] = tracker.predict(17, 17 / FPS)
    assert tracker.state_dict() == before
    assert (seen.track_id, seen.is_detected) == (0, False)
    assert abs(float(seen.box[0]) - (50.0 + 4.0 * 17)) < 5.0


def test_nobody_is_predicted_in_an_empty_video() -> None:
    tracker = Tracker()
    tracker.update(0, 0.0, Detections.empty(0))
    assert tracker.predict(5, 5 / FPS) == []
