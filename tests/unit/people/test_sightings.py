"""What is kept of a track at the frames that were searched for people."""

from __future__ import annotations

import numpy as np

from posecli.people.sightings import ColourTable, Sightings, joined, sightings_of, with_clearness
from posecli.records import PoseSequence


def track(frames: list[int], *, interpolated: list[int]) -> PoseSequence:
    count = len(frames)
    boxes = np.arange(count)[:, None] + np.array([0.0, 0.0, 10.0, 20.0])
    points = np.zeros((count, 19, 2), np.float32)
    return PoseSequence(
        track_id=0,
        skeleton="posecli19",
        frame_indices=np.array(frames),
        keypoints=points,
        raw_keypoints=points,
        scores=np.ones((count, 19), np.float32),
        boxes=boxes.astype(np.float32),
        box_scores=np.ones(count, np.float32),
        interpolated=np.isin(frames, interpolated),
    )


def seen_in(frames: list[int]) -> Sightings:
    return sightings_of(
        track(frames, interpolated=[]), np.arange(float(len(frames))), looked_at=np.arange(9), colours=None
    )


def test_only_frames_looked_at_count() -> None:
    seen = sightings_of(
        track([3, 4, 5, 6, 9], interpolated=[6]),
        np.array([0.3, 0.4, 0.5, 0.6, 0.9]),
        looked_at=np.array([2, 4, 6, 8, 9]),
        colours=ColourTable(np.array([4, 5, 6, 8]), np.full((4, 6), 2.0, np.float32)),
    )
    np.testing.assert_array_equal(seen.frames, [4, 6, 9])
    np.testing.assert_array_equal(seen.times_s, [0.4, 0.6, 0.9])
    np.testing.assert_array_equal(seen.boxes[:, 0], [1.0, 3.0, 4.0])
    np.testing.assert_array_equal(seen.is_backed, [True, False, True])
    np.testing.assert_array_equal(seen.colours[:, 0], [2.0, 2.0, np.nan])


def test_joined_rows_are_in_order_and_the_first_that_has_a_frame_counts() -> None:
    late, early = seen_in([3, 4, 5]), seen_in([1, 2, 3])
    whole = joined([late, early])
    np.testing.assert_array_equal(whole.frames, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(whole.times_s, [0.0, 1.0, 0.0, 1.0, 2.0])
    assert len(whole.rows(whole.frames > 3)) == 2


def test_clear_is_who_shares_little_of_the_box() -> None:
    """Boxes 10 px wide: the second begins 9 px right of the first, the third 4 px right of the second, from frame 2 on."""
    first, second, third = (seen_in(frames) for frames in ([1, 2], [1, 2], [2, 3]))
    moved = [
        Sightings(t.frames, t.times_s, np.array([[x, 0.0, x + 10.0, 20.0]] * 2), t.is_backed, t.is_clear, t.colours)
        for t, x in ((first, 0.0), (second, 9.0), (third, 13.0))
    ]
    found = with_clearness(moved)
    assert [track.is_clear.tolist() for track in found] == [[True, True], [True, False], [False, True]]
    assert with_clearness([]) == []
