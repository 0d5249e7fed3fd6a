"""The truth of a rendered frame: keypoints, whether they are seen, boxes of what is seen, places in the room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.records import BoolArray, FloatArray
from posecli.training.synthetic.body_points import HALF_THICKNESS_M
from posecli.training.synthetic.camera import NEAR_M, Camera
from posecli.training.synthetic.rotations import Reals
from posecli.training.synthetic.scene import Rendered, Scene

VISIBLE, HIDDEN, OUTSIDE = 2, 1, 0
_MM = 1000.0


@dataclass(frozen=True, slots=True)
class PersonTruth:
    """One person in one frame.

    Attributes:
        keypoints: (19, 2) px, also of those outside the picture.
        visibility: (19,) 2 seen, 1 hidden, 0 outside the picture.
        box: (4,) xyxy px of what is seen, or ``None`` if nothing is.
        area_px: What is seen.
        points_mm: (19, 3) in the camera's axes.
    """

    keypoints: FloatArray
    visibility: np.ndarray
    box: FloatArray | None
    area_px: float
    points_mm: FloatArray


def frame_truth(scene: Scene, frame: int, rendered: Rendered) -> list[PersonTruth]:
    """For each actor of the scene."""
    instant = scene.instant(frame)
    camera = scene.cameras[frame]
    hidden = np.repeat(np.repeat(rendered.covered, rendered.factor, axis=0), rendered.factor, axis=1)
    person = scene.person_of_body[rendered.buffer.owner]
    people = []
    for number, actor in enumerate(scene.actors, start=1):
        keypoints, depth = camera.project(actor.points[instant])
        is_own = (person == number) & ~hidden
        visibility = _visibility(camera, keypoints, depth, rendered, is_own)
        people.append(
            PersonTruth(
                keypoints=keypoints.astype(np.float32),
                visibility=visibility,
                box=_seen_box(is_own, rendered.factor),
                area_px=float(np.count_nonzero(is_own)) / rendered.factor**2,
                points_mm=(camera.to_camera(actor.points[instant]) * _MM).astype(np.float32),
            )
        )
    return people


def _visibility(camera: Camera, keypoints: Reals, depth: Reals, rendered: Rendered, is_own: BoolArray) -> np.ndarray:
    """A point is seen if near it the person's own surface shows, not much in front of the point."""
    width, height = camera.size_wh
    inside = (
        (depth > NEAR_M) & (keypoints > -0.5).all(axis=1) & (keypoints < np.array([width, height]) - 0.5).all(axis=1)
    )
    visibility = np.where(inside, HIDDEN, OUTSIDE).astype(np.uint8)
    reach = max(round(0.012 * camera.focal_px / max(float(np.median(depth)), NEAR_M) * rendered.factor), 1)
    samples = np.clip(np.round((keypoints + 0.5) * rendered.factor - 0.5), -1e6, 1e6).astype(int)
    for k in np.flatnonzero(inside):
        x, y = samples[k]
        around = (slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1))
        nearness = rendered.buffer.nearness[around]
        limit = 1.0 / max(float(depth[k]) - float(HALF_THICKNESS_M[k]), NEAR_M)
        if (is_own[around] & (nearness <= limit)).any():
            visibility[k] = VISIBLE
    return visibility


def _seen_box(is_own: BoolArray, factor: int) -> FloatArray | None:
    columns, rows = np.flatnonzero(is_own.any(axis=0)), np.flatnonzero(is_own.any(axis=1))
    if not len(columns):
        return None
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    return edges / np.float32(factor) - np.float32(0.5)
