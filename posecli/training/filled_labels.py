"""Labelled stills whose missing points a network fills in: what people did not label, it knows well enough to teach another network.

That teaches nothing new about those points; it keeps a network that is otherwise taught by rendered people at home with real ones.

Legend: N people, K keypoints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from posecli.atomic import check_output, write_atomic
from posecli.errors import FormatError
from posecli.evaluation.keypoints import ImagePoseEstimator, estimate_people
from posecli.formats.ground_truth import GroundTruth, read_ground_truth
from posecli.geometry import xyxy_to_xywh
from posecli.records import FloatArray, IntArray
from posecli.skeletons import POSECLI19

FILLED = 1  # the flag v of a point that a network filled in
_CATEGORY = {"id": 1, "name": "person", "keypoints": list(POSECLI19.keypoint_names)}
_NEAR_IN_BOXES = 0.1
_LEAST_NEAR = 0.7


def fill_labels(
    estimator: ImagePoseEstimator,
    annotations: Path,
    images_dir: Path,
    out: Path,
    *,
    min_score: float = 0.4,
    min_height_px: float = 0.0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Write a set again, with the points that are not labelled as a network sees them.

    Nobody is filled in whose labelled points it misses: three in ten of them by a tenth of the box or more.

    Args:
        estimator: The network.
        annotations: COCO-style; people may have boxes alone.
        images_dir: Their pictures.
        out: The file to be written: posecli's 19 points, those filled in with v = 1.
        min_score: Points that the network is less sure of stay unlabelled.
        min_height_px: People whose box is lower are left as they are.
        overwrite: Whether ``out`` may be replaced.
        progress: Called with (people done, people in all).

    Returns:
        How many people got points, of how many.

    Raises:
        FormatError: The set cannot be read, or nobody in it is tall enough.
        VideoError: A picture is missing or cannot be decoded.
        OutputError: ``out`` exists or cannot be written.
    """
    check_output(out, overwrite=overwrite)
    truth = read_ground_truth(annotations)
    heights = truth.boxes[:, 3] - truth.boxes[:, 1]
    rows = np.flatnonzero(~truth.is_crowd & (heights >= min_height_px))
    if not len(rows):
        raise FormatError(f"{annotations}: nobody of {min_height_px:g} px or more in it")
    points, scores = estimate_people(
        estimator, truth, images_dir, truth.image_ids[rows], truth.boxes[rows], progress=progress
    )
    labels = truth.keypoints.copy()
    is_labelled = labels[rows, :, 2] > 0
    is_filled = ~is_labelled & (scores >= min_score) & _is_trusted(points, truth, rows)[:, None]
    filled = np.concatenate([points, np.full((*points.shape[:2], 1), FILLED)], axis=-1)
    labels[rows] = np.where(is_filled[..., None], filled, labels[rows])
    write_atomic(out, orjson.dumps(_document(truth, labels)), overwrite=overwrite)
    return int(is_filled.any(axis=1).sum()), len(truth)


def _is_trusted(points: FloatArray, truth: GroundTruth, rows: IntArray) -> np.ndarray:
    """(N,): people whose labelled points the network finds; those without any are trusted."""
    is_labelled = truth.keypoints[rows, :, 2] > 0
    sides = (truth.boxes[rows, 2:] - truth.boxes[rows, :2]).max(axis=1)
    is_near = np.linalg.norm(points - truth.keypoints[rows, :, :2], axis=-1) < _NEAR_IN_BOXES * sides[:, None]
    return np.asarray((is_near & is_labelled).sum(axis=1) >= _LEAST_NEAR * is_labelled.sum(axis=1), np.bool_)


def _document(truth: GroundTruth, labels: FloatArray) -> dict[str, Any]:
    boxes = xyxy_to_xywh(truth.boxes)
    return {
        "images": [
            {"id": image.image_id, "file_name": image.file_name, "width": image.width_px, "height": image.height_px}
            for image in truth.images
        ],
        "annotations": [
            {
                "id": int(truth.annotation_ids[row]),
                "image_id": int(truth.image_ids[row]),
                "category_id": 1,
                "iscrowd": int(truth.is_crowd[row]),
                "area": round(float(truth.areas[row]), 2),
                "bbox": [round(float(value), 2) for value in boxes[row]],
                "num_keypoints": int((labels[row, :, 2] > 0).sum()),
                "keypoints": [round(float(value), 2) for value in labels[row].ravel()],
            }
            for row in range(len(truth))
        ],
        "categories": [_CATEGORY],
    }
