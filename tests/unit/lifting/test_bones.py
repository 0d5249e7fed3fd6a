"""Bones keep their length, poses their directions."""

from __future__ import annotations

import numpy as np

from posecli.lifting.bones import bone_lengths, steady_bones, to_standard_size
from posecli.skeletons import H36M17, STANDARD_BONES_MM


def random_poses(num_frames: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    joints = np.zeros((num_frames, 17, 3))
    for parent, child in H36M17.bones:
        direction = rng.normal(size=(num_frames, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        joints[:, child] = joints[:, parent] + direction * (200 + 10 * child) * rng.uniform(0.9, 1.1, (num_frames, 1))
    return joints.astype(np.float32)


def test_lengths_by_hand() -> None:
    joints = np.zeros((1, 17, 3), np.float32)
    joints[0, 1] = [3, 4, 0]
    lengths = bone_lengths(joints)
    assert lengths.shape == (1, 16)
    assert lengths[0, 0] == 5.0
    assert lengths[0, 1] == 5.0  # the knee is still at the root
    assert (lengths[0, 2:] == 0.0).all()


def test_steady_bones_have_their_median_length_and_old_directions() -> None:
    joints = random_poses(40)
    joints[7] = np.nan
    steady = steady_bones(joints)
    whole = np.delete(np.arange(40), 7)
    lengths = bone_lengths(steady)[whole]
    assert np.ptp(lengths, axis=0).max() < 0.01
    assert np.abs(lengths[0] - np.median(bone_lengths(joints)[whole], axis=0)).max() < 0.01
    parents, children = np.transpose(H36M17.bones)
    before, after = (values[:, children] - values[:, parents] for values in (joints[whole], steady[whole]))
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
    assert cosine.min() > 1 - 1e-6
    assert np.isnan(steady[7]).all()
    assert np.abs(steady_bones(steady)[whole] - steady[whole]).max() < 0.01


def test_nobody_stays_nobody() -> None:
    assert np.isnan(steady_bones(np.full((3, 17, 3), np.nan, np.float32))).all()


def test_the_standard_size_is_reached_in_every_frame() -> None:
    scaled = to_standard_size(random_poses(5) * np.linspace(0.001, 3, 5, dtype=np.float32)[:, None, None])
    assert np.abs(bone_lengths(scaled).sum(axis=1) - STANDARD_BONES_MM).max() < 0.01
    assert (to_standard_size(np.zeros((1, 17, 3), np.float32)) == 0.0).all()
