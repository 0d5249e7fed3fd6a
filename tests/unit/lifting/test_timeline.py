"""Tracks are cut at long gaps, bridged at short ones, and brought to the training data's pace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecli.lifting.timeline import Stretch, stretches

J = 17


def moving(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every joint on its own straight line; all are seen."""
    joint = np.arange(J)
    joints = np.stack([100 + 7 * joint + 30 * times[:, None], 50 + 3 * joint - 20 * times[:, None]], axis=-1)
    return joints.astype(np.float32), np.full((len(times), J), 0.8, np.float32)


def cut(frames: np.ndarray, time_s: np.ndarray, **options: float) -> list[Stretch]:
    joints, scores = moving(time_s[frames])
    return list(stretches(joints, scores, frames, time_s, **options))  # type: ignore[arg-type]


def test_a_whole_track_is_its_own_frames() -> None:
    time_s = np.arange(50) / 30.0
    [part] = cut(np.arange(50), time_s)
    joints, scores = moving(time_s)
    assert np.array_equal(part.times_s, time_s)
    assert np.array_equal(part.joints, joints)
    assert np.array_equal(part.scores, scores)
    lifted = np.random.default_rng(0).normal(size=(50, J, 3)).astype(np.float32)
    assert np.array_equal(part.at_rows(lifted), lifted)


def test_a_short_gap_is_bridged_by_straight_lines_and_a_long_one_cuts() -> None:
    time_s = np.arange(90) / 30.0
    frames = np.delete(np.arange(90), [*range(10, 19), *range(40, 50)])  # 0.3 s, 0.333 s
    first, second = cut(frames, time_s)
    assert (len(first.rows), len(first.times_s), len(second.rows), len(second.times_s)) == (31, 40, 40, 40)
    expected, _ = moving(time_s)
    assert np.abs(first.joints - expected[:40]).max() < 1e-3
    assert np.abs(second.joints - expected[50:]).max() < 1e-3
    back = first.at_rows(first.joints)
    assert np.array_equal(back, first.joints[np.delete(np.arange(40), range(10, 19))])


def test_a_single_joint_is_bridged_briefly_and_missing_for_long() -> None:
    time_s = np.arange(60) / 30.0
    joints, scores = moving(time_s)
    joints[5:10, 3] = np.nan
    scores[20:40, 7] = 0.0
    [part] = stretches(joints, scores, np.arange(60), time_s)
    expected, _ = moving(time_s)
    assert np.abs(part.joints[:, 3] - expected[:, 3]).max() < 1e-3
    assert np.isnan(part.joints[20:40, 7]).all()
    assert (part.scores[20:40, 7] == 0.0).all()
    assert np.isfinite(part.joints[:20, 7]).all() and np.isfinite(part.joints[40:, 7]).all()


@pytest.mark.parametrize(
    ("fps", "resampled"), [(24, False), (30, False), (40, False), (60, True), (15, True), (2, True)]
)
def test_only_another_pace_is_resampled(fps: int, resampled: bool) -> None:
    time_s = np.arange(3 * fps + 1) / fps
    [part] = cut(np.arange(len(time_s)), time_s)
    assert len(part.times_s) == (91 if resampled else len(time_s))
    expected, _ = moving(part.times_s)
    assert np.abs(part.joints - expected).max() < 1e-3


def test_uneven_frames_are_resampled() -> None:
    time_s = np.cumsum(np.where(np.arange(60) % 3 == 0, 0.06, 0.03))
    [part] = cut(np.arange(60), time_s)
    assert np.ptp(np.diff(part.times_s)) < 1e-9
    assert 1.0 / np.diff(part.times_s)[0] == pytest.approx(30.0, rel=0.02)


def test_resampled_answers_come_back_to_the_rows_on_a_smooth_curve() -> None:
    time_s = np.arange(121) / 60.0
    [part] = cut(np.arange(121), time_s)
    lifted = np.sin(2.0 * np.pi * part.times_s)[:, None, None] * np.ones((1, J, 3))
    back = part.at_rows(lifted.astype(np.float32))
    assert np.abs(back - np.sin(2.0 * np.pi * time_s)[:, None, None]).max() < 2e-3


def test_frames_of_an_image_folder_seconds_apart_stay_together() -> None:
    time_s = np.arange(5) * 1.0
    [part] = cut(np.arange(5), time_s)
    assert len(part.rows) == 5


def test_one_frame_is_a_stretch_and_nobody_is_none() -> None:
    [part] = cut(np.array([3]), np.arange(9) / 30.0)
    assert part.joints.shape == (1, J, 2)
    joints, scores = moving(np.arange(4) / 30.0)
    scores[:, 4:] = 0.0  # four joints are not a person
    assert list(stretches(joints, scores, np.arange(4), np.arange(4) / 30.0)) == []


def test_times_that_do_not_fit_are_refused() -> None:
    joints, scores = moving(np.arange(4) / 30.0)
    with pytest.raises(ValueError, match="not all among 3 times"):
        list(stretches(joints, scores, np.arange(4), np.arange(3) / 30.0))
    with pytest.raises(ValueError, match="do not ascend"):
        list(stretches(joints, scores, np.arange(4), np.zeros(4)))


@given(
    fps=st.floats(5, 120),
    gaps=st.lists(st.integers(0, 199), max_size=120, unique=True),
)
def test_every_row_is_in_one_stretch_and_comes_back(fps: float, gaps: list[int]) -> None:
    time_s = np.arange(200) / fps
    frames = np.delete(np.arange(200), gaps)
    joints, _ = moving(time_s[frames])
    parts = cut(frames, time_s)
    assert np.array_equal(np.concatenate([part.rows for part in parts]), np.arange(len(frames)))
    for part in parts:
        assert np.abs(part.at_rows(part.joints) - joints[part.rows]).max() < 1e-2
