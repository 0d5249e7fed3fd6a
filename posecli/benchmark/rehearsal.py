"""One pass over a clip that remembers what every stage was given, so that each can be measured alone afterwards.

Legend: T frames of a window, N boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from posecli.people.appearance import sample_colours
from posecli.people.detector import Detector
from posecli.people.tracker import TrackedBox, Tracker
from posecli.pipeline.journal import Journal
from posecli.pose.estimator import PoseEstimator
from posecli.records import Detections, FloatArray, Frame, ImageArray

_CHUNKS_BETWEEN_STATES = 12
_MADE_UP_SCORE = 0.9

Poses = tuple[FloatArray, FloatArray]


@dataclass
class Chunk:
    """The frames of one window and what was found in them.

    Attributes:
        own: The frames it is responsible for, T or, at the end of the clip, fewer.
        window: T frames, the last repeated where the clip had ended.
        key: The frame that the detector looks at.
        detections: What it saw.
        doubtful: For each time the tracker asked for poses in this frame: the boxes (N, 4), and the answer.
        tracked: The people in the window.
        boxes: (T, 4) for each of them.
        poses: Keypoints (N, T, K, 2) and scores (N, T, K).
    """

    own: list[Frame]
    window: list[Frame]
    key: Frame
    detections: Detections
    doubtful: list[tuple[FloatArray, Poses]] = field(default_factory=list)
    tracked: list[TrackedBox] = field(default_factory=list)
    boxes: list[FloatArray] = field(default_factory=list)
    poses: Poses | None = None

    @property
    def images(self) -> list[ImageArray]:
        """The window's T pictures."""
        return [frame.image for frame in self.window]

    def content(self) -> dict[str, Any]:
        """What the journal gets."""
        assert self.poses is not None
        points, scores = (np.round(values.astype(np.float64), 3) for values in self.poses)
        rows = [
            [track.track_id, frame.index, points[n, t].ravel().tolist(), scores[n, t].tolist()]
            for n, track in enumerate(self.tracked)
            for t, frame in enumerate(self.own)
        ]
        boxes = [
            [t.track_id, self.key.index, *np.asarray(t.box, np.float64).tolist(), float(t.score), t.is_detected]
            for t in self.tracked
        ]
        frames = [[f.index, f.pts, f.time_s, False] for f in self.own]
        at_key = next(t for t, frame in enumerate(self.own) if frame is self.key)
        worn = [
            sample_colours(self.key.image, *person) for person in zip(points[:, at_key], scores[:, at_key], strict=True)
        ]
        colours = [[t.track_id, self.key.index, c.tolist()] for t, c in zip(self.tracked, worn, strict=True)]
        return {"frames": frames, "boxes": boxes, "poses": rows, "colours": colours}


@dataclass
class Rehearsal:
    """A clip that has been worked through.

    Attributes:
        frames: All frames.
        chunks: Its windows, in order.
        has_made_up_person: Whether nobody was found, so that a person was put in the middle.
    """

    frames: list[Frame]
    chunks: list[Chunk]
    has_made_up_person: bool

    @classmethod
    def run(cls, frames: list[Frame], detector: Detector, estimator: PoseEstimator) -> Rehearsal:
        """Detect, track and estimate as `annotate` does by default: clip mode, a look a window.

        Args:
            frames: Of one video, in order.
            detector: Looks at the middle frame of each window.
            estimator: Estimates each window once.
        """
        for is_made_up in (False, True):
            chunks = _cut(frames, estimator.config.num_frames)
            for chunk in chunks:
                chunk.detections = _person_in_the_middle(chunk.key) if is_made_up else detector.detect([chunk.key])[0]
            rehearsal = cls(frames, chunks, is_made_up)
            rehearsal._estimate(estimator)
            if rehearsal.num_person_windows:
                break
        return rehearsal

    @property
    def num_person_windows(self) -> int:
        """Windows estimated, one person each."""
        return sum(len(chunk.tracked) for chunk in self.chunks)

    @property
    def num_person_frames(self) -> int:
        """Poses that come out."""
        return sum(len(chunk.tracked) * len(chunk.own) for chunk in self.chunks)

    @property
    def detections(self) -> Mapping[int, Detections]:
        """What was found, by frame index: for a run with the same boxes."""
        return {chunk.key.index: chunk.detections for chunk in self.chunks}

    def busiest(self) -> Chunk:
        """The window with most people."""
        return max(self.chunks, key=lambda chunk: len(chunk.tracked))

    def track(self) -> Tracker:
        """Follow everybody again, with the poses of the first time; the same calls, so the same answers."""
        tracker = Tracker()
        for chunk in self.chunks:
            answers = iter([answer for _, answer in chunk.doubtful])

            def ask(_: FloatArray, answers: Iterator[Poses] = answers) -> Poses:
                return next(answers)

            _follow(tracker, chunk, ask)
            _observe(tracker, chunk)
        return tracker

    def write_journal(self, path: Path) -> Journal:
        """Write what `annotate` would write; the journal stays open."""
        journal = Journal(path, {"benchmark": True})
        state = Tracker().state_dict()
        for index, chunk in enumerate(self.chunks):
            is_due = index % _CHUNKS_BETWEEN_STATES == _CHUNKS_BETWEEN_STATES - 1 or chunk is self.chunks[-1]
            journal.write_chunk(index, chunk.content(), state=state if is_due else None)
        return journal

    def _estimate(self, estimator: PoseEstimator) -> None:
        tracker = Tracker()
        for chunk in self.chunks:

            def ask(boxes: FloatArray, chunk: Chunk = chunk) -> Poses:
                answer = estimator.estimate_images([chunk.key.image] * len(boxes), list(boxes))
                chunk.doubtful.append((boxes, answer))
                return answer

            chunk.tracked, chunk.boxes = _follow(tracker, chunk, ask)
            chunk.poses = estimator.estimate_windows([chunk.images] * len(chunk.tracked), chunk.boxes)
            _observe(tracker, chunk)


def _cut(frames: list[Frame], num_frames: int) -> list[Chunk]:
    chunks = []
    for start in range(0, len(frames), num_frames):
        own = frames[start : start + num_frames]
        window = own + [own[-1]] * (num_frames - len(own))
        key = own[min(num_frames // 2, len(own) - 1)]
        chunks.append(Chunk(own, window, key, Detections.empty(key.index)))
    return chunks


def _follow(
    tracker: Tracker, chunk: Chunk, ask: Callable[[FloatArray], Poses]
) -> tuple[list[TrackedBox], list[FloatArray]]:
    tracked = tracker.update(chunk.key.index, chunk.key.time_s, chunk.detections, estimate_poses=ask)
    times_s = np.array([frame.time_s for frame in chunk.window])
    return tracked, [tracker.boxes_at(track.track_id, times_s) for track in tracked]


def _observe(tracker: Tracker, chunk: Chunk) -> None:
    assert chunk.poses is not None
    points, scores = chunk.poses
    for n, track in enumerate(chunk.tracked):
        for t, frame in enumerate(chunk.own):
            tracker.observe_pose(track.track_id, frame.index, frame.time_s, points[n, t], scores[n, t])


def _person_in_the_middle(frame: Frame) -> Detections:
    height, width = frame.image.shape[:2]
    half_w, half_h = 0.15 * height, 0.35 * height
    box = [[width / 2 - half_w, height / 2 - half_h, width / 2 + half_w, height / 2 + half_h]]
    return Detections(frame.index, np.array(box, np.float32), np.array([_MADE_UP_SCORE], np.float32))
