"""Points that slip onto somebody else while people cross are set back; all else is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.pose import crossings
from posecli.pose.crossings import CrossingsConfig, mend_crossings
from posecli.records import PoseSequence
from posecli.skeletons import POSECLI19

FPS = 30.0
NUM_FRAMES = 60
TIMES = np.arange(NUM_FRAMES) / FPS
CROSSING = slice(27, 34)
HEAD = [POSECLI19.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head_top")]
_BODY = np.stack([np.linspace(-20, 20, 19), np.linspace(0, 180, 19)], axis=1)


def walker(track_id: int, start_x: float, speed: float, *, y: float = 100.0) -> PoseSequence:
    """Somebody who walks across the picture, 80 x 200 px, at ``speed`` px a frame; left and right are 40 px apart at most."""
    places = start_x + speed * np.arange(NUM_FRAMES)
    keypoints = (_BODY + np.stack([places, np.full(NUM_FRAMES, y)], axis=1)[:, None]).astype(np.float32)
    boxes = np.stack([places - 40, np.full(NUM_FRAMES, y - 10), places + 40, np.full(NUM_FRAMES, y + 190)], axis=1)
    return PoseSequence(
        track_id=track_id,
        skeleton="posecli19",
        frame_indices=np.arange(NUM_FRAMES),
        keypoints=keypoints,
        raw_keypoints=keypoints.copy(),
        scores=np.full((NUM_FRAMES, 19), 0.6, np.float32),
        boxes=boxes.astype(np.float32),
        box_scores=np.ones(NUM_FRAMES, np.float32),
        interpolated=np.zeros(NUM_FRAMES, np.bool_),
    )


def crossing() -> tuple[PoseSequence, PoseSequence]:
    """Two who meet in frame 30, going opposite ways."""
    return walker(1, 50.0, 5.0), walker(2, 350.0, -5.0)


def slipped(pose: PoseSequence, onto: PoseSequence, frames: slice, points: Sequence[int]) -> PoseSequence:
    """Its points are where the other's are."""
    keypoints = pose.keypoints.copy()
    keypoints[frames, points] = onto.keypoints[frames, points]
    return replace(pose, keypoints=keypoints, raw_keypoints=keypoints.copy())


def test_people_who_pass_each_other_are_left_alone() -> None:
    one, other = crossing()
    mended, count = mend_crossings([one, other], TIMES)
    assert count == 0
    assert mended == [one, other]


def test_a_head_that_slipped_is_set_back_onto_its_path() -> None:
    one, other = crossing()
    frames = slice(22, 29)
    wrong = slipped(one, other, frames, HEAD)
    mended, count = mend_crossings([wrong, other], TIMES)
    assert count > 0
    assert mended[1] is other
    np.testing.assert_allclose(mended[0].keypoints[22:28], one.keypoints[22:28], atol=0.13 * np.sqrt(80 * 200))
    # 80 px from its own path in frame 22: set back, to the pixel, and less sure
    np.testing.assert_allclose(mended[0].keypoints[22, HEAD], one.keypoints[22, HEAD], atol=1e-3)
    np.testing.assert_allclose(mended[0].scores[22, HEAD], 0.3)
    np.testing.assert_array_equal(mended[0].raw_keypoints, wrong.raw_keypoints)
    untouched = np.setdiff1d(np.arange(19), HEAD)
    np.testing.assert_array_equal(mended[0].keypoints[:, untouched], wrong.keypoints[:, untouched])


def test_points_may_slip_onto_the_other_side() -> None:
    one, other = crossing()
    keypoints = one.keypoints.copy()
    keypoints[22:28, HEAD] = other.keypoints[22:28][:, POSECLI19.flip_indices[HEAD]]
    mended, _ = mend_crossings([replace(one, keypoints=keypoints), other], TIMES)
    np.testing.assert_allclose(mended[0].keypoints[22, HEAD], one.keypoints[22, HEAD], atol=1e-3)


def test_the_order_of_the_tracks_and_other_people_change_nothing() -> None:
    one, other = crossing()
    wrong = slipped(one, other, slice(22, 29), HEAD)
    passer_by = walker(3, 100.0, 4.0, y=500.0)
    (expected, _), count = mend_crossings([wrong, other], TIMES)
    mended, same_count = mend_crossings([passer_by, other, wrong], TIMES)
    assert same_count == count
    assert mended[0] is passer_by
    np.testing.assert_array_equal(mended[2].keypoints, expected.keypoints)


def test_rows_are_found_by_frame_and_time_not_by_place() -> None:
    one, other = crossing()
    wrong = slipped(one, other, slice(22, 29), HEAD)
    expected, count = mend_crossings([wrong, other], TIMES)

    def later(pose: PoseSequence, skipped: int) -> PoseSequence:
        fields = ("keypoints", "raw_keypoints", "scores", "boxes", "box_scores", "interpolated")
        frames = pose.frame_indices[skipped:] + 1000
        return replace(pose, frame_indices=frames, **{name: getattr(pose, name)[skipped:] for name in fields})

    mended, same_count = mend_crossings([later(wrong, 5), later(other, 12)], TIMES + 7.0, first_frame_index=1000)
    assert same_count == count
    np.testing.assert_allclose(mended[0].keypoints, expected[0].keypoints[5:], atol=1e-3)


@pytest.mark.parametrize("frames_at_once", [1, 7, 25, 26])
def test_long_videos_are_gone_through_in_stretches(monkeypatch: pytest.MonkeyPatch, frames_at_once: int) -> None:
    one, other = crossing()
    wrong = slipped(one, other, slice(22, 29), HEAD)
    expected, count = mend_crossings([wrong, other], TIMES)
    monkeypatch.setattr(crossings, "_FRAMES_AT_ONCE", frames_at_once)
    mended, same_count = mend_crossings([wrong, other], TIMES)
    assert same_count == count
    np.testing.assert_array_equal(mended[0].keypoints, expected[0].keypoints)
    np.testing.assert_array_equal(mended[0].scores, expected[0].scores)


def test_a_handshake_a_ghost_and_an_embrace_are_left_alone() -> None:
    one, other = crossing()
    frames = slice(22, 29)
    hand = slipped(one, other, frames, [POSECLI19.index("left_wrist")])
    assert mend_crossings([hand, other], TIMES)[1] == 0
    whole = list(range(19))
    ghost = slipped(other, one, slice(0, NUM_FRAMES), whole)
    assert mend_crossings([one, ghost], TIMES)[1] == 0
    embrace = slipped(one, other, slice(12, 50), whole)
    assert mend_crossings([embrace, other], TIMES)[1] == 0
    assert mend_crossings([embrace, other], TIMES, CrossingsConfig(max_claim_s=2.0))[1] > 0


def test_people_far_apart_are_not_compared() -> None:
    one, other = crossing()
    wrong = slipped(one, other, slice(2, 5), HEAD)  # 250 px apart: no crop shows both
    assert mend_crossings([wrong, other], TIMES)[1] == 0


def test_nobody_and_somebody_alone() -> None:
    assert mend_crossings([], TIMES) == ([], 0)
    one, _ = crossing()
    assert mend_crossings([one], TIMES) == ([one], 0)
    far = walker(2, 50.0, 5.0, y=700.0)
    assert mend_crossings([one, far], TIMES) == ([one, far], 0)


def test_missing_points_are_not_invented() -> None:
    one, other = crossing()
    keypoints = slipped(one, other, slice(22, 29), HEAD).keypoints.copy()
    keypoints[25, HEAD[0]] = np.nan
    mended, _ = mend_crossings([replace(one, keypoints=keypoints), other], TIMES)
    assert np.isnan(mended[0].keypoints[25, HEAD[0]]).all()


@pytest.mark.parametrize("name", ["near_size", "min_points", "far_size", "max_claim_s", "score_factor"])
def test_settings_that_make_no_sense(name: str) -> None:
    with pytest.raises(ConfigError, match=f"crossings {name} is 0"):
        CrossingsConfig(**{name: 0})
