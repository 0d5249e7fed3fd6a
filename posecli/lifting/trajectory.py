"""Where a person is: a rough root trajectory from a 3D pose, its 2D joints and an assumed camera.

For every frame the translation t is sought that puts the projections of ``joint + t`` closest to the 2D joints (weighted by
score, in pixels): three unknowns, linear least squares, each row divided by the depth found before. Depth is then smoothed over
time, without lag, and x and y are solved anew for the smooth depth, so that the projection stays on the person.

This is rough. Everything is proportional to the body height assumed (10 cm wrong: 6 %), and depth also to the focal length
assumed: the default field of view of 55 degrees gives a depth 30 % too small for a camera of 40 degrees, and 47 % too large for
one of 75. Camera motion is not known and counts as the person's.

Legend: T frames, J joints. The camera's frame: x right, y down, z forward, millimetres, the camera at the origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.errors import ConfigError
from posecli.records import FloatArray

Float64Array = NDArray[np.float64]

DEFAULT_FOV_DEG = 55.0

_FOV_RANGE_DEG = (5.0, 170.0)
_MIN_JOINTS = 4
_MIN_SCORE = 0.1
_ROUNDS = 3
_NEAREST_MM, _FARTHEST_MM = 100.0, 1e6
_SMOOTHING_S = 0.25
_REACH_SIGMAS = 3.0
_MAX_BRIDGE_S = 1.0


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks through the middle of the picture: ``focal_px``, and the middle ``centre_px`` (x, y)."""

    focal_px: float
    centre_px: tuple[float, float]

    @classmethod
    def from_fov(cls, fov_deg: float, *, width_px: int, height_px: int) -> Camera:
        """The camera of a field of view.

        Args:
            fov_deg: Along the longer side of the picture: horizontal, or vertical when it stands upright.
            width_px: Of the picture.
            height_px: Of the picture.

        Raises:
            ConfigError: No such field of view.
        """
        cls.check_fov(fov_deg)
        focal = max(width_px, height_px) / 2.0 / math.tan(math.radians(fov_deg) / 2.0)
        return cls(focal, ((width_px - 1) / 2.0, (height_px - 1) / 2.0))

    def rays(self, points_px: FloatArray) -> Float64Array:
        """(T, 2) px -> (T, 3): where they are seen, x right, y down, z = 1 forward; NaN where missing."""
        offsets = (points_px.astype(np.float64) - np.array(self.centre_px)) / self.focal_px
        return np.concatenate([offsets, np.ones((len(offsets), 1))], axis=1)

    @staticmethod
    def check_fov(fov_deg: float) -> None:
        """Refuse what is no field of view.

        Raises:
            ConfigError: It is not between 5 and 170 degrees.
        """
        low, high = _FOV_RANGE_DEG
        if not low <= fov_deg <= high:
            raise ConfigError(f"field of view is {fov_deg:g} degrees", hint=f"give a number from {low:g} to {high:g}")


def root_trajectory(
    joints_mm: FloatArray, joints_px: FloatArray, scores: FloatArray, time_s: Float64Array, camera: Camera
) -> FloatArray:
    """Where the root is in every frame; see the module for how, and how rough.

    Args:
        joints_mm: (T, J, 3) relative to the root, NaN where missing.
        joints_px: (T, J, 2), NaN where missing.
        scores: (T, J) in [0, 1].
        time_s: (T,) ascending.
        camera: Assumed.

    Returns:
        (T, 3) mm; NaN where fewer than four joints were seen, or where they fit no place in front of the camera.
    """
    rays = (joints_px.astype(np.float64) - np.array(camera.centre_px)) / camera.focal_px
    joints = joints_mm.astype(np.float64)
    is_seen = np.isfinite(rays).all(axis=-1) & np.isfinite(joints).all(axis=-1) & (scores >= _MIN_SCORE)
    weights = np.where(is_seen, scores, 0.0).astype(np.float64)
    rays, joints = (np.where(is_seen[..., None], values, 0.0) for values in (rays, joints))
    depth = _depths(joints, rays, weights)
    depth = _smooth(depth, time_s, weights.sum(axis=1))
    return np.asarray(_sideways(joints, rays, weights, depth), np.float32)


def _depths(joints: Float64Array, rays: Float64Array, weights: Float64Array) -> Float64Array:
    """(T,): the depth of the root in each frame by itself, NaN where there is none.

    (X + t_x) / (Z + t_z) = u becomes t_x - u t_z = u Z - X, and so for y.
    """
    u, v = rays[..., 0], rays[..., 1]
    right_x, right_y = u * joints[..., 2] - joints[..., 0], v * joints[..., 2] - joints[..., 1]
    depth = np.zeros(len(joints))
    found = (weights > 0.0).sum(axis=1) >= _MIN_JOINTS
    w = weights
    for _ in range(_ROUNDS):
        total = np.maximum(w.sum(axis=1), np.finfo(np.float64).tiny)
        mean_u, mean_v, mean_x, mean_y = ((w * values).sum(axis=1) / total for values in (u, v, right_x, right_y))
        # t_x and t_y eliminated: what is left is a straight line through the centred rows
        du, dv = u - mean_u[:, None], v - mean_v[:, None]
        spread = (w * (du * du + dv * dv)).sum(axis=1) / total
        slope = (w * (du * (right_x - mean_x[:, None]) + dv * (right_y - mean_y[:, None]))).sum(axis=1) / total
        found &= spread > 0.0
        depth = np.where(found, -slope / np.where(found, spread, 1.0), 0.0)
        found &= (depth > _NEAREST_MM) & (depth < _FARTHEST_MM)
        depth = np.where(found, depth, 0.0)
        # a row's error is its error on the picture times its depth
        w = weights / np.square(np.maximum(joints[..., 2] + depth[:, None], _NEAREST_MM))
    return np.where(found, depth, np.nan)


def _sideways(joints: Float64Array, rays: Float64Array, weights: Float64Array, depth: Float64Array) -> Float64Array:
    """(T, 3): x and y that fit best at the depths given."""
    away = np.where(np.isfinite(depth), depth, _NEAREST_MM)
    distance = np.maximum(joints[..., 2] + away[:, None], _NEAREST_MM)
    w = weights / np.square(distance)
    total = np.maximum(w.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    xy = (w[..., None] * (rays * distance[..., None] - joints[..., :2])).sum(axis=1) / total
    root = np.concatenate([xy, away[:, None]], axis=1)
    root[~np.isfinite(depth)] = np.nan
    return root


def _smooth(values: Float64Array, time_s: Float64Array, weights: Float64Array) -> Float64Array:
    """A Gaussian over seconds, without lag; straight lines pass unchanged; nothing is smoothed across a gap.

    At each frame a straight line is fitted to its neighbours, so that the ends do not bend towards the middle.
    """
    result = values.copy()
    known = np.flatnonzero(np.isfinite(values))
    breaks = np.flatnonzero(np.diff(time_s[known]) > _MAX_BRIDGE_S) + 1
    for part in np.split(known, breaks):
        times, reach = time_s[part], _REACH_SIGMAS * _SMOOTHING_S
        low, high = np.searchsorted(times, times - reach), np.searchsorted(times, times + reach, side="right")
        for row, (first, last) in enumerate(zip(low, high, strict=True)):
            offset = times[first:last] - times[row]
            weight = weights[part[first:last]] * np.exp(-0.5 * np.square(offset / _SMOOTHING_S))
            result[part[row]] = _line_at_zero(offset, values[part[first:last]], weight)
    return result


def _line_at_zero(offset: Float64Array, values: Float64Array, weight: Float64Array) -> float:
    """Where the straight line of least squares through the values passes offset 0."""
    total = weight.sum()
    mean, middle = (weight * offset).sum() / total, (weight * values).sum() / total
    spread = (weight * np.square(offset - mean)).sum()
    if spread <= 0.0:
        return float(middle)
    slope = (weight * (offset - mean) * (values - middle)).sum() / spread
    return float(middle - slope * mean)
