"""The camera that looks at people in 3D: it turns around them at one distance and one height, so that nothing pumps.

The stage is the room the people stand in: millimetres, x right, y down, z away from the video's camera; the ground is y = 0, and the
upright axis x = z = 0 is where the camera looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.skeletons import STANDARD_HEIGHT_CM

SECONDS_PER_TURN = 8.0
FRONT_RAD = 0.0
"""As the video's camera sees it."""
SIDE_RAD = np.pi / 2
"""From the right of the picture."""

_Array = NDArray[np.floating]
_Floats = NDArray[np.float64]

_ELEVATION_RAD = np.deg2rad(12.0)
_FOCAL_HEIGHTS = 1.6  # focal length in heights of the panel: a portrait lens, near limbs visibly larger than far ones
_FILLED = 0.88  # of the panel
_STANDING_MM = 10.0 * STANDARD_HEIGHT_CM
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


def fit_camera(size_wh: tuple[int, int], rings_mm: _Array, *, filled: float = _FILLED) -> TurntableCamera:
    """The nearest camera that sees given rings around the axis whole, from every side.

    Args:
        size_wh: Of the panel, px.
        rings_mm: (N, 2) radius and y of rings around the stage's axis; a point of the stage is seen from all sides when its ring is.
        filled: How much of the panel's width or height, whichever is short, the rings take.

    Returns:
        The camera, its rings in the middle of the panel.
    """
    width, height = size_wh
    angles = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
    radius, y = (np.asarray(column, np.float64)[:, None] for column in np.asarray(rings_mm).T)
    circle = np.stack([radius * np.cos(angles), y + 0 * angles, radius * np.sin(angles)], axis=-1).reshape(-1, 3)
    distance_mm, (_, centre_y) = _fit(size_wh, _seen(circle, 0.0), np.zeros(1), filled, 0.0)
    return TurntableCamera(size_wh, _FOCAL_HEIGHTS * height, distance_mm, (0.5 * (width - 1), centre_y))


def fit_view(
    size_wh: tuple[int, int], points_mm: _Array, radii_mm: _Array, azimuth_rad: float, *, filled: float = _FILLED
) -> TurntableCamera:
    """The nearest camera that sees given balls whole from one side, but not so near that a standing adult would not fit.

    Args:
        size_wh: Of the panel, px.
        points_mm: (N, 3) centres of the balls on the stage.
        radii_mm: (N,) their radii.
        azimuth_rad: Where the camera is on its circle.
        filled: How much of the panel's width or height, whichever is short, the balls take.

    Returns:
        The camera, the balls in the middle of the panel when seen from this side.
    """
    focal_px = _FOCAL_HEIGHTS * size_wh[1]
    seen = _seen(np.asarray(points_mm, np.float64), azimuth_rad)
    nearest_mm = focal_px * _STANDING_MM / (filled * size_wh[1])
    distance_mm, centre_px = _fit(size_wh, seen, np.asarray(radii_mm, np.float64), filled, nearest_mm)
    return TurntableCamera(size_wh, focal_px, distance_mm, centre_px)


def _fit(
    size_wh: tuple[int, int], seen_mm: tuple[_Floats, ...], radii_mm: _Floats, filled: float, nearest_mm: float
) -> tuple[float, tuple[float, float]]:
    """The least distance at which balls, given in the camera's axes, fit, and where the stage's middle must be seen then, px."""
    width, height = size_wh
    focal_px = _FOCAL_HEIGHTS * height
    right, down, forward = seen_mm

    def extent(distance_mm: float) -> tuple[_Floats, _Floats]:
        """Left, top and right, bottom, px."""
        scale = focal_px / (forward + distance_mm)
        low, high = (np.stack([(a + side * radii_mm) * scale for a in (right, down)]) for side in (-1, 1))
        return low.min(axis=1), high.max(axis=1)

    # Whatever is wanted, nothing may be behind the eye.
    near, far = max(nearest_mm, _NEAREST_MM - float(forward.min())), _FARTHEST_MM
    for _ in range(60):
        middle = 0.5 * (near + far)
        low, high = extent(middle)
        fits = bool((high - low <= (filled * width, filled * height)).all())
        near, far = (near, middle) if fits else (middle, far)
    low, high = extent(far)
    centre = 0.5 * np.array([width - 1, height - 1]) - 0.5 * (low + high)
    return far, (float(centre[0]), float(centre[1]))
