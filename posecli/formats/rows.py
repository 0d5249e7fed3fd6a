"""Poses as files want them: one row per person and frame, in frame order, plain Python numbers, never NaN.

Coordinates are rounded to 1/1000 px, scores to 1/100000. A keypoint is missing when its coordinates are NaN or its rounded score
is 0: its x, y, flag and score are all written as 0.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray, PoseSequence
from posecli.skeletons import Skeleton, convert_keypoints, get_skeleton

COORDINATE_DECIMALS = 3
SCORE_DECIMALS = 5
_COUNTED_SCORE = 0.2
_CHUNK_FRAMES = 256


@dataclass(frozen=True, slots=True)
class PoseRow:
    """One person in one frame.

    ``keypoints`` holds x, y, flag per keypoint (flag: ``present_flag`` or 0), ``scores`` one number per keypoint, ``raw`` x, y
    per keypoint or null, ``bbox`` left, top, width, height. ``score`` ranks whole poses, see `instance_scores`.
    """

    frame_index: int
    track_id: int
    is_interpolated: bool
    keypoints: list[float]
    scores: list[float]
    raw: list[float | None]
    bbox: list[float]
    box_score: float
    score: float

    def num_present(self, num_keypoints: int) -> int:
        """How many of the first ``num_keypoints`` keypoints are there."""
        return sum(flag > 0 for flag in self.keypoints[2 : 3 * num_keypoints : 3])


def instance_scores(scores: FloatArray, box_scores: FloatArray) -> FloatArray:
    """The score of a whole pose, as top-down estimators rank: box score x mean of the keypoint scores above 0.2.

    Args:
        scores: (N, K) in [0, 1].
        box_scores: (N,) in [0, 1].

    Returns:
        (N,) in [0, 1]; 0 where no keypoint is above 0.2.
    """
    counted = scores > _COUNTED_SCORE
    total, number = np.where(counted, scores, 0.0).sum(axis=1), counted.sum(axis=1)
    return np.asarray(box_scores * total / np.maximum(number, 1), np.float32)


def round_coordinates(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """To 1/1000 px; adding zero turns -0.0 into 0.0."""
    return np.asarray(np.round(values.astype(np.float64), COORDINATE_DECIMALS) + 0.0, np.float64)


def round_scores(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """To 1/100000."""
    return np.asarray(np.round(values.astype(np.float64), SCORE_DECIMALS) + 0.0, np.float64)


def pose_rows(poses: Sequence[PoseSequence], skeleton: Skeleton, *, present_flag: int) -> Iterator[PoseRow]:
    """All poses by frame, then in the order of ``poses``; memory does not grow with their length.

    Args:
        poses: The sequences; each has ascending frame indices.
        skeleton: The skeleton to write.
        present_flag: What stands for "there" behind x and y: 2 in COCO, 1 in PoseTrack.

    Yields:
        One row per person and frame.
    """
    return heapq.merge(*(_sequence_rows(p, skeleton, present_flag) for p in poses), key=lambda row: row.frame_index)


def _sequence_rows(pose: PoseSequence, skeleton: Skeleton, present_flag: int) -> Iterator[PoseRow]:
    for start in range(0, len(pose), _CHUNK_FRAMES):
        yield from _chunk_rows(pose, slice(start, start + _CHUNK_FRAMES), skeleton, present_flag)


def _chunk_rows(pose: PoseSequence, part: slice, skeleton: Skeleton, present_flag: int) -> Iterator[PoseRow]:
    source = get_skeleton(pose.skeleton)
    points, scores = convert_keypoints(pose.keypoints[part], pose.scores[part], source, skeleton)
    raw, _ = convert_keypoints(pose.raw_keypoints[part], pose.scores[part], source, skeleton)
    rounded_scores = round_scores(np.nan_to_num(scores, nan=0.0))
    present = np.isfinite(points).all(axis=-1) & (rounded_scores > 0)
    rounded = np.where(present[..., None], round_coordinates(np.where(present[..., None], points, 0.0)), 0.0)
    flags = np.where(present, float(present_flag), 0.0)
    corners = round_coordinates(pose.boxes[part])
    boxes = np.concatenate([corners[:, :2], round_coordinates(corners[:, 2:] - corners[:, :2])], axis=1)
    kept_scores, box_scores = np.where(present, rounded_scores, 0.0), round_scores(pose.box_scores[part])
    if not (np.isfinite(boxes).all() and np.isfinite(box_scores).all()):
        raise ValueError(f"track {pose.track_id}: a box or its score is not finite")
    # From the rounded numbers, so that a file read and written again keeps its bytes.
    whole = round_scores(instance_scores(kept_scores.astype(np.float32), box_scores.astype(np.float32)))
    columns = (
        pose.frame_indices[part].tolist(),
        pose.interpolated[part].tolist(),
        np.concatenate([rounded, flags[..., None]], axis=-1).reshape(len(present), -1),
        kept_scores.tolist(),
        round_coordinates(raw).reshape(len(present), -1),
        boxes.tolist(),
        box_scores.tolist(),
        whole.tolist(),
    )
    for frame, is_interpolated, xyf, score, raw_xy, box, box_score, instance in zip(*columns, strict=True):
        yield PoseRow(
            frame_index=frame,
            track_id=pose.track_id,
            is_interpolated=is_interpolated,
            keypoints=_with_integer_flags(xyf),
            scores=score,
            raw=[value if np.isfinite(value) else None for value in raw_xy.tolist()],
            bbox=box,
            box_score=box_score,
            score=instance,
        )


def _with_integer_flags(xyf: NDArray[np.float64]) -> list[float]:
    values: list[float] = xyf.tolist()
    values[2::3] = [int(flag) for flag in values[2::3]]
    return values
