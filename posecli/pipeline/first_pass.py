"""Pass 1: decode once, find people, follow them, estimate their poses window by window, and write all of it to the journal.

Only the frames that a window needs are held. Everything that decides the next chunk (tracker, unfinished frames) goes into the
journal from time to time, so that a resumed run continues exactly as the interrupted one would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from posecli.people.detector import Detector
from posecli.people.tracker import TrackedBox, Tracker
from posecli.pipeline.journal import Journal
from posecli.pose.estimator import PoseEstimator
from posecli.pose.windows import WindowMerger, WindowPlan
from posecli.records import FloatArray, Frame

_CHUNKS_BETWEEN_STATES = 12
_COORDINATE_DECIMALS = 3
_SCORE_DECIMALS = 5


@dataclass
class StageTimes:
    """Seconds spent in each stage of pass 1."""

    decode: float = 0.0
    detect: float = 0.0
    pose: float = 0.0
    num_frames: int = 0
    num_detected_frames: int = 0
    num_person_frames: int = 0

    def seconds(self) -> dict[str, float]:
        """By stage."""
        return {"decode": self.decode, "detect": self.detect, "pose": self.pose}

    def speeds(self) -> dict[str, float]:
        """Work a second: frames decoded, frames searched, person-frames estimated."""
        pairs = (
            ("decode", self.num_frames, self.decode),
            ("detect", self.num_detected_frames, self.detect),
            ("pose", self.num_person_frames, self.pose),
        )
        return {name: count / seconds for name, count, seconds in pairs if seconds > 0}


class FrameBuffer:
    """The frames around the current window; indices beyond the ends of the video give the nearest existing frame."""

    def __init__(self, frames: Iterator[Frame], times: StageTimes) -> None:
        self._frames, self._times = frames, times
        self._held: dict[int, Frame] = {}
        self._last: int | None = None
        self.is_exhausted = False

    def fill(self, until: int) -> None:
        """Decode until frame ``until`` is held or the video ends."""
        start = perf_counter()
        while not self.is_exhausted and (self._last is None or self._last < until):
            frame = next(self._frames, None)
            if frame is None:
                self.is_exhausted = True
                break
            self._held[frame.index] = frame
            self._last = frame.index
            self._times.num_frames += 1
        self._times.decode += perf_counter() - start

    def drop(self, before: int) -> None:
        """Forget frames before ``before``, but always keep the last one."""
        for index in [i for i in self._held if i < before and i != self._last]:
            del self._held[index]

    def get(self, index: int) -> Frame:
        """The frame, or the nearest one held."""
        if index not in self._held:
            index = min(self._held, key=lambda held: abs(held - index))
        return self._held[index]

    def span(self, start: int, stop: int) -> list[Frame]:
        """Existing frames from ``start`` up to ``stop``."""
        return [self._held[i] for i in range(start, stop) if i in self._held]


@dataclass
class FirstPass:
    """The stages of pass 1 and their state.

    Attributes:
        first_frame: Index of the first frame to annotate.
        detect_every_chunks: The detector looks at every so manieth window.
    """

    detector: Detector
    tracker: Tracker
    estimator: PoseEstimator
    plan: WindowPlan
    first_frame: int
    detect_every_chunks: int
    times: StageTimes = field(default_factory=StageTimes)
    mergers: dict[int, WindowMerger] = field(default_factory=dict)

    def run(
        self,
        frames: Iterator[Frame],
        journal: Journal,
        *,
        start_chunk: int,
        progress: Callable[[int, StageTimes], None],
    ) -> None:
        """Work through the video.

        Args:
            frames: From the first frame that window ``start_chunk`` needs, in order.
            journal: Gets a record per chunk.
            start_chunk: 0, or where a resumed run goes on.
            progress: Called after each chunk with the number of frames done and the times so far.
        """
        buffer = FrameBuffer(frames, self.times)
        chunk = start_chunk
        while True:
            window = self.plan.frames(chunk) + self.first_frame
            start = self.first_frame + chunk * self.plan.hop
            stop = start + self.plan.hop
            buffer.fill(max(int(window[-1]), stop))
            own = buffer.span(start, stop)
            if not own:
                return
            is_last = not buffer.span(stop, stop + 1)
            content = self._chunk(buffer, chunk, window, own, is_last=is_last)
            has_state = is_last or chunk % _CHUNKS_BETWEEN_STATES == _CHUNKS_BETWEEN_STATES - 1
            state = self._state(buffer, self.needed_frame(chunk + 1)) if has_state else None
            journal.write_chunk(chunk, content, state=state)
            buffer.drop(self.needed_frame(chunk + 1))
            progress(own[-1].index + 1 - self.first_frame, self.times)
            chunk += 1

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Become the pass that wrote ``state``."""
        self.first_frame = state["first_frame"]
        self.tracker.load_state_dict(state["tracker"])
        self.mergers = {
            int(track_id): WindowMerger.from_json(self.estimator.config.num_keypoints, content)
            for track_id, content in state["mergers"].items()
        }

    def needed_frame(self, chunk: int) -> int:
        """The first frame that window ``chunk`` needs."""
        return max(self.first_frame, self.first_frame + chunk * self.plan.hop - self.plan.num_before)

    def _state(self, buffer: FrameBuffer, needed: int) -> dict[str, Any]:
        ahead = buffer.span(needed, needed + 1)
        return {
            "first_frame": self.first_frame,
            "needed_time_s": ahead[0].time_s if ahead else None,
            "tracker": self.tracker.state_dict(),
            "mergers": {str(track_id): merger.to_json() for track_id, merger in self.mergers.items() if merger},
        }

    def _chunk(
        self, buffer: FrameBuffer, chunk: int, window: np.ndarray, own: list[Frame], *, is_last: bool
    ) -> dict[str, Any]:
        key = buffer.get(min(self.first_frame + self.plan.centre(chunk), own[-1].index))
        tracked = self._look(key, chunk)
        frames = [buffer.get(int(i)) for i in window]
        self._estimate(frames, tracked)
        stop = own[-1].index + 1
        end = stop if is_last else stop - self.plan.num_before
        poses = self._final_poses(buffer, end)
        return {
            "frames": [[f.index, f.pts, f.time_s, f.status == "corrupt"] for f in own],
            "boxes": [[t.track_id, key.index, *_rounded_box(t)] for t in tracked],
            "poses": poses,
        }

    def _look(self, key: Frame, chunk: int) -> list[TrackedBox]:
        """Whom the tracker believes to be there, after a look at the frame when one is due."""
        if chunk % self.detect_every_chunks:
            return self.tracker.predict(key.index, key.time_s)
        start = perf_counter()
        detections = self.detector.detect([key])[0]
        self.times.detect += perf_counter() - start
        self.times.num_detected_frames += 1

        def estimate_poses(boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
            return self.estimator.estimate_images([key.image] * len(boxes), list(boxes))

        return self.tracker.update(key.index, key.time_s, detections, estimate_poses=estimate_poses)

    def _estimate(self, frames: list[Frame], tracked: list[TrackedBox]) -> None:
        start = perf_counter()
        times_s = np.array([f.time_s for f in frames])
        boxes = [self.tracker.boxes_at(t.track_id, times_s) for t in tracked]
        images = [f.image for f in frames]
        points, scores = self.estimator.estimate_windows([images] * len(tracked), boxes, mode=self.plan.mode)
        weights = self.plan.merge_weights()
        # frames repeated beyond the ends of the video, and corrupt ones, say nothing
        seen: set[int] = set()
        for position, frame in enumerate(frames):
            if frame.status == "corrupt":
                weights[position] = 0.0
        for position in sorted(range(len(frames)), key=lambda p: -weights[p]):
            if frames[position].index in seen:
                weights[position] = 0.0
            seen.add(frames[position].index)
        indices = [f.index for f in frames]
        for person, track in enumerate(tracked):
            merger = self.mergers.setdefault(track.track_id, WindowMerger(self.estimator.config.num_keypoints))
            merger.add(indices, points[person], scores[person], weights)
        self.times.pose += perf_counter() - start
        self.times.num_person_frames += int((weights > 0).sum()) * len(tracked)

    def _final_poses(self, buffer: FrameBuffer, end: int) -> list[list[Any]]:
        """Poses of frames before ``end``: told to the tracker and returned as [track id, frame, points..., scores...]."""
        rows: list[list[Any]] = []
        for track_id, merger in self.mergers.items():
            for frame, points, scores in merger.pop_until(end):
                kept_points = np.round(points.astype(np.float64), _COORDINATE_DECIMALS)
                kept_scores = np.round(scores.astype(np.float64), _SCORE_DECIMALS)
                self.tracker.observe_pose(track_id, frame, buffer.get(frame).time_s, kept_points, kept_scores)
                rows.append([track_id, frame, kept_points.ravel().tolist(), kept_scores.tolist()])
        self.mergers = {track_id: merger for track_id, merger in self.mergers.items() if merger}
        return rows


def _rounded_box(tracked: TrackedBox) -> list[Any]:
    box = np.round(np.asarray(tracked.box, np.float64), _COORDINATE_DECIMALS).tolist()
    return [*box, round(float(tracked.score), _SCORE_DECIMALS), tracked.is_detected]
