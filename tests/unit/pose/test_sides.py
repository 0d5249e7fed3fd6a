"""Sides that jump are put back; sides that move are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.pose.sides import SidesConfig, settle_sides
from posecli.records import PoseSequence
from posecli.skeletons import POSECLI19

FPS = 30.0
LEFT_LEG = [POSECLI19.index(f"left_{name}") for name in ("hip", "knee", "ankle")]
SHOULDERS = [POSECLI19.index(f"{side}_shoulder") for side in ("left", "right")]
RIGHT_LEG = [POSECLI19.index(f"right_{name}") for name in ("hip", "knee", "ankle")]


def walker(num_frames: int = 90, *, width: float = 0.1) -> PoseSequence:
    """Somebody in side view: both legs swing as sines of opposite phase and cross twice a second.

    ``width``: of the shoulders as seen, in trunk lengths.
    """
    t = np.arange(num_frames) / FPS
    keypoints = np.tile(np.linspace(0, 180, 19, dtype=np.float32)[None, :, None], (num_frames, 1, 2))
    for sign, leg in ((1.0, LEFT_LEG), (-1.0, RIGHT_LEG)):
        for depth, index in enumerate(leg):
            keypoints[:, index, 0] = 100.0 + sign * 15.0 * depth * np.sin(2 * np.pi * t) + 60.0 * t
            keypoints[:, index, 1] = 100.0 + 40.0 * depth
    for sign, index in zip((1.0, -1.0), SHOULDERS, strict=True):
        keypoints[:, index, 0] = 100.0 + sign * 30.0 * width + 60.0 * t
        keypoints[:, index, 1] = 40.0
    return PoseSequence(
        track_id=0,
        skeleton="posecli19",
        frame_indices=np.arange(num_frames),
        keypoints=keypoints.astype(np.float32),
        raw_keypoints=keypoints.astype(np.float32),
        scores=np.full((num_frames, 19), 0.6, np.float32),
        boxes=np.tile(np.array([50, 0, 150, 200], np.float32), (num_frames, 1)),
        box_scores=np.ones(num_frames, np.float32),
        interpolated=np.zeros(num_frames, np.bool_),
    )


def exchanged(pose: PoseSequence, frames: range | list[int]) -> PoseSequence:
    """The legs' labels exchanged in some frames."""
    keypoints = pose.keypoints.copy()
    for frame in frames:
        keypoints[frame, LEFT_LEG + RIGHT_LEG] = pose.keypoints[frame, RIGHT_LEG + LEFT_LEG]
    return replace(pose, keypoints=keypoints)


TIMES = np.arange(90) / FPS


def test_a_steady_walker_is_left_alone() -> None:
    pose = walker()
    settled, count = settle_sides(pose, TIMES)
    assert count == 0
    assert (settled.keypoints == pose.keypoints).all()


@pytest.mark.parametrize("frames", [[20], [20, 21, 22], range(33, 38), [7, 25, 26, 51, 80]])
def test_jumps_are_put_back(frames: range | list[int]) -> None:
    """Away from the crossings at 0, 15, 30, ..., and never most of the frames between two crossings: the majority decides there."""
    pose = walker()
    settled, count = settle_sides(exchanged(pose, frames), TIMES)
    assert np.abs(settled.keypoints - pose.keypoints).max() < 4.0
    assert count >= len(frames) - 1


@pytest.mark.parametrize(
    "swings", [[range(16, 30)], [range(16, 30), range(46, 60)], [range(15)], [range(31, 45), range(76, 90)]]
)
def test_swings_labelled_wrong_between_two_crossings_are_put_back(swings: list[range]) -> None:
    """At the crossings the change is cheap and motion tells nothing: that legs pass each other does."""
    pose = walker()
    frames = [frame for swing in swings for frame in swing]
    settled, count = settle_sides(exchanged(pose, frames), TIMES)
    assert np.abs(settled.keypoints - pose.keypoints).max() < 6.0
    assert abs(count - len(frames)) <= 2 * len(swings)


def test_single_frames_labelled_wrong_do_not_hide_a_swing_labelled_wrong() -> None:
    pose = walker()
    settled, _ = settle_sides(exchanged(exchanged(pose, range(16, 30)), [7, 8, 23, 52]), TIMES)
    assert np.abs(settled.keypoints - pose.keypoints).max() < 6.0


def test_legs_that_seem_to_swing_back_are_left_so_when_seen_from_the_front_or_slowly() -> None:
    """Somebody who faces the camera and squats, and somebody who takes four seconds to step forth and back."""
    labelled_wrong = exchanged(walker(width=0.6), range(16, 30))
    assert settle_sides(labelled_wrong, TIMES)[1] == 0
    slow = TIMES * 4
    assert settle_sides(exchanged(walker(), range(16, 30)), slow)[1] == 0


def test_a_leg_that_swings_back_is_left_so_where_the_network_is_sure() -> None:
    """Nobody's legs pass in a pendulum of one leg; if most of a long track says so, one passing more or less does not turn it over."""
    pose = walker()
    sure = replace(pose, scores=np.full_like(pose.scores, 0.9))
    settled, count = settle_sides(sure, TIMES, SidesConfig(passing_weight=1e-6))
    assert count == 0 and (settled.keypoints == pose.keypoints).all()


def test_gaps_do_not_bind() -> None:
    pose = exchanged(walker(), range(45, 90))
    far = replace(pose, frame_indices=np.concatenate([np.arange(45), np.arange(145, 190)]))
    settled, count = settle_sides(far, np.arange(190) / FPS)
    assert count == 0
    assert (settled.keypoints == pose.keypoints).all()


def test_missing_points_and_short_tracks_pass() -> None:
    pose = walker()
    pose.keypoints[10:20, LEFT_LEG] = np.nan
    pose.scores[10:20, LEFT_LEG] = 0.0
    settled, _ = settle_sides(pose, TIMES)
    assert np.isnan(settled.keypoints[10:20]).sum() == np.isnan(pose.keypoints[10:20]).sum()
    one = walker(1)
    assert settle_sides(one, TIMES)[0] is one


def test_a_config_checks_itself() -> None:
    with pytest.raises(ConfigError, match="motion_weight"):
        SidesConfig(motion_weight=0.0)
