"""Rotations as (..., 3, 3) matrices, made of angles, axes, directions and quaternions. Angles are radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Reals = NDArray[np.float64]


def about_x(angle: ArrayLike) -> Reals:
    """(...) angles -> rotations that turn y towards z."""
    return from_vector(_along(angle, 0))


def about_y(angle: ArrayLike) -> Reals:
    """(...) angles -> rotations that turn z towards x."""
    return from_vector(_along(angle, 1))


def about_z(angle: ArrayLike) -> Reals:
    """(...) angles -> rotations that turn x towards y."""
    return from_vector(_along(angle, 2))


def _along(angle: ArrayLike, axis: int) -> Reals:
    vector = np.zeros((*np.shape(angle), 3))
    vector[..., axis] = angle
    return vector


def from_vector(vector: ArrayLike) -> Reals:
    """(..., 3) axis times angle -> rotations."""
    v = np.asarray(vector, np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(v / np.maximum(angle[..., 0], 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*v.shape[:-1], 3, 3)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross))


def between(start: ArrayLike, end: ArrayLike) -> Reals:
    """The smallest rotation that turns one direction (3,) into another (3,)."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:  # the same direction, or the opposite: then about any axis across it
        across = np.cross(a, np.eye(3)[int(np.argmin(np.abs(a)))])
        return np.eye(3) if a @ b > 0 else from_vector(np.pi * across / np.linalg.norm(across))
    return from_vector(axis / sine * np.arctan2(sine, float(a @ b)))


def from_quaternion(quaternion: ArrayLike) -> Reals:
    """(..., 4) w, x, y, z -> rotations; normalised first."""
    q = np.asarray(quaternion, np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return np.stack(rows, axis=-1).reshape(*q.shape[:-1], 3, 3)


def blend_quaternions(first: ArrayLike, second: ArrayLike, part: ArrayLike) -> Reals:
    """(..., 4), (..., 4) and (...) in [0, 1] -> (..., 4): normalised linear interpolation along the shorter way.

    Between frames a thirtieth of a second apart it equals slerp to a thousandth of a degree.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    b = np.where((a * b).sum(axis=-1, keepdims=True) < 0, -b, b)
    p = np.asarray(part, np.float64)[..., None]
    mixed = a * (1.0 - p) + b * p
    return np.asarray(mixed / np.linalg.norm(mixed, axis=-1, keepdims=True))


def random_direction(rng: np.random.Generator) -> Reals:
    """(3,) uniform on the sphere."""
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))
