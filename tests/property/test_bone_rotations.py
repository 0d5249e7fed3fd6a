"""Rotations of bones, whatever the directions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posecli.formats.bone_rotations import best_rotations, euler_zxy, matrices_zxy, shortest_rotations

COMPONENTS = st.floats(-1, 1).map(lambda value: round(value, 3))
VECTORS = arrays(np.float64, (4, 3), elements=COMPONENTS)
ANGLES = arrays(
    np.float64, (5, 3), elements=st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, -90.0, 0.0, 90.0]))
)


def is_rotation(matrices: np.ndarray) -> bool:
    identity = matrices @ matrices.swapaxes(-1, -2)
    return bool(np.abs(identity - np.eye(3)).max() < 1e-6 and (np.linalg.det(matrices) > 0).all())


@given(start=VECTORS, end=VECTORS)
def test_the_shortest_rotation_gets_there_and_turns_no_further(start: np.ndarray, end: np.ndarray) -> None:
    rotations = shortest_rotations(start, end)
    assert is_rotation(rotations)
    lengths = np.linalg.norm(start, axis=1) * np.linalg.norm(end, axis=1)
    for rotation, a, b, length in zip(rotations, start, end, lengths, strict=True):
        if length < 1e-6:
            assert np.array_equal(rotation, np.eye(3)) or length > 0
            continue
        turned = rotation @ a
        assert np.abs(turned / np.linalg.norm(a) - b / np.linalg.norm(b)).max() < 1e-4
        cosine = a @ b / length
        assert abs((np.trace(rotation) - 1) / 2 - cosine) < 1e-4


def test_opposite_directions_are_half_a_turn() -> None:
    start = np.array([[0.0, 1, 0], [1, 2, 3]])
    rotations = shortest_rotations(start, -start)
    assert is_rotation(rotations)
    assert np.abs(np.einsum("nij,nj->ni", rotations, start) + start).max() < 1e-9


@given(angles=ANGLES)
def test_angles_give_back_their_rotation(angles: np.ndarray) -> None:
    rotations = matrices_zxy(angles)
    assert is_rotation(rotations)
    assert np.abs(matrices_zxy(euler_zxy(rotations)) - rotations).max() < 1e-6


def test_angles_by_hand() -> None:
    about_z, about_x, about_y = matrices_zxy(np.diag([90.0, 90.0, 90.0]))
    assert np.allclose(about_z @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(about_x @ [0, 1, 0], [0, 0, 1])
    assert np.allclose(about_y @ [0, 0, 1], [1, 0, 0])
    angles = np.array([[20.0, 40.0, -70.0]])
    single = [matrices_zxy(np.diag(angles[0])[axis]) for axis in range(3)]
    assert np.allclose(matrices_zxy(angles)[0], single[0] @ single[1] @ single[2])
    assert np.allclose(euler_zxy(matrices_zxy(angles)), angles)


@given(angles=ANGLES, seed=st.integers(0, 99))
def test_the_best_rotation_of_rigid_bones_is_theirs(angles: np.ndarray, seed: int) -> None:
    start = np.random.default_rng(seed).normal(size=(3, 3))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    truth = matrices_zxy(angles)
    found = best_rotations(start, 3.0 * np.einsum("nij,cj->nci", truth, start))
    assert is_rotation(found)
    assert np.abs(np.einsum("nij,cj->nci", found - truth, start)).max() < 1e-6
