"""Cameras for recorded motion: pinhole, anywhere a person with a phone, a tripod or a drone would put one.

World: millimetres, y up, the floor at 0. Camera: x right, y down, z forward. The centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray

NEAR_MM = 50.0
_SIZES_WH = ((1920, 1080), (1280, 720), (960, 540), (640, 480), (1440, 1080), (1080, 1920), (720, 1280), (1080, 1080))
_BODY_BEYOND_JOINTS_MM = 220.0  # the top of the head above the ears, the soles below the ankles


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera is in each frame and what it sees.

    ``rotations`` (F, 3, 3) or (1, 3, 3): world to camera; ``positions_mm`` (F, 3) or (1, 3); ``focal_px``; ``centre_px`` (2,) of the
    optical axis; ``size_wh`` px.
    """

    rotations: FloatArray
    positions_mm: FloatArray
    focal_px: float
    centre_px: FloatArray
    size_wh: tuple[int, int]

    def to_camera(self, joints_mm: FloatArray) -> FloatArray:
        """(F, J, 3) mm in the world -> (F, J, 3) mm, x right, y down, z forward."""
        moved = (joints_mm - self.positions_mm[:, None]) @ np.swapaxes(self.rotations, -1, -2)
        return np.asarray(moved, np.float32)

    def project(self, joints_mm: FloatArray) -> FloatArray:
        """(F, J, 3) mm in the world -> (F, J, 2) px."""
        return self.project_seen(self.to_camera(joints_mm))

    def project_seen(self, joints_mm: FloatArray) -> FloatArray:
        """(..., 3) mm in the camera's frame -> (..., 2) px; a point nearer than `NEAR_MM` is taken to be there."""
        depth = np.maximum(joints_mm[..., 2:], np.float32(NEAR_MM))
        return np.asarray(joints_mm[..., :2] / depth * self.focal_px + self.centre_px, np.float32)


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What cameras there are.

    Attributes:
        view_deg: Range of the angle of view along the longer side.
        fill: Range of the person's height over the picture's; nearer than the upper end it does not come.
        share_close: Of cameras so close that a part of the person is outside.
        close_fill: Their range.
        nearest_mm: Of the camera to any joint of the clip.
        height_mm: Mean, spread, lowest and highest.
        share_from_above: Of cameras that look down steeply.
        above_deg: Their range of elevation.
        roll_deg: Spread and greatest.
        share_panning: Of cameras that turn after the person.
        share_following: Of cameras that move along with the person.
        offset: Spread of the person's place, as a share of the picture's size.
    """

    view_deg: tuple[float, float] = (20.0, 80.0)
    fill: tuple[float, float] = (0.15, 0.95)
    share_close: float = 0.08
    close_fill: tuple[float, float] = (0.95, 2.0)
    nearest_mm: float = 700.0
    height_mm: tuple[float, float, float, float] = (1300.0, 450.0, 300.0, 3500.0)
    share_from_above: float = 0.15
    above_deg: tuple[float, float] = (20.0, 60.0)
    roll_deg: tuple[float, float] = (4.0, 15.0)
    share_panning: float = 0.3
    share_following: float = 0.15
    offset: float = 0.12


def random_camera(rng: np.random.Generator, joints_mm: FloatArray, settings: CameraSettings | None = None) -> Camera:
    """Draw a camera for a clip.

    Args:
        rng: Everything is drawn from it.
        joints_mm: (F, 17, 3), y up, the floor at 0.
        settings: The defaults if None.
    """
    options = settings or CameraSettings()
    size = _SIZES_WH[int(rng.integers(len(_SIZES_WH)))]
    focal = max(size) / 2 / np.tan(np.deg2rad(rng.uniform(*options.view_deg)) / 2)
    path = _smooth(joints_mm[:, 0])
    kind = rng.random()
    is_following = kind < options.share_following
    is_panning = not is_following and kind < options.share_following + options.share_panning
    middle = (path.min(axis=0) + path.max(axis=0)) / 2
    around = joints_mm - (path[:, None] if is_following else middle)
    distance, nearest = _distances(rng, around, focal, size, options)
    direction = _direction(rng, distance, middle[1], options)
    distance = max(distance, float((around @ direction).max()) + nearest)
    away = (distance * direction).astype(np.float32)
    positions = (path if is_following else middle[None]) + away
    targets = path if is_following or is_panning else middle[None]
    spread = options.offset * distance / focal * np.array(size)
    shift = np.clip(rng.normal(0.0, 1.0, 2), -2.0, 2.0) * spread
    roll = np.clip(rng.normal(0.0, options.roll_deg[0]), -options.roll_deg[1], options.roll_deg[1])
    rotations = look_at(positions, targets, shift_mm=shift, roll_deg=float(roll))
    centre = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2], np.float32)
    return Camera(rotations, positions.astype(np.float32), float(focal), centre, size)


def look_at(
    positions_mm: NDArray[np.floating],
    targets_mm: NDArray[np.floating],
    *,
    shift_mm: NDArray[np.floating] | None = None,
    roll_deg: float = 0.0,
) -> FloatArray:
    """World to camera, for cameras that are upright but for the roll.

    Args:
        positions_mm: (F, 3) or (1, 3).
        targets_mm: The same, not straight above or below.
        shift_mm: (2,) right and down of the target: what is looked at instead.
        roll_deg: Turn about the optical axis.

    Returns:
        (F, 3, 3): the rows are right, down and forward.
    """
    forward = _unit(targets_mm - positions_mm)
    if shift_mm is not None:
        right, down = _right_down(forward)
        forward = _unit(targets_mm - positions_mm + shift_mm[0] * right + shift_mm[1] * down)
    right, down = _right_down(forward)
    cosine, sine = np.cos(np.deg2rad(roll_deg)), np.sin(np.deg2rad(roll_deg))
    rows = [cosine * right + sine * down, cosine * down - sine * right, forward]
    return np.stack(rows, axis=-2).astype(np.float32)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _right_down(forward: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    right = _unit(np.cross(forward, [0.0, 1.0, 0.0]))
    return right, np.cross(forward, right)


def _smooth(path_mm: FloatArray, half: int = 15) -> FloatArray:
    """(F, 3): the running mean over a second, as a hand follows; the ends are held."""
    padded = np.concatenate([path_mm[:1].repeat(half, 0), path_mm, path_mm[-1:].repeat(half, 0)])
    total = np.concatenate([np.zeros((1, 3)), np.cumsum(padded, axis=0, dtype=np.float64)])
    width = 2 * half + 1
    return np.asarray((total[width:] - total[:-width]) / width, np.float32)


def _distances(
    rng: np.random.Generator, around: FloatArray, focal: float, size: tuple[int, int], options: CameraSettings
) -> tuple[float, float]:
    """Mm: at which the tallest frame of the clip fills the share of the picture drawn; and nearer than which no joint may be."""
    is_close = rng.random() < options.share_close
    fill = rng.uniform(*(options.close_fill if is_close else options.fill))
    whole = float(focal * (np.ptp(around[..., 1], axis=1).max() + _BODY_BEYOND_JOINTS_MM) / size[1])
    nearest = options.nearest_mm if is_close else max(options.nearest_mm, whole / options.fill[1])
    return whole / fill, nearest


def _direction(
    rng: np.random.Generator, distance: float, target_height: float, options: CameraSettings
) -> NDArray[np.float64]:
    """(3,) unit: from the target to the camera."""
    azimuth = rng.uniform(0.0, 2 * np.pi)
    if rng.random() < options.share_from_above:
        sine = np.sin(np.deg2rad(rng.uniform(*options.above_deg)))
    else:
        mean, spread, low, high = options.height_mm
        sine = (np.clip(rng.normal(mean, spread), low, high) - target_height) / distance
        sine = np.clip(sine, -0.6, 0.8)
    cosine = np.sqrt(1 - sine**2)
    return np.array([cosine * np.sin(azimuth), sine, cosine * np.cos(azimuth)])
