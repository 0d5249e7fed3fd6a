"""The lengths of bones in 3D poses: measured, held steady, brought to the standard body's.

Legend: T frames, J joints of `posecli.skeletons.H36M17`, root-relative; any unit.
"""

from __future__ import annotations

import numpy as np

from posecli.errors import ConfigError
from posecli.records import FloatArray
from posecli.skeletons import H36M17, STANDARD_BONES_MM

_SHORTEST = 1e-6
_HEIGHTS_CM = (30.0, 300.0)


def check_height(height_cm: float) -> None:
    """Refuse what is no person's height.

    Raises:
        ConfigError: It is not between 30 and 300 cm.
    """
    low, high = _HEIGHTS_CM
    if not low <= height_cm <= high:
        raise ConfigError(f"height is {height_cm:g} cm", hint=f"give a number from {low:g} to {high:g}")


def bone_lengths(joints: FloatArray) -> FloatArray:
    """(T, J - 1): the length of every bone, in the order of ``H36M17.bones``; NaN where an end is missing."""
    parents, children = np.transpose(H36M17.bones)
    return np.asarray(np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1), np.float32)


def to_standard_size(joints: FloatArray) -> FloatArray:
    """Scale every frame so that its bones together are as long as the standard body's; for networks that know no size.

    Args:
        joints: (T, J, 3) in any unit.

    Returns:
        (T, J, 3) mm; a frame without any extent stays as it is.
    """
    total = bone_lengths(joints).sum(axis=1)
    scale = np.where(total > _SHORTEST, STANDARD_BONES_MM / np.maximum(total, _SHORTEST), 1.0)
    return np.asarray(joints * scale[:, None, None], np.float32)


def steady_bones(joints: FloatArray) -> FloatArray:
    """The same poses with each bone always as long as its median over the frames; directions stay.

    Args:
        joints: (T, J, 3), NaN where missing: a frame has all joints or none.

    Returns:
        (T, J, 3).
    """
    is_whole = np.isfinite(joints).all(axis=(1, 2))
    if not is_whole.any():
        return joints.copy()
    whole = joints[is_whole].astype(np.float64)
    lengths = np.median(bone_lengths(joints[is_whole]), axis=0)
    steady = whole.copy()
    for length, (parent, child) in zip(lengths, H36M17.bones, strict=True):
        bone = whole[:, child] - whole[:, parent]
        extent = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), _SHORTEST)
        steady[:, child] = steady[:, parent] + bone / extent * float(length)
    result = joints.copy()
    result[is_whole] = steady
    return result
