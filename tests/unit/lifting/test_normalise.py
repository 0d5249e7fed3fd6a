"""What a lifter sees: the person, wherever and however large in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.lifting.normalise import normalise_person


def clip(frames: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A person who walks through the picture, all joints sure."""
    body = np.random.default_rng(0).normal(size=(17, 2)) * 40
    joints = body + np.arange(frames)[:, None, None] * [7.0, 1.0] + [200, 100]
    return joints.astype(np.float32), np.ones((frames, 17), np.float32)


def test_place_size_and_motion_through_the_picture_do_not_matter() -> None:
    joints, scores = clip()
    one, other = normalise_person(joints, scores), normalise_person(joints * 3 - 500, scores)
    assert np.allclose(one.inputs, other.inputs, atol=1e-5)
    assert other.scale_px == pytest.approx(3 * one.scale_px, rel=1e-5)
    assert np.allclose(one.inputs, one.inputs[:1], atol=1e-5)
    assert (one.inputs[:, 0, :2] == 0).all()


def test_the_size_is_the_diagonal_of_the_persons_box() -> None:
    joints, scores = clip(1)
    low, high = joints[0].min(axis=0), joints[0].max(axis=0)
    assert normalise_person(joints, scores).scale_px == pytest.approx(np.hypot(*(high - low)), rel=1e-6)


def test_who_crouches_gets_smaller() -> None:
    joints, scores = clip(10)
    joints[9] = joints[9, :1] + (joints[9] - joints[9, :1]) / 2
    inputs = normalise_person(joints, scores).inputs
    assert np.allclose(inputs[9, :, :2], inputs[8, :, :2] / 2, atol=0.05)


def test_missing_joints_are_0_and_a_missing_root_is_replaced() -> None:
    joints, scores = clip()
    joints[2, 5] = np.nan
    joints[3, 0] = np.nan
    inputs = normalise_person(joints, scores).inputs
    assert (inputs[2, 5] == 0).all()
    assert inputs[2, 4, 2] == 1
    others = inputs[3, 1:, :2]
    assert np.allclose(others.min(axis=0) + others.max(axis=0), 0, atol=1e-5)  # about the middle of what is seen


def test_nobody_is_zeros() -> None:
    person = normalise_person(np.full((4, 17, 2), np.nan, np.float32), np.ones((4, 17), np.float32))
    assert (person.inputs == 0).all()
    assert person.scale_px == 1.0
