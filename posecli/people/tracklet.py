"""One track while the tracker is still building it: what it last saw, and what that says about now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posecli.geometry import keypoint_box
from posecli.people.motion import MotionState, predict_motion, start_motion, update_motion
from posecli.people.similarity import MIN_KEYPOINT_SCORE
from posecli.records import FloatArray

Float64Array = NDArray[np.float64]

# Left, top, right, bottom of a person box beyond its outermost keypoints, in units of the longer side of the keypoint box;
# until a track has shown its own.
_FIRST_MARGINS = (0.08, 0.04, 0.08, 0.05)
_MARGIN_LEARNING_RATE = 0.3
_MAX_MARGIN = 0.5
# A weak detection's box, and a box built from keypoints, wander more than a strong detection's.
_WEAK_NOISE_FACTOR = 2.0
# A pose that shows fewer of the points seen before than this part shows a part of the person; fewer points than this say nothing.
_MOST = 0.7
_MIN_COMMON = 3


@dataclass(frozen=True, slots=True)
class TrackPose:
    """The pose of a track in one frame: ``keypoints`` (K, 2) px, ``scores`` (K,)."""

    frame_index: int
    time_s: float
    keypoints: Float64Array
    scores: Float64Array


@dataclass(slots=True)
class Tracklet:
    """The memory of one track.

    ``state`` and ``pose`` are the newest belief, which poses alone may have carried on; ``anchor_state`` and ``anchor_pose`` are
    those of the last detection, to return to when that proves a delusion. ``evidence_time_s`` is when a detection or a good pose
    last backed the track. ``has_bad_pose``: no detection, and the newest pose does not back it. ``is_doubted``: all of its poses
    since the last look were like that, or were another track's; it is remembered, not shown.
    """

    track_id: int
    state: MotionState
    score: float
    first_frame: int
    detected_frame: int
    detected_time_s: float
    evidence_time_s: float
    anchor_state: MotionState
    hits: int = 1
    misses: int = 0
    is_confirmed: bool = False
    is_doubted: bool = False
    has_bad_pose: bool = False
    pose: TrackPose | None = None
    anchor_pose: TrackPose | None = None
    detected_box: Float64Array | None = None
    margins: tuple[float, float, float, float] = _FIRST_MARGINS

    @classmethod
    def born(cls, track_id: int, frame_index: int, time_s: float, box: FloatArray, score: float) -> Tracklet:
        """A track at its first detection."""
        state = start_motion(box, time_s)
        return cls(
            track_id=track_id,
            state=state,
            score=score,
            first_frame=frame_index,
            detected_frame=frame_index,
            detected_time_s=time_s,
            evidence_time_s=time_s,
            anchor_state=state,
            detected_box=np.asarray(box, np.float64),
        )

    @property
    def is_held(self) -> bool:
        """A good pose has backed the track since its last detection."""
        return self.evidence_time_s > self.detected_time_s and not self.is_doubted

    def predicted_pose(self, time_s: float) -> TrackPose | None:
        """The last pose, moved as the box moves."""
        if self.pose is None:
            return None
        shift = self.state.centre_at(time_s) - self.state.centre_at(self.pose.time_s)
        return TrackPose(self.pose.frame_index, time_s, self.pose.keypoints + shift, self.pose.scores)

    def match(self, predicted: MotionState, frame_index: int, box: FloatArray, score: float, *, is_weak: bool) -> None:
        """A detection of this frame is this person.

        Args:
            predicted: The state at the frame.
            frame_index: The frame.
            box: (4,) xyxy px.
            score: Of the detection.
            is_weak: Its score is low, so its box is trusted less.
        """
        self.state = update_motion(predicted, box, noise_factor=_WEAK_NOISE_FACTOR if is_weak else 1.0)
        self.anchor_state, self.anchor_pose = self.state, self.pose
        self.detected_frame, self.detected_time_s = frame_index, self.state.time_s
        self.evidence_time_s = self.state.time_s
        self.detected_box = self.state.box if is_weak else np.asarray(box, np.float64)
        self.score, self.is_doubted, self.has_bad_pose = score, False, False
        self.hits += 1
        self.misses = 0

    def see_pose(self, pose: TrackPose) -> None:
        """A pose from a frame at or before the last detection: remember it, and learn how the box lies around it."""
        self.pose = self.anchor_pose = pose
        points_box = keypoint_box(pose.keypoints, pose.scores, min_score=MIN_KEYPOINT_SCORE)
        if pose.frame_index != self.detected_frame or points_box is None or self.detected_box is None:
            return
        side = max(float((points_box[2:] - points_box[:2]).max()), 1.0)
        outward = np.array([-1.0, -1.0, 1.0, 1.0])
        seen = np.clip(outward * (self.detected_box - points_box) / side, -_MAX_MARGIN, _MAX_MARGIN)
        learnt = np.array(self.margins) + _MARGIN_LEARNING_RATE * (seen - np.array(self.margins))
        self.margins = (float(learnt[0]), float(learnt[1]), float(learnt[2]), float(learnt[3]))

    def pose_box(self, pose: TrackPose) -> Float64Array | None:
        """(4,) xyxy px: the person box that this pose implies; ``None`` when it shows too little.

        Of a pose that shows much less than the one at the last detection only the movement counts: what is not seen is still there.
        """
        points_box = keypoint_box(pose.keypoints, pose.scores, min_score=MIN_KEYPOINT_SCORE)
        if points_box is None:
            return None
        if (moved := self._moved_box(pose)) is not None:
            return moved
        side = max(float((points_box[2:] - points_box[:2]).max()), 1.0)
        outward = np.array([-1.0, -1.0, 1.0, 1.0])
        return np.asarray(points_box + outward * np.array(self.margins) * side, np.float64)

    def _moved_box(self, pose: TrackPose) -> Float64Array | None:
        """(4,) xyxy px: the last detection's box, moved as the points of its pose; ``None`` if most of those are shown."""
        before = self.anchor_pose
        if before is None:
            return None
        seen_then, seen_now = (p.scores >= MIN_KEYPOINT_SCORE for p in (before, pose))
        common = seen_then & seen_now
        if not _MIN_COMMON <= common.sum() <= _MOST * seen_then.sum():
            return None
        shift = np.median(pose.keypoints[common] - before.keypoints[common], axis=0)
        half = (self.anchor_state.box[2:] - self.anchor_state.box[:2]) / 2.0
        centre = self.anchor_state.centre_at(before.time_s) + shift
        return np.concatenate([centre - half, centre + half])

    def hold(self, pose: TrackPose, box: Float64Array, score: float) -> None:
        """No detection, but the pose is good: it carries the track on."""
        predicted = predict_motion(self.state, pose.time_s)
        self.state = update_motion(predicted, box, noise_factor=_WEAK_NOISE_FACTOR)
        self.pose, self.score, self.evidence_time_s = pose, score, pose.time_s
        self.has_bad_pose = False

    def retract(self) -> None:
        """What carried the track since its last detection was not this person: go back to the last detection."""
        self.state, self.pose = self.anchor_state, self.anchor_pose
        self.evidence_time_s, self.is_doubted = self.detected_time_s, True

    def take_over(self, other: Tracklet) -> None:
        """``other`` is this person, found again: its sight is the newer one, the identity stays."""
        self.state, self.pose, self.detected_box = other.state, other.pose, other.detected_box
        self.anchor_state, self.anchor_pose, self.margins = other.anchor_state, other.anchor_pose, other.margins
        self.detected_frame, self.detected_time_s = other.detected_frame, other.detected_time_s
        self.evidence_time_s, self.score = other.evidence_time_s, other.score
        self.misses, self.is_doubted, self.has_bad_pose = other.misses, other.is_doubted, other.has_bad_pose
        self.hits += other.hits
        self.is_confirmed = self.is_confirmed or other.is_confirmed

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values; floats keep every bit."""
        return {
            "track_id": self.track_id,
            "state": _state_to_json(self.state),
            "score": self.score,
            "first_frame": self.first_frame,
            "detected_frame": self.detected_frame,
            "detected_time_s": self.detected_time_s,
            "evidence_time_s": self.evidence_time_s,
            "anchor_state": _state_to_json(self.anchor_state),
            "hits": self.hits,
            "misses": self.misses,
            "is_confirmed": self.is_confirmed,
            "is_doubted": self.is_doubted,
            "has_bad_pose": self.has_bad_pose,
            "pose": _pose_to_json(self.pose),
            "anchor_pose": _pose_to_json(self.anchor_pose),
            "detected_box": None if self.detected_box is None else self.detected_box.tolist(),
            "margins": list(self.margins),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tracklet:
        """The inverse of `to_json`."""
        box = value["detected_box"]
        left, top, right, bottom = value["margins"]
        fields = value | {
            "state": _state_from_json(value["state"]),
            "anchor_state": _state_from_json(value["anchor_state"]),
            "pose": _pose_from_json(value["pose"]),
            "anchor_pose": _pose_from_json(value["anchor_pose"]),
            "detected_box": None if box is None else np.array(box, np.float64),
            "margins": (left, top, right, bottom),
        }
        return cls(**fields)


def _state_to_json(state: MotionState) -> dict[str, Any]:
    return {"time_s": state.time_s, "mean": state.mean.tolist(), "covariance": state.covariance.tolist()}


def _state_from_json(value: dict[str, Any]) -> MotionState:
    return MotionState(value["time_s"], np.array(value["mean"], np.float64), np.array(value["covariance"], np.float64))


def _pose_to_json(pose: TrackPose | None) -> dict[str, Any] | None:
    if pose is None:
        return None
    # JSON has no NaN: a missing keypoint is null.
    points = [None if np.isnan(point).any() else point.tolist() for point in pose.keypoints]
    return {
        "frame_index": pose.frame_index,
        "time_s": pose.time_s,
        "keypoints": points,
        "scores": pose.scores.tolist(),
    }


def _pose_from_json(value: dict[str, Any] | None) -> TrackPose | None:
    if value is None:
        return None
    points = np.array([(np.nan, np.nan) if point is None else point for point in value["keypoints"]], np.float64)
    scores = np.array(value["scores"], np.float64)
    return TrackPose(value["frame_index"], value["time_s"], points.reshape(-1, 2), scores)
