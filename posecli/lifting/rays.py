"""Turning poses between the camera's frame and the frame of a camera that looks straight at the person.

Who stands beside the middle of the picture is seen along another ray, and so from another side: the same pose in the crop is another
one in the camera's frame. A lifter that does not know where in the picture a person is can only speak in the frame of the ray.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray


def facing_rotations(rays: NDArray[np.floating]) -> FloatArray:
    """The shortest rotations that turn rays to straight ahead.

    Args:
        rays: (T, 3) of any length, x right, y down, z forward, z above 0; NaN counts as straight ahead.

    Returns:
        (T, 3, 3): ``R @ ray`` points along z. ``R`` takes the camera's frame to the ray's, its transpose the other way.
    """
    known = np.where(np.isfinite(rays).all(axis=-1, keepdims=True), rays, [0.0, 0.0, 1.0])
    x, y, z = np.moveaxis(known / np.linalg.norm(known, axis=-1, keepdims=True), -1, 0)
    part = 1.0 / (1.0 + z)
    rows = [[1.0 - x * x * part, -x * y * part, -x], [-x * y * part, 1.0 - y * y * part, -y], [x, y, z]]
    return np.moveaxis(np.array(rows), -1, 0).astype(np.float32)


def turned(joints: FloatArray, rotations: FloatArray) -> FloatArray:
    """(T, J, 3) joints, each frame turned by its (3, 3) rotation."""
    return np.asarray(np.einsum("tij,tkj->tki", rotations, joints), np.float32)
