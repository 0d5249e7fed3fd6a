"""Lengths of bones: the standard body that 3D poses are given for, and bodies of other proportions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray
from posecli.skeletons import H36M17, STANDARD_BONES_MM

_PARENTS, _JOINTS = (np.array(column) for column in zip(*H36M17.bones, strict=True))
_INDEX = {name: i for i, name in enumerate(H36M17.joint_names)}
_LEGS = [i for i, name in enumerate(H36M17.joint_names[1:]) if name.endswith(("knee", "ankle"))]

GROUP_NAMES = ("hip", "knee", "ankle", "spine", "neck", "shoulder", "elbow", "wrist")
_GROUP_OF = {"thorax": "spine", "head": "neck"}
GROUPS = np.array(
    [
        GROUP_NAMES.index(_GROUP_OF.get(name, name))
        for name in (full.removeprefix("left_").removeprefix("right_") for full in H36M17.joint_names[1:])
    ]
)
"""(16,): bones that must change together. Left and right are alike; and where a joint is the middle between others by definition, the
bones that meet there are."""


def rebuild_trunk(joints: FloatArray) -> FloatArray:
    """Put the joints of the trunk where posecli defines them (`H36M17`), from hips, shoulders and head.

    Args:
        joints: (T, 17, 3) or (T, 17, 2) in any units; the head must be at the height of the ears already.
    """
    rebuilt = joints.copy()
    root = (joints[:, _INDEX["left_hip"]] + joints[:, _INDEX["right_hip"]]) / 2
    thorax = (joints[:, _INDEX["left_shoulder"]] + joints[:, _INDEX["right_shoulder"]]) / 2
    rebuilt[:, _INDEX["root"]], rebuilt[:, _INDEX["thorax"]] = root, thorax
    rebuilt[:, _INDEX["spine"]] = (root + thorax) / 2
    rebuilt[:, _INDEX["neck"]] = (thorax + joints[:, _INDEX["head"]]) / 2
    return rebuilt


def bone_vectors(joints_mm: FloatArray) -> FloatArray:
    """(..., 17, 3) -> (..., 16, 3): from each joint's parent to it."""
    return joints_mm[..., _JOINTS, :] - joints_mm[..., _PARENTS, :]


def bone_lengths(joints_mm: FloatArray) -> FloatArray:
    """(T, 17, 3) -> (16,): the median over the frames of each bone, mm; NaN is ignored."""
    return np.nanmedian(np.linalg.norm(bone_vectors(joints_mm), axis=-1), axis=0).astype(np.float32)


def standard_scale(joints_mm: FloatArray) -> float:
    """What (T, 17, 3) must be multiplied with to become the standard body: its bones together `STANDARD_BONES_MM`."""
    return float(STANDARD_BONES_MM / bone_lengths(joints_mm).sum())


def group_lengths(joints_mm: FloatArray) -> FloatArray:
    """(T, 17, 3) -> (8,): the mean length of the bones of each of `GROUP_NAMES`, mm."""
    lengths = bone_lengths(joints_mm)
    return np.array([lengths[group == GROUPS].mean() for group in range(len(GROUP_NAMES))], np.float32)


def with_proportions(joints_mm: FloatArray, factors: NDArray[np.floating]) -> FloatArray:
    """Another body in the same motion: bones longer or shorter, joint angles kept.

    The path of the root scales with the legs, so that feet neither slide nor leave the floor; then everything is scaled to the
    standard body.

    Args:
        joints_mm: (T, 17, 3), y up, the floor at 0.
        factors: (8,) of the groups of bones.
    """
    vectors = bone_vectors(joints_mm)
    lengths = np.median(np.linalg.norm(vectors, axis=-1), axis=0)
    changed = lengths * factors[GROUPS]
    scale = STANDARD_BONES_MM / changed.sum()
    legs = changed[_LEGS].sum() / lengths[_LEGS].sum()
    vectors = vectors * (factors[GROUPS] * scale).astype(np.float32)[:, None]
    moved = np.empty_like(joints_mm)
    moved[:, 0] = joints_mm[:, 0] * np.float32(legs * scale)
    for bone, (parent, joint) in enumerate(H36M17.bones):
        moved[:, joint] = moved[:, parent] + vectors[:, bone]
    return moved
