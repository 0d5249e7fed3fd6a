"""How alike two poses are, and how sure one is of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.geometry import box_area
from posecli.records import BoolArray, FloatArray

Float64Array = NDArray[np.float64]

MIN_KEYPOINT_SCORE = 0.2
"""A keypoint below this score says nothing about whose pose it is."""

_MIN_COMMON_KEYPOINTS = 4
# Eyes and nose are annotated to a hundredth of a body; between two detections a head turns by more than that.
_MIN_SIGMA = 0.05


@dataclass(frozen=True, slots=True)
class Poses:
    """Poses of N people in one frame: ``keypoints`` (N, K, 2) px, ``scores`` (N, K), ``areas`` (N,) px^2 of their boxes."""

    keypoints: Float64Array
    scores: Float64Array
    areas: Float64Array

    @classmethod
    def of(cls, keypoints: NDArray[np.floating], scores: NDArray[np.floating], boxes: NDArray[np.floating]) -> Poses:
        """From arrays (N, K, 2), (N, K) and boxes (N, 4) xyxy px; points that are not finite count as unseen."""
        points = np.asarray(keypoints, np.float64)
        finite = np.asarray(np.isfinite(points).all(axis=-1))
        seen = np.where(finite, np.nan_to_num(np.asarray(scores, np.float64)), 0.0)
        return cls(np.where(finite[..., None], points, 0.0), seen, np.maximum(box_area(boxes).astype(np.float64), 1.0))


def oks_matrix(poses_a: Poses, poses_b: Poses, sigmas: FloatArray) -> Float64Array:
    """Object keypoint similarity of every pose of one set with every pose of another.

    It is the OKS of COCO over the keypoints that both poses show, with the mean area of the two boxes as the scale, and with sigmas
    of at least 0.05: two moments of one person are compared, not an answer with its ground truth.

    Args:
        poses_a: N poses.
        poses_b: M poses.
        sigmas: (K,) of the skeleton.

    Returns:
        (N, M) in [0, 1]; NaN where fewer than four keypoints are common: nothing can be said.
    """
    closeness, common = _closeness(poses_a, poses_b, sigmas)
    count = common.sum(axis=-1)
    total = np.where(common, closeness, 0.0).sum(axis=-1)
    return np.where(count >= _MIN_COMMON_KEYPOINTS, total / np.maximum(count, 1), np.nan)


def borrowed_similarity(pose: Poses, others: Poses, sigmas: FloatArray) -> float:
    """OKS of one pose with the best that several others have for each of its keypoints: near 1 where it is made up of theirs.

    Args:
        pose: One.
        others: Of the same frame.
        sigmas: (K,) of the skeleton.

    Returns:
        0 to 1; NaN where the pose shows fewer than four keypoints.
    """
    closeness, common = _closeness(pose, others, sigmas)
    seen = pose.scores[0] >= MIN_KEYPOINT_SCORE
    if seen.sum() < _MIN_COMMON_KEYPOINTS:
        return float("nan")
    return float(np.where(common, closeness, 0.0)[0].max(axis=0, initial=0.0)[seen].mean())


def _closeness(poses_a: Poses, poses_b: Poses, sigmas: FloatArray) -> tuple[Float64Array, BoolArray]:
    """(N, M, K) what each keypoint adds to an OKS, and which ones both poses show."""
    deltas = poses_a.keypoints[:, None] - poses_b.keypoints[None]
    areas = (poses_a.areas[:, None] + poses_b.areas[None]) / 2.0
    spread = (2.0 * np.maximum(sigmas.astype(np.float64), _MIN_SIGMA)) ** 2
    closeness = np.exp(-(deltas**2).sum(axis=-1) / (2.0 * areas[..., None] * spread))
    seen_a, seen_b = poses_a.scores >= MIN_KEYPOINT_SCORE, poses_b.scores >= MIN_KEYPOINT_SCORE
    return closeness, seen_a[:, None] & seen_b[None]


def paired_oks(
    keypoints_a: NDArray[np.floating],
    keypoints_b: NDArray[np.floating],
    scores_a: NDArray[np.floating],
    scores_b: NDArray[np.floating],
    areas: NDArray[np.floating],
    sigmas: FloatArray,
) -> Float64Array:
    """`oks_matrix` frame by frame: (T, K, 2) twice, (T, K) twice, areas (T,) px^2 -> (T,), NaN where nothing can be said."""
    square = ((np.asarray(keypoints_a, np.float64) - keypoints_b) ** 2).sum(axis=-1)
    common = (scores_a >= MIN_KEYPOINT_SCORE) & (scores_b >= MIN_KEYPOINT_SCORE) & np.isfinite(square)
    spread = (2.0 * np.maximum(sigmas.astype(np.float64), _MIN_SIGMA)) ** 2
    scale = 2.0 * np.maximum(np.asarray(areas, np.float64), 1.0)[:, None] * spread
    closeness = np.exp(-np.where(common, square, 0.0) / scale)
    count = common.sum(axis=-1)
    total = np.where(common, closeness, 0.0).sum(axis=-1)
    return np.where(count >= _MIN_COMMON_KEYPOINTS, total / np.maximum(count, 1), np.nan)


def pose_score(scores: NDArray[np.floating]) -> Float64Array:
    """How sure a pose is of itself: the mean of its better half of keypoints, (..., K) -> (...).

    Half of a body may be hidden or out of the picture without the pose being wrong; hence not the mean of all.
    """
    ordered = np.sort(np.nan_to_num(np.asarray(scores, np.float64)), axis=-1)
    better_half = ordered[..., ordered.shape[-1] // 2 :]
    return np.asarray(better_half.mean(axis=-1), np.float64)


def student_cost(squared: Float64Array, *, freedom: float, size: int) -> Float64Array:
    """Twice the negative log likelihood, less a constant, of Student's t in ``size`` dimensions at squared distances."""
    return np.asarray((freedom + size) * np.log1p(squared / freedom), np.float64)
