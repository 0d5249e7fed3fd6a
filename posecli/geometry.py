"""Boxes and crops. Every transform stands beside its inverse.

Pixels: the centre of the top-left pixel is (0, 0), so an image of width W covers [-0.5, W - 0.5]. Boxes are xyxy in that frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray

_FloatLike = NDArray[np.floating]


def xywh_to_xyxy(boxes: _FloatLike) -> FloatArray:
    """(..., 4) left, top, width, height -> left, top, right, bottom; px."""
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1).astype(np.float32)


def xyxy_to_xywh(boxes: _FloatLike) -> FloatArray:
    """(..., 4) left, top, right, bottom -> left, top, width, height; px."""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1).astype(np.float32)


def box_area(boxes: _FloatLike) -> FloatArray:
    """(..., 4) xyxy -> (...) px^2; degenerate boxes have area 0."""
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0.0, None)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def clip_boxes(boxes: _FloatLike, width_px: int, height_px: int) -> FloatArray:
    """Cut (..., 4) xyxy boxes to the picture."""
    low, high = -0.5, np.array([width_px, height_px, width_px, height_px]) - 0.5
    return np.clip(boxes, low, high).astype(np.float32)


def intersection_area(boxes_a: _FloatLike, boxes_b: _FloatLike) -> _FloatLike:
    """(..., 4) twice, xyxy -> (...) px^2 that both cover, in the precision of the boxes; that of a box with itself is its area."""
    sides = np.minimum(boxes_a[..., 2:], boxes_b[..., 2:]) - np.maximum(boxes_a[..., :2], boxes_b[..., :2])
    sides = np.clip(sides, 0.0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])


def iou_of_areas(shared: _FloatLike, areas_a: _FloatLike, areas_b: _FloatLike) -> _FloatLike:
    """(N, M) px^2 that boxes share and (N,), (M,) their own -> (N, M) intersection over union; 0 where both are empty."""
    union = areas_a[:, None] + areas_b[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def iou_matrix(boxes_a: _FloatLike, boxes_b: _FloatLike) -> FloatArray:
    """(N, 4) and (M, 4) xyxy -> (N, M) intersection over union; 0 where both are empty."""
    shared = intersection_area(boxes_a[:, None], boxes_b[None])
    return iou_of_areas(shared, box_area(boxes_a), box_area(boxes_b)).astype(np.float32)


def union_box(boxes: _FloatLike) -> FloatArray:
    """(T, 4) xyxy -> (4,), the smallest box around all of them."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]).astype(np.float32)


def keypoint_box(keypoints: _FloatLike, scores: _FloatLike, *, min_score: float) -> FloatArray | None:
    """The smallest box around the points of one pose whose score reaches ``min_score``.

    Args:
        keypoints: (K, 2) px.
        scores: (K,).
        min_score: Points below it are ignored.

    Returns:
        (4,) xyxy px, or ``None`` with fewer than three such points.
    """
    points = keypoints[(scores >= min_score) & np.isfinite(keypoints).all(axis=-1)]
    if len(points) < 3:
        return None
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)


def affine_apply(matrix: _FloatLike, points: _FloatLike) -> FloatArray:
    """(2, 3) affine on (..., 2) points. NaN stays NaN."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def affine_invert(matrix: _FloatLike) -> NDArray[np.float64]:
    """The inverse of a (2, 3) affine."""
    full = np.vstack([matrix, [0.0, 0.0, 1.0]])
    return np.asarray(np.linalg.inv(full)[:2], np.float64)


@dataclass(frozen=True, slots=True)
class CropTransform:
    """How a crop was cut from the frame: ``matrix`` (2, 3) maps frame px to crop px; ``size_wh`` is the crop's size in px."""

    matrix: NDArray[np.float64]
    size_wh: tuple[int, int]

    @classmethod
    def from_box(
        cls, box: _FloatLike, size_wh: tuple[int, int], *, enlarge: float = 1.25, rotation_deg: float = 0.0
    ) -> CropTransform:
        """The crop around a box: grown to the crop's aspect ratio, enlarged, rotated about its centre.

        The edges of the source region fall on the edges of the crop ([-0.5, W - 0.5]), not on the centres of its border pixels.

        Args:
            box: (4,) xyxy px of the frame.
            size_wh: Crop size, px.
            enlarge: Factor on both sides (1.25: the field's habit for top-down networks).
            rotation_deg: Turn of the picture inside the crop, clockwise as seen.
        """
        width, height = size_wh
        centre = (np.asarray(box[:2], np.float64) + box[2:]) / 2.0
        box_wh = np.maximum(np.asarray(box[2:], np.float64) - box[:2], 1.0)
        region_height = max(box_wh[1], box_wh[0] * height / width) * enlarge
        scale = height / region_height
        angle = np.deg2rad(rotation_deg)
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        crop_centre = (np.array([width, height]) - 1.0) / 2.0
        matrix = np.concatenate([linear, (crop_centre - linear @ centre)[:, None]], axis=1)
        return cls(matrix, size_wh)

    @property
    def scale(self) -> float:
        """Crop pixels per frame pixel."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    def to_crop(self, points: _FloatLike) -> FloatArray:
        """(..., 2) frame px -> crop px."""
        return affine_apply(self.matrix, points)

    def to_frame(self, points: _FloatLike) -> FloatArray:
        """(..., 2) crop px -> frame px; the inverse of `to_crop`."""
        return affine_apply(affine_invert(self.matrix), points)
