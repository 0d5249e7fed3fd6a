"""What a keypoint score is worth: how often points of that score are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from posecli.evaluation.pck import box_lengths
from posecli.records import FloatArray

_NUM_BINS = 10
_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Points with a score in [``low``, ``high``): how many, and how many of them are right, per cent (``None``: no points)."""

    low: float
    high: float
    num_points: int
    correct: float | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"low": self.low, "high": self.high, "num_points": self.num_points, "correct": self.correct}


def reliability(
    keypoints: FloatArray, scores: FloatArray, truth: FloatArray, boxes: FloatArray
) -> tuple[ReliabilityBin, ...]:
    """Compare scores with the share of points within a tenth of the box's longer side (the criterion of PCK@0.1 box).

    Args:
        keypoints: (N, 19, 2) px predicted; points that are NaN are left out.
        scores: (N, 19) in [0, 1].
        truth: (N, 19, 3) labels x, y, v; unlabelled points are left out.
        boxes: (N, 4) xyxy px of the labelled people.

    Returns:
        Ten bins of equal width; the last includes 1.
    """
    distances = np.linalg.norm(keypoints.astype(np.float64) - truth[..., :2], axis=-1)
    counted = (truth[..., 2] > 0) & np.isfinite(distances)
    is_correct = (distances < _TOLERANCE * box_lengths(boxes)[:, None])[counted]
    bins = np.minimum((scores[counted] * _NUM_BINS).astype(int), _NUM_BINS - 1)
    result = []
    for number in range(_NUM_BINS):
        members = is_correct[bins == number]
        correct = 100.0 * float(members.mean()) if len(members) else None
        result.append(ReliabilityBin(number / _NUM_BINS, (number + 1) / _NUM_BINS, len(members), correct))
    return tuple(result)
