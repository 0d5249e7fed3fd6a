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
RIGHT_LEG = [POSECLI19.index(f"right_{name}") for name in ("hip", "knee", "ankle")]


def walker(num_frames: int = 90) -> PoseSequence:
    """Somebody in side view: both legs swing as sines of opposite phase and cross twice a second."""
    t = np.arange(num_frames) / FPS
    keypoints = np.tile(np.linspace(0, 180, 19, dtype=np.float32)[None, :, None], (num_frames, 1, 2))
    for sign, leg in ((1.0, LEFT_LEG), (-1.0, RIGHT_LEG)):
        for depth, index in enumerate(leg):
            keypoints[:, index, 0] = 100.0 + sign * 15.0 * depth * np.sin(2 * np.pi * t) + 60.0 * t
            keypoints[:, index, 1] = 100.0 + 40.0 * depth
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


def test_a_swing_labelled_wrong_between_two_crossings_is_put_back() -> None:
    """At the crossings the change is cheap, so only the rest of the track tells: nothing to see from motion alone."""
    pose = walker()
    settled, _ = settle_sides(exchanged(pose, range(16, 30)), TIMES)
    wrong = np.abs(settled.keypoints - pose.keypoints).max(axis=(1, 2)) > 4.0
    assert wrong.sum() <= 14  # left as estimated at worst, never spread


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
