"""Pass 1: decode once, find people, follow them, estimate their poses window by window, and write all of it to the journal.

The stages overlap: helpers decode and look for people a few windows ahead (`posecli.pipeline.scout`) and estimate poses side by side;
following people and the journal stay with the caller, in order. Only the frames of a few windows are held. Everything that decides the
next chunk (tracker, unfinished frames) goes into the journal from time to time, so that a resumed run continues exactly as the
interrupted one would have.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posecli.crew import Crew
from posecli.people.appearance import sample_colours
from posecli.people.detector import Detector
from posecli.people.tracker import TrackedBox, Tracker
from posecli.pipeline.journal import Journal
from posecli.pipeline.route import Route
from posecli.pipeline.scout import Scout, nearest_frame
from posecli.pose.estimator import PoseEstimator
from posecli.pose.windows import WindowMerger, WindowPlan
from posecli.records import Detections, FloatArray, Frame
from posecli.stopwatch import Stopwatch

STAGES = ("decode", "detect", "track", "crop", "pose")

_CHUNKS_BETWEEN_STATES = 12
_COORDINATE_DECIMALS = 3
_SCORE_DECIMALS = 5
_COLOUR_DECIMALS = 1


@dataclass
class StageTimes:
    """How pass 1 gets on.

    Attributes:
        stopwatch: Seconds that each of `STAGES` kept a thread busy; ``track`` is the caller's: following people, waiting, the journal.
            Stages run side by side: together they may take longer than the pass.
    """

    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    num_frames: int = 0
    num_detected_frames: int = 0
    num_person_frames: int = 0

    def seconds(self) -> dict[str, float]:
        """Busy seconds by stage."""
        return {stage: self.stopwatch.wall_s.get(stage, 0.0) for stage in STAGES}

    def speeds(self) -> dict[str, float]:
        """Work a busy second: frames decoded, frames searched, person-frames estimated."""
        busy_s = self.seconds()
        pairs = (
            ("decode", self.num_frames, busy_s["decode"]),
            ("detect", self.num_detected_frames, busy_s["detect"]),
            ("pose", self.num_person_frames, busy_s["crop"] + busy_s["pose"]),
        )
        return {name: count / seconds for name, count, seconds in pairs if seconds > 0}


class FrameBuffer:
    """The frames around the current window; indices beyond the ends of the video give the nearest existing frame."""

    def __init__(self) -> None:
        self._held: dict[int, Frame] = {}
        self._last: int | None = None

    def add(self, frames: Iterable[Frame]) -> None:
        """Hold the next frames of the video."""
        for frame in frames:
            self._held[frame.index] = frame
            self._last = frame.index

    def drop(self, before: int) -> None:
        """Forget frames before ``before``, but always keep the last one."""
        for index in [i for i in self._held if i < before and i != self._last]:
            del self._held[index]

    def get(self, index: int) -> Frame:
        """The frame, or the nearest one held."""
        return self._held[index] if index in self._held else nearest_frame(self._held.values(), index)

    def span(self, indices: range) -> list[Frame]:
        """Those of the frames that exist."""
        return [self._held[i] for i in indices if i in self._held]


@dataclass
class FirstPass:
    """The stages of pass 1 and their state.

    Attributes:
        first_frame: Index of the first frame to annotate.
        detect_every_chunks: The detector looks at every so manieth window.
        crew: Who works: helpers decode, look for people and estimate, the caller follows people and writes the journal, in order. What
            comes out is the same whatever their number.
        times: ``times.stopwatch`` should be the estimator's too.
        stop_chunk: Where to stop, a place to go on from; ``None``: where the video ends.
    """

    detector: Detector
    tracker: Tracker
    estimator: PoseEstimator
    plan: WindowPlan
    first_frame: int
    detect_every_chunks: int
    crew: Crew = field(default_factory=lambda: Crew(1))
    times: StageTimes = field(default_factory=StageTimes)
    mergers: dict[int, WindowMerger] = field(default_factory=dict)
    stop_chunk: int | None = None

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
            frames: From the first frame that window ``start_chunk`` needs, in order. Read by other threads too, until this returns.
            journal: Gets a record per chunk.
            start_chunk: 0, or where a resumed run goes on.
            progress: Called after each chunk with the number of frames done and the times so far.
        """
        buffer, route, stopwatch = FrameBuffer(), self.route, self.times.stopwatch
        with Scout(frames, self.detector, route, self.crew, first_chunk=start_chunk, stopwatch=stopwatch) as scout:
            for chunk in itertools.count(start_chunk):
                if chunk == self.stop_chunk:
                    return
                step = scout.step(chunk)
                self.times.num_frames += len(step.frames)
                buffer.add(step.frames)
                own = buffer.span(route.own(chunk))
                if step.key is None or not own:
                    return
                detections = scout.look(chunk, step)
                with stopwatch.time("track"):
                    tracked = self._follow(step.key, detections)
                    self._estimate([buffer.get(int(i)) for i in route.window(chunk)], tracked)
                    self._write(journal, buffer, chunk, step.key, tracked)
                buffer.drop(route.first_needed(chunk + 1))
                progress(own[-1].index + 1 - self.first_frame, self.times)

    @property
    def route(self) -> Route:
        """Which frames each window needs."""
        return Route(self.plan, self.first_frame, self.detect_every_chunks)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Become the pass that wrote ``state``."""
        self.first_frame = state["first_frame"]
        self.tracker.load_state_dict(state["tracker"])
        self.mergers = {
            int(track_id): WindowMerger.from_json(self.estimator.config.num_keypoints, content)
            for track_id, content in state["mergers"].items()
        }

    def _state(self, buffer: FrameBuffer, needed: int) -> dict[str, Any]:
        ahead = buffer.span(range(needed, needed + 1))
        return {
            "first_frame": self.first_frame,
            "needed_time_s": ahead[0].time_s if ahead else None,
            "tracker": self.tracker.state_dict(),
            "mergers": {str(track_id): merger.to_json() for track_id, merger in self.mergers.items() if merger},
        }

    def _write(self, journal: Journal, buffer: FrameBuffer, chunk: int, key: Frame, tracked: list[TrackedBox]) -> None:
        """What the chunk brought, into the journal; at times with the state to go on from."""
        route = self.route
        own, end = buffer.span(route.own(chunk)), route.own(chunk).stop
        is_last = not buffer.span(range(end, end + 1))
        stop = own[-1].index + 1
        poses, colours = self._final_poses(buffer, stop if is_last else stop - self.plan.num_before)
        content = {
            "frames": [[f.index, f.pts, f.time_s, f.status == "corrupt"] for f in own],
            "boxes": [[t.track_id, key.index, *_rounded_box(t)] for t in tracked],
            "poses": poses,
            "colours": colours,
        }
        is_due = chunk % _CHUNKS_BETWEEN_STATES == _CHUNKS_BETWEEN_STATES - 1
        has_state = is_last or is_due or chunk + 1 == self.stop_chunk
        state = self._state(buffer, route.first_needed(chunk + 1)) if has_state else None
        journal.write_chunk(chunk, content, state=state)

    def _follow(self, key: Frame, detections: Detections | None) -> list[TrackedBox]:
        """Whom the tracker believes to be there, after a look at the frame when one was due."""
        if detections is None:
            return self.tracker.predict(key.index, key.time_s)
        self.times.num_detected_frames += 1

        def estimate_poses(boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
            return self.estimator.estimate_images([key.image] * len(boxes), list(boxes))

        return self.tracker.update(key.index, key.time_s, detections, estimate_poses=estimate_poses)

    def _estimate(self, frames: list[Frame], tracked: list[TrackedBox]) -> None:
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
        self.times.num_person_frames += int((weights > 0).sum()) * len(tracked)

    def _final_poses(self, buffer: FrameBuffer, end: int) -> tuple[list[list[Any]], list[list[Any]]]:
        """Poses of frames before ``end``: told to the tracker and returned as [track id, frame, points..., scores...].

        Also, where the detector looked, what the people wear: [track id, frame, colours...].
        """
        rows: list[list[Any]] = []
        colours: list[list[Any]] = []
        for track_id, merger in self.mergers.items():
            for index, points, scores in merger.pop_until(end):
                frame = buffer.get(index)
                kept_points = np.round(points.astype(np.float64), _COORDINATE_DECIMALS)
                kept_scores = np.round(scores.astype(np.float64), _SCORE_DECIMALS)
                self.tracker.observe_pose(track_id, index, frame.time_s, kept_points, kept_scores)
                rows.append([track_id, index, kept_points.ravel().tolist(), kept_scores.tolist()])
                if self.route.is_look(index):
                    worn = sample_colours(frame.image, kept_points, kept_scores).astype(np.float64)
                    colours.append([track_id, index, np.round(worn, _COLOUR_DECIMALS).tolist()])
        self.mergers = {track_id: merger for track_id, merger in self.mergers.items() if merger}
        return rows, colours


def _rounded_box(tracked: TrackedBox) -> list[Any]:
    box = np.round(np.asarray(tracked.box, np.float64), _COORDINATE_DECIMALS).tolist()
    return [*box, round(float(tracked.score), _SCORE_DECIMALS), tracked.is_detected]
