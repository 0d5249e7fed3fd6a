"""Labelled pictures for the detector, decoded once and kept in memory, each at full and at half size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from posecli.errors import FormatError
from posecli.formats.ground_truth import GroundTruth, read_ground_truth
from posecli.geometry import box_area
from posecli.records import BoolArray, FloatArray, ImageArray
from posecli.training.detector.recipe import BoxDataConfig

MAX_SIDE_PX = 480
_MEMBER_INSIDE = 0.8  # a member of a group lies so far inside the group's box ...
_MEMBER_AREA = 0.4  # ... and is at most so large against it
_MIN_POINTS = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and its people.

    Attributes:
        images: (H, W, 3) RGB, at full and at half size (for strong reductions without aliasing).
        boxes: (N, 4) xyxy px of the full size.
        is_ignored: (N,) regions to learn nothing from (crowds, groups).
        has_all_people: Whether whatever lies outside the boxes is background.
        box_weight: Weight of the box loss.
    """

    images: tuple[ImageArray, ImageArray]
    boxes: FloatArray
    is_ignored: BoolArray
    has_all_people: bool
    box_weight: float


def load_pictures(
    config: BoxDataConfig, root: Path, *, progress: Callable[[int, int], None] | None = None
) -> list[Picture]:
    """Read a set.

    Args:
        config: Which set, and how it is read.
        root: The data folder its paths are relative to.
        progress: Called with (done, total) images.

    Returns:
        The pictures in the file's order, without the held-out ones.

    Raises:
        FormatError: The annotations or an image cannot be read, or nothing is left.
    """
    truth = read_ground_truth(root / config.annotations)
    rows_by_image = truth.rows_by_image()
    pictures: list[Picture] = []
    for done, labelled in enumerate(truth.images):
        if config.holdout_modulo and labelled.image_id % config.holdout_modulo == 0:
            continue
        path = root / config.images / labelled.file_name
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise FormatError(f"{path}: cannot be read as an image", hint=f"named in {config.annotations}")
        pictures.append(_picture(np.asarray(image, np.uint8), truth, rows_by_image[labelled.image_id], config))
        if progress is not None:
            progress(done + 1, len(truth.images))
    if not pictures:
        raise FormatError(f"{root / config.annotations}: no picture left")
    return pictures


def _picture(image: ImageArray, truth: GroundTruth, rows: np.ndarray, config: BoxDataConfig) -> Picture:
    boxes, is_ignored = truth.boxes[rows], truth.is_crowd[rows]
    if config.keypoint_margin > 0:
        boxes = np.stack([_keypoint_box(truth, row, config.keypoint_margin) for row in rows])
    if config.group_size:
        is_ignored = is_ignored | is_group(boxes, config.group_size)
    factor = min(1.0, MAX_SIDE_PX / max(image.shape[:2]))
    if factor < 1.0:
        image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        boxes = (boxes + 0.5) * factor - 0.5  # centres of pixels, not corners
    half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    return Picture((image, half), boxes.astype(np.float32), is_ignored, config.has_all_people, config.box_weight)


def _keypoint_box(truth: GroundTruth, row: int, margin: float) -> FloatArray:
    """The box around the labelled points with a margin in parts of its longer side; the file's own box if there are few points."""
    points = truth.keypoints[row]
    points = points[points[:, 2] > 0, :2]
    if len(points) < _MIN_POINTS:
        return truth.boxes[row]
    low, high = points.min(axis=0), points.max(axis=0)
    grown = (high - low).max() * margin
    return np.concatenate([low - grown, high + grown]).astype(np.float32)


def is_group(boxes: FloatArray, group_size: int) -> BoolArray:
    """(N, 4) -> (N,): boxes that hold at least ``group_size`` much smaller ones."""
    if not len(boxes):
        return np.zeros(0, np.bool_)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    area = box_area(boxes)
    is_member = (shared >= _MEMBER_INSIDE * area[None, :]) & (area[None, :] <= _MEMBER_AREA * area[:, None])
    return np.asarray(is_member.sum(axis=1) >= group_size, np.bool_)
