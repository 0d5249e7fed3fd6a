"""Which detection belongs to which track: three stages, each a matrix of gains and one assignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from posecli.geometry import iou_matrix
from posecli.people.motion import MotionState, motion_surprise
from posecli.people.similarity import Poses, oks_matrix
from posecli.people.tracker_config import TrackerConfig
from posecli.people.tracklet import Tracklet
from posecli.records import BoolArray, Detections, FloatArray

Float64Array = NDArray[np.float64]
PoseCallback = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Boxes (M, 4) xyxy px of the current frame -> keypoints (M, K, 2) px and scores (M, K)."""

# 95 % of a chi-square with four degrees of freedom: beyond it, motion does not explain a box.
_MAX_SURPRISE = 9.49
# A track that missed its last look has a worse claim on a box than one that did not.
_LOST_PENALTY = 0.1


class Look:
    """One update's detections, with poses estimated only for those that somebody asks about, and only once."""

    def __init__(self, detections: Detections, estimate_poses: PoseCallback | None) -> None:
        self.boxes = np.asarray(detections.boxes, np.float32).reshape(-1, 4)
        self.scores = np.asarray(detections.scores, np.float64)
        self._estimate = estimate_poses
        self._poses: dict[int, tuple[FloatArray, FloatArray]] = {}

    @property
    def has_poses(self) -> bool:
        """Whether poses can be asked for."""
        return self._estimate is not None

    def poses(self, indices: list[int]) -> Poses:
        """The poses in these detections' boxes."""
        missing = [i for i in indices if i not in self._poses]
        if missing and self._estimate is not None:
            keypoints, scores = self._estimate(self.boxes[missing])
            self._poses |= {i: (keypoints[n], scores[n]) for n, i in enumerate(missing)}
        keypoints = np.stack([self._poses[i][0] for i in indices])
        return Poses.of(keypoints, np.stack([self._poses[i][1] for i in indices]), self.boxes[indices])


@dataclass(frozen=True)
class Association:
    """The question of one look: ``time_s`` of the frame, ``sigmas`` (K,) of the poses."""

    config: TrackerConfig
    sigmas: FloatArray
    look: Look
    time_s: float

    def solve(self, tracks: list[Tracklet], predicted: Mapping[int, MotionState]) -> dict[int, int]:
        """Which detection each track gets.

        Args:
            tracks: All of them.
            predicted: By track id, the state at the time of the look.

        Returns:
            Track id -> index of the detection; tracks without one are absent.
        """
        matches: dict[int, int] = {}
        scores = self.look.scores
        strong = [i for i in range(len(scores)) if scores[i] >= self.config.high_score]
        usable = [i for i in range(len(scores)) if scores[i] >= self.config.low_score]
        stages: list[tuple[Callable[[list[Tracklet], list[MotionState], list[int]], Float64Array], list[int]]] = [
            (self._box_gain, strong),
            (self._pose_gain, usable),
            (self._motion_gain, strong),
        ]
        for gain_of, candidates in stages:
            taken = set(matches.values())
            free_tracks = [track for track in tracks if track.track_id not in matches]
            free = [i for i in candidates if i not in taken]
            if not free_tracks or not free:
                continue
            states = [predicted[track.track_id] for track in free_tracks]
            for row, column in assign(gain_of(free_tracks, states, free)):
                matches[free_tracks[row].track_id] = free[column]
        return matches

    def _box_gain(self, tracks: list[Tracklet], states: list[MotionState], indices: list[int]) -> Float64Array:
        """Stage 1: IoU with the predicted box; contested pairs by the mean of IoU and OKS where poses are known."""
        least = self.config.min_iou_high
        iou = iou_matrix(np.stack([state.box for state in states]), self.look.boxes[indices]).astype(np.float64)
        similarity = iou
        contested = ambiguous_pairs(iou, min_similarity=least, margin=self.config.ambiguity_margin)
        if contested.any() and self.look.has_poses:
            oks = self._oks(tracks, states, indices, asked=contested)
            similarity = np.where(contested & np.isfinite(oks), (iou + oks) / 2.0, iou)
        penalty = np.array([_LOST_PENALTY if track.misses else 0.0 for track in tracks])[:, None]
        return np.where(iou >= least, similarity - penalty - least + 1e-9, 0.0)

    def _pose_gain(self, tracks: list[Tracklet], states: list[MotionState], indices: list[int]) -> Float64Array:
        """Stage 2: OKS with the moved pose; a looser IoU for pairs of which a pose is not known."""
        config = self.config
        boxes = self.look.boxes[indices].astype(np.float64)
        iou = iou_matrix(np.stack([state.box for state in states]), boxes).astype(np.float64)
        centres, heights = np.stack([s.centre for s in states]), np.array([s.height_px for s in states])
        distance = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2.0 - centres[:, None], axis=-1) / heights[:, None]
        oks = self._oks(tracks, states, indices, asked=distance <= config.pose_reach_heights)
        return np.where(np.isfinite(oks), oks - config.min_oks, iou - config.min_iou_low)

    def _motion_gain(self, tracks: list[Tracklet], states: list[MotionState], indices: list[int]) -> Float64Array:
        """Stage 3: how well motion explains the box; greater for tracks that know where they should be."""
        boxes = self.look.boxes[indices]
        centres = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2.0
        gain = np.zeros((len(states), len(indices)))
        for row, state in enumerate(states):
            surprise, vagueness = motion_surprise(state, boxes)
            jump = np.linalg.norm(centres - state.centre, axis=1) / state.height_px
            is_possible = (surprise <= _MAX_SURPRISE) & (jump <= self.config.max_jump_heights)
            # 100 keeps every possible pair above zero: it outweighs any vagueness (four log variances).
            gain[row] = np.where(is_possible, 100.0 + _MAX_SURPRISE - surprise - vagueness, 0.0)
        return gain

    def _oks(
        self,
        tracks: list[Tracklet],
        states: list[MotionState],
        indices: list[int],
        *,
        asked: NDArray[np.bool_],
    ) -> Float64Array:
        """(tracks, indices) OKS of moved poses with the poses in the detections; NaN where not asked or not known."""
        result = np.full(asked.shape, np.nan)
        moved = [track.predicted_pose(self.time_s) for track in tracks]
        rows = [n for n, pose in enumerate(moved) if pose is not None and asked[n].any()]
        columns = [n for n in range(len(indices)) if rows and asked[rows, n].any()]
        if not self.look.has_poses or not columns:
            return result
        poses = [pose for n in rows if (pose := moved[n]) is not None]
        known = Poses.of(
            np.stack([pose.keypoints for pose in poses]),
            np.stack([pose.scores for pose in poses]),
            np.stack([states[n].box for n in rows]),
        )
        oks = oks_matrix(known, self.look.poses([indices[n] for n in columns]), self.sigmas)
        result[np.ix_(rows, columns)] = oks
        return np.where(asked, result, np.nan)


def assign(gain: Float64Array) -> list[tuple[int, int]]:
    """One-to-one pairs of rows and columns with the greatest total gain.

    Args:
        gain: (N, M); a pair with a gain of zero or less (or NaN) is never made, even when that leaves both alone.

    Returns:
        (row, column) pairs in order of rows.
    """
    usable = np.where(np.isfinite(gain) & (gain > 0.0), gain, 0.0)
    if not usable.any():
        return []
    rows, columns = linear_sum_assignment(usable, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if usable[r, c] > 0.0]


def ambiguous_pairs(similarity: Float64Array, *, min_similarity: float, margin: float) -> BoolArray:
    """Pairs that a rival of nearly the same similarity contests.

    Args:
        similarity: (N, M).
        min_similarity: Pairs below it do not count, as pairs or as rivals.
        margin: A rival counts when its similarity comes within this of the pair's, or above.

    Returns:
        (N, M) bool.
    """
    allowed = similarity >= min_similarity
    contested = np.zeros_like(allowed)
    for axis in (0, 1):
        if similarity.shape[axis] < 2:
            continue
        ordered = np.sort(np.where(allowed, similarity, -np.inf), axis=axis)
        best, second = np.take(ordered, -1, axis=axis), np.take(ordered, -2, axis=axis)
        has_rival = second >= best - margin  # -inf >= -inf - margin holds too; `allowed` below removes it
        contested |= np.expand_dims(has_rival & np.isfinite(second), axis)
    return np.asarray(contested & allowed, np.bool_)
