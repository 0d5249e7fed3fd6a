"""A pinhole camera. The centre of the top-left pixel is (0, 0)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from posecli.records import FloatArray
from posecli.training.synthetic.rotations import Reals, about_z

NEAR_M = 0.05
_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera is and what it sees.

    ``rotation`` (3, 3): world to camera, rows are right, down and forward; ``position`` (3,) metres; ``focal_px``; ``centre`` (2,) px
    of the optical axis, which may lie anywhere: a crop of a picture keeps its perspective; ``size_wh`` px.
    """

    rotation: Reals
    position: Reals
    focal_px: float
    centre: Reals
    size_wh: tuple[int, int]

    def to_camera(self, points: Reals) -> Reals:
        """(..., 3) world -> (..., 3) camera, metres."""
        return np.asarray((points - self.position) @ self.rotation.T)

    def project(self, points: Reals) -> tuple[Reals, Reals]:
        """(..., 3) world -> (..., 2) px and (...) depth in metres; points behind the camera have a depth below `NEAR_M`."""
        seen = self.to_camera(points)
        depth = seen[..., 2]
        return seen[..., :2] / np.maximum(depth, NEAR_M)[..., None] * self.focal_px + self.centre, depth

    def magnified(self, factor: int) -> Camera:
        """The same view with this many times the pixels on a side."""
        width, height = self.size_wh
        centre = (self.centre + 0.5) * factor - 0.5
        return replace(self, focal_px=self.focal_px * factor, centre=centre, size_wh=(width * factor, height * factor))

    def shifted(self, shift_px: Reals) -> Camera:
        """The same view with the picture moved by (2,) px."""
        return replace(self, centre=self.centre + shift_px)

    def widened(self, margin_px: int) -> Camera:
        """The same view with this many more pixels on every side."""
        width, height = self.size_wh
        return replace(self, centre=self.centre + margin_px, size_wh=(width + 2 * margin_px, height + 2 * margin_px))

    def turned(self, rotation: Reals) -> Camera:
        """The same place, turned by (3, 3) in the camera's own axes."""
        return replace(self, rotation=rotation @ self.rotation)

    @property
    def matrix(self) -> Reals:
        """(3, 3) intrinsic matrix."""
        x, y = self.centre
        return np.array([[self.focal_px, 0.0, x], [0.0, self.focal_px, y], [0.0, 0.0, 1.0]])

    def homography_from(self, other: Camera) -> Reals:
        """(3, 3): px of another camera at the same place (or for things far away) -> px of this one."""
        return np.asarray(self.matrix @ self.rotation @ other.rotation.T @ np.linalg.inv(other.matrix))

    @property
    def flat(self) -> FloatArray:
        """(15,) for the compiled loops: rotation, position, focal length, centre."""
        values = [*self.rotation.reshape(-1), *self.position, self.focal_px, *self.centre]
        return np.array(values, np.float32)


def look_at(position: ArrayLike, target: ArrayLike, *, roll: float = 0.0) -> Camera:
    """A camera of focal length 1 px and centre (0, 0), to be fitted.

    Args:
        position: (3,) metres.
        target: (3,) metres, on the optical axis.
        roll: Turn about the optical axis, radians.
    """
    eye = np.asarray(position, np.float64)
    forward = np.asarray(target, np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, _UP)
    if np.linalg.norm(right) < 1e-6:  # straight up or down
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(about_z(roll) @ rotation, eye, 1.0, np.zeros(2), (1, 1))


def framed(camera: Camera, box: Reals, *, focal_px: float, centre_px: Reals, size_wh: tuple[int, int]) -> Camera:
    """Choose the part of a view.

    Args:
        camera: Of focal length 1 and centre 0.
        box: (4,) xyxy in its picture; the middle goes to ``centre_px``.
        focal_px: Pixels per unit of that picture.
        centre_px: (2,) px.
        size_wh: Size of the part, px.
    """
    middle = (box[:2] + box[2:]) / 2
    return replace(camera, focal_px=focal_px, centre=np.asarray(centre_px - middle * focal_px), size_wh=size_wh)
