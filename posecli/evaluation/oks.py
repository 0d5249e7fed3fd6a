"""OKS, object keypoint similarity, and the AP and AR of poses under it, as COCO defines them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.evaluation.average_precision import ImageMatches, average_precision, match_image
from posecli.formats.ground_truth import GroundTruth
from posecli.records import FloatArray, IntArray
from posecli.skeletons import POSECLI19

MAX_POSES_PER_IMAGE = 20


@dataclass(frozen=True, slots=True)
class PredictedPoses:
    """Poses to be judged: ``image_ids`` (D,), ``keypoints`` (D, 19, 2) px, ``scores`` (D,) of whole poses."""

    image_ids: IntArray
    keypoints: FloatArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.image_ids)


def object_keypoint_similarity(
    keypoints: FloatArray, truth: FloatArray, areas: FloatArray, boxes: FloatArray, sigmas: FloatArray
) -> NDArray[np.float64]:
    """OKS of every predicted pose with every labelled one.

    A labelled pose without labelled points compares by the distance of the predicted points to its box, doubled about its centre
    in COCO's way (one box further on every side); such poses are ignored in AP.

    Args:
        keypoints: (D, K, 2) px predicted; NaN counts as infinitely far.
        truth: (G, K, 3) labels x, y, v.
        areas: (G,) px^2.
        boxes: (G, 4) xyxy px.
        sigmas: (K,).

    Returns:
        (D, G) in [0, 1].
    """
    return _similarity(keypoints[:, None], truth[None], areas[None], boxes[None], sigmas)


def paired_similarity(
    keypoints: FloatArray, truth: FloatArray, areas: FloatArray, boxes: FloatArray, sigmas: FloatArray
) -> NDArray[np.float64]:
    """OKS of N predicted poses (N, K, 2), each with the labelled one in its row; as `object_keypoint_similarity`.

    Returns:
        (N,) in [0, 1].
    """
    return _similarity(keypoints, truth, areas, boxes, sigmas)


def _similarity(
    keypoints: FloatArray, truth: FloatArray, areas: FloatArray, boxes: FloatArray, sigmas: FloatArray
) -> NDArray[np.float64]:
    """(..., K, 2), (..., K, 3), (...) and (..., 4), broadcast against each other -> (...)."""
    points = np.nan_to_num(keypoints.astype(np.float64), nan=np.inf)
    labels, corners = truth.astype(np.float64), boxes.astype(np.float64)
    is_labelled = np.asarray(labels[..., 2] > 0)
    low, high = 2 * corners[..., :2] - corners[..., 2:], 2 * corners[..., 2:] - corners[..., :2]
    outside = np.maximum(0.0, low[..., None, :] - points) + np.maximum(0.0, points - high[..., None, :])
    is_unlabelled_pose = np.asarray(~is_labelled.any(axis=-1))
    offsets = np.where(is_unlabelled_pose[..., None, None], outside, points - labels[..., :2])
    variances = (2.0 * sigmas.astype(np.float64)) ** 2
    scale = 2.0 * variances * (areas.astype(np.float64)[..., None] + np.spacing(1.0))
    similarity = np.exp(-(offsets**2).sum(axis=-1) / scale)
    weights = np.where(is_unlabelled_pose[..., None], True, is_labelled)
    return np.asarray((similarity * weights).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1), np.float64)


def keypoint_average_precision(
    predictions: PredictedPoses, ground_truth: GroundTruth, *, sigmas: FloatArray | None = None
) -> dict[str, float | None]:
    """COCO keypoint AP and AR over all sizes, at most 20 poses an image.

    Args:
        predictions: The poses found.
        ground_truth: The labels; crowds and people without labelled points are ignored.
        sigmas: (19,) constants by keypoint; posecli's by default.

    Returns:
        ``ap``, ``ap50``, ``ap75``, ``ar`` in per cent, ``None`` without labelled people.
    """
    constants = POSECLI19.sigma_array if sigmas is None else sigmas
    truths = ground_truth.rows_by_image()
    order = np.argsort(-predictions.scores.astype(np.float64), kind="stable")
    found = {image_id: order[predictions.image_ids[order] == image_id] for image_id in truths}
    images = [
        _match(predictions, found[image_id][:MAX_POSES_PER_IMAGE], ground_truth, truths[image_id], constants)
        for image_id in sorted(truths)
    ]
    table = average_precision(images)
    return {"ap": table.mean_ap(), "ap50": table.ap_at(0.5), "ap75": table.ap_at(0.75), "ar": table.mean_recall()}


def _match(
    predictions: PredictedPoses, found: IntArray, ground_truth: GroundTruth, truths: IntArray, sigmas: FloatArray
) -> ImageMatches:
    points = ground_truth.labelled_points
    similarity = object_keypoint_similarity(
        predictions.keypoints[found][:, points],
        ground_truth.keypoints[truths][:, points],
        ground_truth.areas[truths],
        ground_truth.boxes[truths],
        sigmas[points],
    )
    is_ignored = ~ground_truth.has_keypoints[truths]
    return match_image(similarity, predictions.scores[found], ground_truth.is_crowd[truths], is_ignored)
