"""Rotations of bones, many frames at once. Columns are turned: a rotation R takes v to R v.

Legend: N frames, C bones that leave one joint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_TINY = 1e-9
# Below this cosine two directions are opposite: the axis between them is arbitrary.
_OPPOSITE = -1.0 + 1e-9


def shortest_rotations(start: Float64Array, end: Float64Array) -> Float64Array:
    """The rotations by the smallest angle that take one direction to another.

    Args:
        start: (N, 3), any length.
        end: (N, 3), any length.

    Returns:
        (N, 3, 3); no rotation where a direction has no length, a half turn about some axis where they are opposite.
    """
    lengths = np.linalg.norm(start, axis=-1, keepdims=True) * np.linalg.norm(end, axis=-1, keepdims=True)
    is_known = lengths[:, 0] > _TINY
    scale = np.maximum(lengths, _TINY)
    cross, cosine = np.cross(start, end) / scale, ((start * end).sum(axis=-1, keepdims=True) / scale)[:, 0]
    is_opposite = is_known & (cosine < _OPPOSITE)
    skew = np.zeros((len(start), 3, 3))
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -cross[:, 2], cross[:, 1], -cross[:, 0]
    skew -= skew.swapaxes(1, 2)
    share = 1.0 / np.where(is_opposite, 1.0, 1.0 + np.maximum(cosine, _OPPOSITE))
    rotation = np.eye(3) + skew + skew @ skew * share[:, None, None]
    rotation[is_opposite] = _half_turns(start[is_opposite])
    rotation[~is_known] = np.eye(3)
    return rotation


def best_rotations(start: Float64Array, end: Float64Array) -> Float64Array:
    """The rotations that take several directions closest to several others (Kabsch's algorithm, by singular values).

    Args:
        start: (C, 3).
        end: (N, C, 3), any length.

    Returns:
        (N, 3, 3).
    """
    directions = end / np.maximum(np.linalg.norm(end, axis=-1, keepdims=True), _TINY)
    left, _, right = np.linalg.svd(np.einsum("ncj,ck->njk", directions, start))
    # a mirror image is no rotation
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    return np.asarray(left @ right, np.float64)


def euler_zxy(rotations: Float64Array) -> Float64Array:
    """Angles about Z, X, Y of rotations Rz Rx Ry.

    Args:
        rotations: (..., 3, 3).

    Returns:
        (..., 3) degrees; where X is a right angle, and Z and Y turn about the same axis, Y is 0.
    """
    cosine = np.hypot(rotations[..., 0, 1], rotations[..., 1, 1])
    is_locked = cosine < _TINY
    free_z = np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1])
    locked_z = np.arctan2(rotations[..., 1, 0], rotations[..., 0, 0])
    y = np.where(is_locked, 0.0, np.arctan2(-rotations[..., 2, 0], rotations[..., 2, 2]))
    x = np.arctan2(rotations[..., 2, 1], cosine)
    return np.degrees(np.stack([np.where(is_locked, locked_z, free_z), x, y], axis=-1))


def matrices_zxy(angles_deg: Float64Array) -> Float64Array:
    """(..., 3, 3): Rz Rx Ry of (..., 3) degrees about Z, X, Y."""
    (sz, sx, sy), (cz, cx, cy) = (np.moveaxis(f(np.radians(angles_deg)), -1, 0) for f in (np.sin, np.cos))
    rows = [
        [cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy],
        [sz * cy + cz * sx * sy, cz * cx, sz * sy - cz * sx * cy],
        [-cx * sy, sx, cx * cy],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _half_turns(directions: Float64Array) -> Float64Array:
    """(N, 3, 3): a half turn about an axis across each direction."""
    other = np.eye(3)[np.abs(directions).argmin(axis=-1)]
    axis = np.cross(directions, other)
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    return np.asarray(2.0 * axis[:, :, None] * axis[:, None, :] - np.eye(3), np.float64)
