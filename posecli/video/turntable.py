"""The camera that looks at people in 3D: it turns around them at one distance and one height, so that nothing pumps.

The stage is the room the people stand in: millimetres, x right, y down, z away from the video's camera; the ground is y = 0, and the
upright axis x = z = 0 is where the camera looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SECONDS_PER_TURN = 8.0
FRONT_RAD = 0.0
"""As the video's camera sees it."""
SIDE_RAD = np.pi / 2
"""From the right of the picture."""

_Array = NDArray[np.floating]

_ELEVATION_RAD = np.deg2rad(12.0)
_FOCAL_HEIGHTS = 1.6  # focal length in heights of the panel: a portrait lens, near limbs visibly larger than far ones
_FILLED = 0.88  # of the panel
_NEAREST_MM = 300.0
_FARTHEST_MM = 1e6


@dataclass(frozen=True, slots=True)
class TurntableCamera:
    """A perspective camera on a circle around the stage's axis, looking down on it by a fixed angle.

    ``distance_mm`` is that from the eye to the point (0, 0, 0) of the stage; ``centre_px`` (x, y) is where this point is seen.
    """

    size_wh: tuple[int, int]
    focal_px: float
    distance_mm: float
    centre_px: tuple[float, float]

    def project(self, points_mm: _Array, azimuth_rad: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where points of the stage are seen.

        Args:
            points_mm: (..., 3) on the stage.
            azimuth_rad: How far the camera went around, 0 at the place of the video's camera, towards its right.

        Returns:
            (..., 2) px, the centre of the top-left pixel at (0, 0), and (...) depth in mm along the line of sight.
        """
        x, y, z = _seen(np.asarray(points_mm, np.float64), azimuth_rad)
        depth = z + self.distance_mm
        scale = self.focal_px / np.maximum(depth, _NEAREST_MM)
        return np.stack([x * scale + self.centre_px[0], y * scale + self.centre_px[1]], axis=-1), depth

    def ground_radius_mm(self) -> NDArray[np.float32]:
        """(H, W): how far from the axis the ground in each pixel is; infinite where there is none."""
        width, height = self.size_wh
        right = (np.arange(width) - self.centre_px[0]) / self.focal_px
        down = ((np.arange(height) - self.centre_px[1]) / self.focal_px)[:, None]
        sine, cosine = np.sin(_ELEVATION_RAD), np.cos(_ELEVATION_RAD)
        # The eye is distance * sine above the ground; a ray (right, down, 1) falls by down * cosine + sine per unit of depth.
        fall = down * cosine + sine
        depth = self.distance_mm * sine / np.maximum(fall, 1e-6)
        across = depth * right
        along = depth * (cosine - down * sine) - self.distance_mm * cosine
        return np.where(fall > 1e-6, np.hypot(across, along), np.inf).astype(np.float32)


def _seen(points_mm: NDArray[np.float64], azimuth_rad: float) -> tuple[NDArray[np.float64], ...]:
    """The stage's points in the axes of the camera (right, down, forward), from the point it looks at."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    sine, cosine = np.sin(azimuth_rad), np.cos(azimuth_rad)
    # A camera that goes to its right sees what was right of the axis come nearer.
    right, forward = cosine * x + sine * z, cosine * z - sine * x
    tilt_sine, tilt_cosine = np.sin(_ELEVATION_RAD), np.cos(_ELEVATION_RAD)
    return right, tilt_cosine * y - tilt_sine * forward, tilt_cosine * forward + tilt_sine * y


def turn_rad(time_s: float) -> float:
    """Where the turning camera is, ``time_s`` after it left the front: a full turn in `SECONDS_PER_TURN`."""
    return float(2 * np.pi * ((time_s / SECONDS_PER_TURN) % 1.0))


def fit_camera(size_wh: tuple[int, int], rings_mm: _Array) -> TurntableCamera:
    """The nearest camera that sees given rings around the axis whole, from every side.

    Args:
        size_wh: Of the panel, px.
        rings_mm: (N, 2) radius and y of rings around the stage's axis; a point of the stage is seen from all sides when its ring is.

    Returns:
        The camera, its rings in the middle of the panel.
    """
    width, height = size_wh
    focal_px = _FOCAL_HEIGHTS * height
    angles = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
    radius, y = (np.asarray(column, np.float64)[:, None] for column in np.asarray(rings_mm).T)
    circle = np.stack([radius * np.cos(angles), y + 0 * angles, radius * np.sin(angles)], axis=-1).reshape(-1, 3)
    right, down, forward = _seen(circle, 0.0)

    def extent(distance_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scale = focal_px / (forward + distance_mm)
        return right * scale, down * scale

    low, high = _NEAREST_MM - float(forward.min()), _FARTHEST_MM
    for _ in range(60):
        middle = 0.5 * (low + high)
        u, v = extent(middle)
        fits = np.ptp(u) <= _FILLED * width and np.ptp(v) <= _FILLED * height
        low, high = (low, middle) if fits else (middle, high)
    _, v = extent(high)
    centre_y = 0.5 * (height - 1) - 0.5 * float(v.min() + v.max())
    return TurntableCamera(size_wh, focal_px, high, (0.5 * (width - 1), centre_y))
