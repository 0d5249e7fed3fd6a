"""How much poses tremble: the mean acceleration of keypoints, relative to the size of the person.

Per frame: in per cent of the box size (root of its area) per frame squared, over frames that follow each other without a gap.
Per second: in box sizes per second squared, as the run record has it. Real motion accelerates too: compare methods on the same
video, or with labels (`motion_against_labels`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posecli.evaluation.judgement import PersonMarks
from posecli.evaluation.video_labels import NO_TRACK, VideoLabels
from posecli.pose.smoothing import jitter
from posecli.records import Annotation, FloatArray, IntArray, PoseSequence
from posecli.skeletons import get_skeleton

_MAX_GAP_FRAMES = 1.0


@dataclass(frozen=True, slots=True)
class Jitter:
    """Mean acceleration; ``None`` where no keypoint is known in three successive frames."""

    percent_per_frame2: float | None
    sizes_per_s2: float | None

    def to_json(self) -> dict[str, float | None]:
        """A JSON object."""
        return {"percent_per_frame2": self.percent_per_frame2, "box_sizes_per_s2": self.sizes_per_s2}


@dataclass(frozen=True, slots=True)
class JitterReport:
    """Of one poses file: ``raw`` the network's own points, ``final`` those a reader uses (smoothed unless that was switched off).

    ``per_keypoint`` has both, in per cent of the box size per frame squared, by name.
    """

    video: str
    num_tracks: int
    num_poses: int
    raw: Jitter
    final: Jitter
    per_keypoint: dict[str, tuple[float | None, float | None]]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "video": self.video,
            "num_tracks": self.num_tracks,
            "num_poses": self.num_poses,
            "raw": self.raw.to_json(),
            "final": self.final.to_json(),
            "per_keypoint_percent_per_frame2": {
                name: {"raw": raw, "final": final} for name, (raw, final) in self.per_keypoint.items()
            },
        }


def measure_jitter(annotation: Annotation) -> JitterReport:
    """The jitter of a poses file: the mean over its tracks, weighted by the accelerations known of each."""
    poses = annotation.poses
    names = get_skeleton(poses[0].skeleton).keypoint_names if poses else ()
    return JitterReport(
        video=annotation.video.path.name,
        num_tracks=len(poses),
        num_poses=sum(len(pose) for pose in poses),
        raw=_jitter(annotation, _raw_points),
        final=_jitter(annotation, _final_points),
        per_keypoint={
            name: (_per_frame(poses, _raw_points, [k]), _per_frame(poses, _final_points, [k]))
            for k, name in enumerate(names)
        },
    )


def motion_against_labels(marks: PersonMarks, labels: VideoLabels) -> dict[str, float | None]:
    """Mean accelerations of labelled people over the labelled points, in per cent of the box size per frame squared.

    Args:
        marks: What was predicted for them.
        labels: Who they are.

    Returns:
        ``predicted``, ``labelled``, and ``error``: the length of the difference of the two accelerations; ``None`` where nothing
        can be said. A prediction as smooth as the labels has an error near 0.
    """
    truth, rows = labels.truth, marks.truth_rows
    frame_of = {image_id: frame for frame, image_id in labels.image_ids.items()}
    frames = np.array([frame_of[image_id] for image_id in truth.image_ids[rows].tolist()], np.int64)
    truth_points = np.where(truth.keypoints[rows][..., 2:] > 0, truth.keypoints[rows][..., :2], np.float32(np.nan))
    # a point missing on one side is left out on both
    predicted = np.where(np.isfinite(truth_points), marks.keypoints, np.float32(np.nan))
    known = np.where(np.isfinite(predicted), truth_points, np.float32(np.nan))
    parts: dict[str, list[tuple[float, int]]] = {"predicted": [], "labelled": [], "error": []}
    for track in np.unique(labels.track_ids[rows]):
        members = np.flatnonzero(labels.track_ids[rows] == track)
        members = members[np.argsort(frames[members], kind="stable")]
        if track == NO_TRACK:
            continue
        boxes = truth.boxes[rows[members]]
        kinds = {"predicted": predicted, "labelled": known, "error": (predicted - known).astype(np.float32)}
        for name, points in kinds.items():
            parts[name].append(_weighted(points[members], frames[members], boxes))
    return {name: _mean(values, 100.0) for name, values in parts.items()}


def _raw_points(pose: PoseSequence) -> FloatArray:
    return pose.raw_keypoints


def _final_points(pose: PoseSequence) -> FloatArray:
    return pose.keypoints


def _jitter(annotation: Annotation, points: Callable[[PoseSequence], FloatArray]) -> Jitter:
    times = annotation.frames.time_s
    per_second = [
        (
            jitter(points(pose), times[pose.frame_indices - annotation.first_frame_index], pose.boxes),
            _num_known(points(pose), pose.frame_indices),
        )
        for pose in annotation.poses
    ]
    columns = range(annotation.poses[0].keypoints.shape[1]) if annotation.poses else ()
    return Jitter(_per_frame(annotation.poses, points, columns), _mean(per_second, 1.0))


def _per_frame(
    poses: Sequence[PoseSequence], points: Callable[[PoseSequence], FloatArray], columns: Sequence[int]
) -> float | None:
    return _mean([_weighted(points(p)[:, list(columns)], p.frame_indices, p.boxes) for p in poses], 100.0)


def _weighted(points: FloatArray, frames: IntArray, boxes: FloatArray) -> tuple[float, int]:
    """Mean acceleration in box sizes per frame squared, and of how many."""
    value = jitter(points, frames.astype(np.float64), boxes, max_gap_s=_MAX_GAP_FRAMES)
    return value, _num_known(points, frames)


def _num_known(points: FloatArray, frames: IntArray) -> int:
    """In how many places a keypoint is known in three successive frames."""
    is_known = np.asarray(np.isfinite(points).all(axis=-1))
    successive = (np.diff(frames) == 1)[:, None]
    return int((is_known[:-2] & is_known[1:-1] & is_known[2:] & successive[:-1] & successive[1:]).sum())


def _mean(values: Sequence[tuple[float, int]], factor: float) -> float | None:
    total = sum(count for _, count in values)
    return factor * sum(value * count for value, count in values) / total if total else None
