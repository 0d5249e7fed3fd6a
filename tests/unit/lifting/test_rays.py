"""Turning between the camera's frame and the frame of whoever looks straight at the person."""

from __future__ import annotations

import numpy as np

from posecli.lifting.rays import facing_rotations, turned


def test_a_ray_is_turned_to_straight_ahead() -> None:
    rays = np.array([[0.3, -0.2, 1.0], [-2.0, 5.0, 1.0], [0.0, 0.0, 3.0]])
    rotations = facing_rotations(rays)
    ahead = np.einsum("tij,tj->ti", rotations, rays)
    assert np.allclose(ahead[:, :2], 0.0, atol=1e-5)
    assert np.allclose(ahead[:, 2], np.linalg.norm(rays, axis=1), rtol=1e-5)


def test_they_are_rotations_about_an_axis_across_the_ray() -> None:
    rays = np.random.default_rng(0).normal(size=(50, 3))
    rays[:, 2] = np.abs(rays[:, 2])
    rotations = facing_rotations(rays)
    assert np.allclose(rotations @ rotations.swapaxes(1, 2), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(rotations), 1.0, atol=1e-5)
    # the shortest: what is at right angles to the ray and to straight ahead stays where it is
    across = np.cross(rays, [0.0, 0.0, 1.0])
    assert np.allclose(np.einsum("tij,tj->ti", rotations, across), across, atol=1e-5)


def test_45_degrees_by_hand() -> None:
    (rotation,) = facing_rotations(np.array([[1.0, 0.0, 1.0]]))
    half = np.sqrt(0.5)
    assert np.allclose(rotation, [[half, 0, -half], [0, 1, 0], [half, 0, half]], atol=1e-6)


def test_an_unknown_ray_changes_nothing() -> None:
    assert np.array_equal(facing_rotations(np.array([[np.nan, 0.0, 1.0]]))[0], np.eye(3))


def test_turning_there_and_back() -> None:
    joints = np.random.default_rng(1).normal(size=(4, 17, 3)).astype(np.float32)
    rotations = facing_rotations(np.random.default_rng(2).normal(size=(4, 3)) * [1, 1, 0] + [0, 0, 1])
    assert np.allclose(turned(turned(joints, rotations), rotations.swapaxes(1, 2)), joints, atol=1e-5)
    assert np.allclose(turned(joints, rotations)[2, 5], rotations[2] @ joints[2, 5], atol=1e-5)
