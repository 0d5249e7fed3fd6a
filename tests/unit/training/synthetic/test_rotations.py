"""Rotations made of angles, axes, directions and quaternions agree with each other."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.training.synthetic.rotations import (
    about_x,
    about_y,
    about_z,
    between,
    blend_quaternions,
    from_quaternion,
    from_vector,
)


def test_axes_turn_the_way_their_names_say() -> None:
    quarter = np.pi / 2
    assert about_x(quarter) @ [0, 1, 0] == pytest.approx([0, 0, 1])
    assert about_y(quarter) @ [0, 0, 1] == pytest.approx([1, 0, 0])
    assert about_z(quarter) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert about_z(np.array([0.1, 0.2])).shape == (2, 3, 3)


@pytest.mark.parametrize("end", [(0.3, -2.0, 0.5), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)])
def test_between_turns_one_direction_into_the_other(end: tuple[float, float, float]) -> None:
    rotation = between((2.0, 0.0, 0.0), end)
    assert rotation @ [1, 0, 0] == pytest.approx(np.array(end) / np.linalg.norm(end), abs=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_quaternions_and_vectors_agree() -> None:
    rng = np.random.default_rng(1)
    vector = rng.normal(size=(20, 3))
    angle = np.linalg.norm(vector, axis=1, keepdims=True)
    quaternion = np.concatenate([np.cos(angle / 2), np.sin(angle / 2) * vector / angle], axis=1)
    assert from_quaternion(quaternion) == pytest.approx(from_vector(vector), abs=1e-9)
    assert from_quaternion(-3 * quaternion) == pytest.approx(from_vector(vector), abs=1e-9)


def test_blending_goes_the_shorter_way() -> None:
    still, turned = np.array([1.0, 0, 0, 0]), -np.array([np.cos(0.2), np.sin(0.2), 0, 0])
    halfway = from_quaternion(blend_quaternions(still, turned, 0.5))
    assert halfway == pytest.approx(about_x(0.2), abs=1e-9)
