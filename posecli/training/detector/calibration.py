"""From scores that rank to scores that say how often they are right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from posecli.errors import ConfigError
from posecli.formats.ground_truth import GroundTruth
from posecli.geometry import iou_matrix
from posecli.records import BoolArray, Detections, FloatArray

RIGHT_IOU = 0.4  # not 0.5: crops for poses are enlarged by a quarter, so a box that is a little off still serves
_MIN_BOXES = 20


def fit_calibration(found: Mapping[int, Detections], truth: GroundTruth) -> tuple[float, float]:
    """Platt scaling: the ``score_scale`` and ``score_shift`` under which a score is the probability that its box is right.

    Args:
        found: Detections by image id from a network without calibration, with a low threshold.
        truth: The labels of those images.

    Returns:
        Scale and shift of the logit.

    Raises:
        ConfigError: There are too few boxes, or all or none are right.
    """
    rows_by_image = truth.rows_by_image()
    parts = [(d.scores, _is_right(d, truth.boxes[rows_by_image[image]])) for image, d in found.items()]
    scores = np.concatenate([scores for scores, _ in parts]) if parts else np.zeros(0)
    is_right = np.concatenate([right for _, right in parts]) if parts else np.zeros(0, np.bool_)
    if len(scores) < _MIN_BOXES or is_right.all() or not is_right.any():
        raise ConfigError(
            f"{len(scores)} boxes, {int(is_right.sum())} of them right: not enough to calibrate scores on"
        )
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    logits, sign = np.log(clipped / (1 - clipped)), np.where(is_right, 1.0, -1.0)

    def loss(parameters: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0.0, -sign * (parameters[0] * logits + parameters[1])).mean())

    scale, shift = minimize(loss, np.array([1.0, 0.0])).x
    return float(scale), float(shift)


def _is_right(detections: Detections, people: FloatArray) -> BoolArray:
    """(N,): boxes that find a person whom no better-scored box has found; detections come best first."""
    overlaps = iou_matrix(detections.boxes, people)
    is_right = np.zeros(len(detections.boxes), np.bool_)
    for i in range(len(overlaps)):
        if overlaps.shape[1] and overlaps[i].max() >= RIGHT_IOU:
            is_right[i] = True
            overlaps[:, int(overlaps[i].argmax())] = 0.0
    return is_right
