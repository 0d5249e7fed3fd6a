"""Who is who from detection to detection.

The detector looks at every n-th frame and is weak: its boxes jitter, it misses people for a second, it finds some of them twice. So
a track lives on more than boxes:

1. strong detections join tracks by IoU with the box that motion predicts; where two claims are nearly equal, poses decide;
2. what is left, and weak detections, join by OKS between the track's last pose, moved on, and the pose in the detection's box (without
   poses: by a looser IoU);
3. strong detections still left join by what the motion model can explain: people who walk fast between two looks;
4. the rest found new tracks, unless they are a second look at somebody already found.

Between looks the pipeline feeds poses back (`Tracker.observe_pose`): a track that no detection backs is held by them. A tracker is for
one video; make a new one for the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posecli.errors import FormatError
from posecli.geometry import iou_matrix
from posecli.people.association import Association, Look, PoseCallback
from posecli.people.motion import predict_motion
from posecli.people.similarity import Poses, borrowed_similarity, oks_matrix, pose_score
from posecli.people.tracker_config import TrackerConfig
from posecli.people.tracklet import Tracklet, TrackPose
from posecli.records import Detections, FloatArray
from posecli.skeletons import POSECLI19, Skeleton

__all__ = ["PoseCallback", "TrackLedger", "TrackedBox", "Tracker", "TrackerConfig"]

_STATE_VERSION = 1
# Tracks whose boxes do not even share this are not compared: poses on one body have boxes on one body.
_MIN_COINCIDENCE_IOU = 0.2
# A pose of a frame between looks is compared with others' poses of the last look, moved on as their boxes move.
_SAME_MOMENT_S = 0.2


@dataclass(frozen=True, slots=True)
class TrackedBox:
    """Where a track is in the frame just looked at: ``box`` (4,) xyxy px.

    ``is_detected``: a detection backs the box; otherwise it is a prediction from motion and poses. ``is_confirmed``: so far; a track
    keeps its id when it is confirmed later, and `Tracker.finish` says which ones were.
    """

    track_id: int
    box: FloatArray
    score: float
    is_detected: bool
    is_confirmed: bool


@dataclass(frozen=True)
class TrackLedger:
    """What became of the ids: ``confirmed_ids`` ascending; ``merged`` maps an id to the older id of the same person."""

    confirmed_ids: tuple[int, ...]
    merged: Mapping[int, int]


class Tracker:
    """Keeps the tracks of one video.

    Args:
        config: How bold it is.
        skeleton: Of the poses that are fed back; its sigmas make the OKS.
    """

    def __init__(self, config: TrackerConfig | None = None, *, skeleton: Skeleton = POSECLI19) -> None:
        self.config = config or TrackerConfig()
        self._sigmas = skeleton.sigma_array
        self._tracks: dict[int, Tracklet] = {}
        self._next_id = 0
        self._last_frame = -1
        self._last_time_s = float("-inf")
        self._confirmed: set[int] = set()
        self._merged: dict[int, int] = {}
        self._alike: dict[tuple[int, int], int] = {}

    def update(
        self,
        frame_index: int,
        time_s: float,
        detections: Detections,
        *,
        estimate_poses: PoseCallback | None = None,
    ) -> list[TrackedBox]:
        """Take in what the detector saw in one frame.

        Args:
            frame_index: Greater than at the last call.
            time_s: Of the frame.
            detections: Of the frame.
            estimate_poses: Gives poses in boxes of this frame; called at most three times, for doubtful boxes only. Without it,
                doubtful boxes are decided by IoU.

        Returns:
            Every track believed to be in the frame, by id; tentative ones included.

        Raises:
            ValueError: The frame index does not ascend.
        """
        if frame_index <= self._last_frame:
            raise ValueError(f"tracker: frame {frame_index} after frame {self._last_frame}")
        time_s = float(time_s)
        # Poses known by now are those of the last look and before: they go with the boxes of that look, not of this one.
        self._settle_duplicates()
        self._retract_borrowers()
        self._drop_dead(time_s)
        self._doubt_unbacked()
        self._last_frame, self._last_time_s = frame_index, time_s
        look = Look(detections, estimate_poses)
        tracks = list(self._tracks.values())
        predicted = {track.track_id: predict_motion(track.state, time_s) for track in tracks}
        matches = Association(self.config, self._sigmas, look, float(time_s)).solve(tracks, predicted)
        for track in tracks:
            index = matches.get(track.track_id)
            if index is None:
                track.misses += 1
                continue
            score = float(look.scores[index])
            is_weak = score < self.config.high_score
            track.match(predicted[track.track_id], frame_index, look.boxes[index], score, is_weak=is_weak)
        self._found_tracks(look, matches, frame_index, time_s)
        for track in self._tracks.values():
            if track.hits >= self.config.confirm_hits:
                track.is_confirmed = True
                self._confirmed.add(track.track_id)
        return [self._shown(t, frame_index, time_s) for t in self._tracks.values() if not (t.misses and t.is_doubted)]

    def predict(self, frame_index: int, time_s: float) -> list[TrackedBox]:
        """Where the tracks are believed to be in a frame that the detector does not look at; nothing changes.

        Args:
            frame_index: After the last look.
            time_s: Of the frame.
        """
        shown = (t for t in self._tracks.values() if not (t.misses and t.is_doubted))
        return [self._shown(track, frame_index, time_s) for track in shown]

    def boxes_at(self, track_id: int, times_s: NDArray[np.float64]) -> FloatArray:
        """Boxes of one track around the last look: forward as motion predicts, backward on a straight line.

        Args:
            track_id: A track that `update` or `predict` has just returned.
            times_s: (T,) seconds.

        Returns:
            (T, 4) xyxy px, all of the size last believed.
        """
        state = self._tracks[track_id].state
        half = (state.box[2:] - state.box[:2]) / 2.0
        centres = np.stack([state.centre_at(float(time_s)) for time_s in times_s])
        return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)

    def observe_pose(
        self,
        track_id: int,
        frame_index: int,
        time_s: float,
        keypoints: NDArray[np.floating],
        scores: NDArray[np.floating],
    ) -> None:
        """Feed back the pose of a track in one frame; frames of one track in ascending order.

        For a track that no detection backs, a good pose near the prediction is evidence: it keeps the track alive and moves its
        box. Where all poses between two looks are bad, it is not shown until a detection finds it again. Poses of tracks that are
        over are ignored.

        Args:
            track_id: As in `TrackedBox`.
            frame_index: The frame.
            time_s: Of the frame.
            keypoints: (K, 2) px.
            scores: (K,).
        """
        track = self._tracks.get(self._root(track_id))
        if (
            track is None
            or track.track_id != track_id
            or (track.pose is not None and frame_index <= track.pose.frame_index)
        ):
            return
        points = np.asarray(keypoints, np.float64)
        finite = np.asarray(np.isfinite(points).all(axis=-1))
        values = np.where(finite, np.nan_to_num(np.asarray(scores, np.float64)), 0.0)
        pose = TrackPose(frame_index, float(time_s), np.where(finite[:, None], points, np.nan), values)
        if frame_index <= track.detected_frame:
            track.see_pose(pose)
            return
        if track.misses == 0 or track.is_doubted:
            return
        box, quality = track.pose_box(pose), float(pose_score(values))
        expected = predict_motion(track.state, pose.time_s).box
        agrees = box is not None and float(iou_matrix(box[None], expected[None])[0, 0]) >= self.config.pose_hold_iou
        if box is not None and agrees and quality >= self.config.pose_hold_score:
            track.hold(pose, box, quality)
        else:
            track.has_bad_pose = True

    def finish(self) -> TrackLedger:
        """The ids that count, after the last update.

        A track that began so late (or in a video so short, or in a single picture) that no later look could confirm it has the benefit
        of the doubt.
        """
        late = {t.track_id for t in self._tracks.values() if t.misses == 0 and t.hits < self.config.confirm_hits}
        ids = self._confirmed | late | {self._root(i) for i in self._confirmed}
        merged = {i: self._root(i) for i in self._merged}
        return TrackLedger(tuple(sorted(ids - merged.keys())), merged)

    def state_dict(self) -> dict[str, Any]:
        """Everything the tracker knows as JSON values; `load_state_dict` continues with identical results."""
        return {
            "version": _STATE_VERSION,
            "next_id": self._next_id,
            "last_frame": self._last_frame,
            "last_time_s": self._last_time_s if self._last_frame >= 0 else None,
            "confirmed": sorted(self._confirmed),
            "merged": [list(pair) for pair in self._merged.items()],
            "alike": [[*pair, count] for pair, count in self._alike.items()],
            "tracks": [track.to_json() for track in self._tracks.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become the tracker that wrote ``state``; configuration and skeleton are not part of it.

        Raises:
            FormatError: The state is from another version of posecli.
        """
        if state.get("version") != _STATE_VERSION:
            raise FormatError(
                f"tracker state has version {state.get('version')!r}, not {_STATE_VERSION}",
                hint="start this video again with --overwrite",
            )
        self._next_id, self._last_frame = state["next_id"], state["last_frame"]
        self._last_time_s = float("-inf") if state["last_time_s"] is None else state["last_time_s"]
        self._confirmed = set(state["confirmed"])
        self._merged = {young: old for young, old in state["merged"]}
        self._alike = {(old, young): count for old, young, count in state["alike"]}
        self._tracks = {value["track_id"]: Tracklet.from_json(value) for value in state["tracks"]}

    def _root(self, track_id: int) -> int:
        while track_id in self._merged:
            track_id = self._merged[track_id]
        return track_id

    def _drop_dead(self, time_s: float) -> None:
        """Forget tracks without evidence. A track seen at the last look has its chance however long ago that look was."""
        config = self.config

        def is_dead(track: Tracklet) -> bool:
            silent_s = time_s - track.evidence_time_s
            if track.misses == 0:
                return silent_s > 2.0 * config.max_lost_s
            held_too_long = time_s - track.detected_time_s > config.max_held_s
            unproven = not track.is_confirmed and not track.is_held
            return silent_s > config.max_lost_s or held_too_long or unproven

        self._tracks = {i: track for i, track in self._tracks.items() if not is_dead(track)}

    def _doubt_unbacked(self) -> None:
        """Tracks that neither the last look nor any pose since then has seen are not shown until a detection finds them."""
        for track in self._tracks.values():
            if track.misses and track.has_bad_pose and track.evidence_time_s <= self._last_time_s:
                track.is_doubted = True

    def _found_tracks(self, look: Look, matches: Mapping[int, int], frame_index: int, time_s: float) -> None:
        """New tracks from strong detections that are nobody's and no second look at somebody."""
        present = list(matches.values())
        order = [int(i) for i in np.argsort(-look.scores, kind="stable") if int(i) not in set(present)]
        for index in order:
            if look.scores[index] < self.config.new_track_score:
                break
            if self._is_second_look(look, index, present):
                continue
            present.append(index)
            box, score = look.boxes[index], float(look.scores[index])
            self._tracks[self._next_id] = Tracklet.born(self._next_id, frame_index, time_s, box, score)
            self._next_id += 1

    def _is_second_look(self, look: Look, index: int, present: list[int]) -> bool:
        if not present:
            return False
        iou = iou_matrix(look.boxes[[index]], look.boxes[present])[0]
        if (iou >= self.config.new_track_iou).any():
            return True
        near = [present[n] for n in np.flatnonzero(iou >= self.config.min_iou_high)]
        if not near or not look.has_poses:
            return False
        oks = oks_matrix(look.poses([index]), look.poses(near), self._sigmas)
        return bool((np.nan_to_num(oks) >= self.config.duplicate_oks).any())

    def _settle_duplicates(self) -> None:
        """Merge tracks that have coincided for several looks; send back tracks that only borrowed somebody's pose."""
        alike: dict[tuple[int, int], int] = {}
        tracks = [self._tracks[i] for i in sorted(self._tracks)]
        if len(tracks) < 2:
            self._alike = alike
            return
        boxes = np.stack([track.state.box for track in tracks])
        near = np.triu(iou_matrix(boxes, boxes) >= _MIN_COINCIDENCE_IOU, k=1)
        for old, young in ((tracks[a], tracks[b]) for a, b in np.argwhere(near)):
            old_id, young_id = old.track_id, young.track_id
            if old_id not in self._tracks or young_id not in self._tracks or not self._coincide(old, young):
                continue
            # Whoever is not detected while the other, known since before, is: has slipped onto the other's body.
            stray = _stray(old, young)
            if stray is not None:
                stray.retract()
                continue
            alike[old_id, young_id] = self._alike.get((old_id, young_id), 0) + 1
            if alike[old_id, young_id] >= self.config.duplicate_updates:
                self._merge(old, young)
        self._alike = {pair: count for pair, count in alike.items() if all(i in self._tracks for i in pair)}

    def _retract_borrowers(self) -> None:
        """Send back tracks that no detection backs and whose pose is put together from the bodies of several who are detected."""
        found = [track for track in self._tracks.values() if track.misses == 0]
        for lost in self._tracks.values():
            if not lost.misses or lost.is_doubted or lost.pose is None:
                continue
            time_s = lost.pose.time_s
            others = [
                (pose, track)
                for track in found
                if track.first_frame <= lost.detected_frame
                and (pose := track.predicted_pose(time_s)) is not None
                and abs(time_s - track.detected_time_s) <= _SAME_MOMENT_S
            ]
            if len(others) < 2:
                continue  # one alone is a duplicate, which is settled with more patience
            borrowed = borrowed_similarity(_poses_of([(lost.pose, lost)]), _poses_of(others), self._sigmas)
            if borrowed >= self.config.duplicate_oks:
                lost.retract()

    def _merge(self, old: Tracklet, young: Tracklet) -> None:
        if old.misses > young.misses:
            old.take_over(young)
        if young.is_confirmed:
            old.is_confirmed = True
            self._confirmed.add(old.track_id)
        self._merged[young.track_id] = old.track_id
        del self._tracks[young.track_id]

    def _coincide(self, a: Tracklet, b: Tracklet) -> bool:
        """By poses of the same frame where both have one, else by boxes of the same time."""
        if a.is_doubted or b.is_doubted:
            return False
        if a.pose is not None and b.pose is not None and a.pose.frame_index == b.pose.frame_index:
            oks = float(oks_matrix(_poses_of([(a.pose, a)]), _poses_of([(b.pose, b)]), self._sigmas)[0, 0])
            if np.isfinite(oks):
                return oks >= self.config.duplicate_oks and not self._are_seen_apart(a, b)
        now = max(a.state.time_s, b.state.time_s)
        boxes_a, boxes_b = (predict_motion(track.state, now).box[None] for track in (a, b))
        return float(iou_matrix(boxes_a, boxes_b)[0, 0]) >= self.config.duplicate_iou

    def _are_seen_apart(self, a: Tracklet, b: Tracklet) -> bool:
        """Whether the last look had a box for each, neither within the other: then one pose in both is the pose's fault."""
        box_a, box_b = a.detected_box, b.detected_box
        if a.misses or b.misses or box_a is None or box_b is None:
            return False
        shared = np.maximum(np.minimum(box_a[2:], box_b[2:]) - np.maximum(box_a[:2], box_b[:2]), 0.0).prod()
        smaller = min((box[2:] - box[:2]).prod() for box in (box_a, box_b))
        return bool(shared < self.config.duplicate_covered * smaller)

    def _shown(self, track: Tracklet, frame_index: int, time_s: float) -> TrackedBox:
        is_detected = track.detected_frame == frame_index
        box = track.detected_box if is_detected else predict_motion(track.state, time_s).box
        return TrackedBox(track.track_id, np.asarray(box, np.float32), track.score, is_detected, track.is_confirmed)


def _poses_of(poses: list[tuple[TrackPose, Tracklet]]) -> Poses:
    """Poses of one frame and the tracks that they belong to."""
    return Poses.of(
        np.stack([pose.keypoints for pose, _ in poses]),
        np.stack([pose.scores for pose, _ in poses]),
        np.stack([track.state.box for _, track in poses]),
    )


def _stray(old: Tracklet, young: Tracklet) -> Tracklet | None:
    """Of two tracks on one body, the one that is not detected while the other is, if both were known as two people before."""
    for lost, found in ((old, young), (young, old)):
        if lost.misses > 0 and found.misses == 0 and found.first_frame <= lost.detected_frame:
            return lost
    return None
