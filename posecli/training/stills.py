"""Labelled stills, decoded once and kept small in memory.

Each person's surroundings (the box enlarged) are cut out and scaled down so that the box is at most ``MAX_BOX_PX`` long: about
100 KB a person, a gigabyte for ten thousand, and no image decoding during training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from posecli.errors import ConfigError, FormatError
from posecli.formats.ground_truth import GroundTruth, read_ground_truth
from posecli.records import BoolArray, FloatArray, ImageArray
from posecli.training.recipe import DataConfig
from posecli.training.sample import Sample

MAX_BOX_PX = 256
_SURROUNDINGS = 2.0
_LEAST_SIDE = 0.6


def load_stills(config: DataConfig, root: Path, *, progress: Callable[[int, int], None] | None = None) -> list[Sample]:
    """Read a set.

    Args:
        config: Which set, and what is left out.
        root: The data folder its paths are relative to.
        progress: Called with (done, total) images.

    Returns:
        The people in the file's order.

    Raises:
        FormatError: The annotations or an image cannot be read, or nobody is left.
        ConfigError: An annotation to be left out does not exist.
    """
    truth = read_ground_truth(root / config.annotations)
    stills: list[Sample] = []
    rows_by_image = truth.rows_by_image()
    is_taken = is_usable(truth, config) & ~np.isin(truth.annotation_ids, np.array(config.leave_out, np.int64))
    unknown = set(config.leave_out) - set(truth.annotation_ids.tolist())
    if unknown:
        raise ConfigError(f"{root / config.annotations}: has no annotation {min(unknown)}, which is to be left out")
    for done, labelled in enumerate(truth.images, start=1):
        if config.holdout_modulo and labelled.image_id % config.holdout_modulo == 0:
            continue
        rows = rows_by_image[labelled.image_id]
        rows = rows[is_taken[rows]]
        if len(rows):
            path = root / config.images / labelled.file_name
            image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if image is None:
                raise FormatError(f"{path}: cannot be read as an image", hint=f"named in {config.annotations}")
            stills += [_cut(np.asarray(image, np.uint8), truth, row) for row in rows]
        if progress is not None:
            progress(done, len(truth.images))
    if not stills:
        raise FormatError(f"{root / config.annotations}: no person with {config.min_keypoints} labelled points")
    return stills


def surroundings(boxes: FloatArray) -> FloatArray:
    """(N, 4) xyxy px: what training may see of people with these boxes, beyond the picture's edge too; no side is much the shorter."""
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * _SURROUNDINGS / 2
    side = np.maximum(side, side.max(axis=1, keepdims=True) * _LEAST_SIDE)
    return np.concatenate([centre - side, centre + side], axis=1)


def is_usable(truth: GroundTruth, config: DataConfig) -> BoolArray:
    """(N,): people with enough labelled points for a set, no crowds; some of them it may still leave out by their ids."""
    num_labelled = (truth.keypoints[..., 2] > 0).sum(axis=1)
    return np.asarray((num_labelled >= config.min_keypoints) & ~truth.is_crowd, np.bool_)


def _cut(image: ImageArray, truth: GroundTruth, row: int) -> Sample:
    height, width = image.shape[:2]
    box = truth.boxes[row]
    seen = surroundings(box[None])[0]
    low = np.maximum(np.floor(seen[:2]), 0).astype(int)
    high = np.minimum(np.ceil(seen[2:]), [width, height]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    factor = min(1.0, MAX_BOX_PX / float((box[2:] - box[:2]).max()))
    if factor < 1.0:
        part = np.asarray(cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    corner = low.astype(np.float32)
    shift = 0.5 * (factor - 1.0)  # centres of pixels, not corners
    labelled = truth.keypoints[row, :, 2] > 0
    points = (truth.keypoints[row, :, :2] - corner) * factor + shift
    points = np.where(labelled[:, None], points, np.nan)
    new_box = (box - np.tile(corner, 2)) * factor + shift
    picture = np.ascontiguousarray(part)
    return Sample((picture,), new_box[None].astype(np.float32), points[None].astype(np.float32), labelled[None])
