"""Poses of labelled people in a video: estimated in windows along each labelled track, in the labelled boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from posecli.errors import FormatError, VideoError
from posecli.evaluation.judgement import labelled_people
from posecli.evaluation.predictions import PredictedPeople
from posecli.evaluation.video_labels import NO_TRACK, VideoLabels
from posecli.pose.config import PoseConfig
from posecli.pose.windows import WindowMerger, WindowMode, WindowPlan
from posecli.records import FloatArray, ImageArray, IntArray
from posecli.video.source import open_source

VideoMode = Literal["clip", "key", "still"]


class WindowEstimator(Protocol):
    """What is judged here; `posecli.pose.estimator.PoseEstimator` is one."""

    @property
    def config(self) -> PoseConfig:
        """How many frames a window has, and how many keypoints there are."""
        ...

    def estimate_windows(
        self, windows: Sequence[Sequence[ImageArray]], boxes: Sequence[FloatArray], *, mode: WindowMode = "clip"
    ) -> tuple[FloatArray, FloatArray]:
        """One person per window: (B, T, K, 2) px and (B, T, K) scores."""
        ...

    def estimate_images(
        self, images: Sequence[ImageArray], boxes: Sequence[FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """One person per picture: (N, K, 2) px and (N, K) scores."""
        ...


def estimate_video(
    estimator: WindowEstimator,
    labels: VideoLabels,
    video: Path,
    *,
    mode: VideoMode = "clip",
    hop: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PredictedPeople:
    """Estimate the labelled people of a video in their labelled boxes.

    Args:
        estimator: The estimator.
        labels: Who is where; between labelled frames boxes move on straight lines.
        video: The file, or a folder of images.
        mode: ``clip`` and ``key``: see `posecli.pose.windows`. ``still``: every frame by itself, as if nothing moved.
        hop: Frames between two windows; ``None``: as many as a window has (``clip``), 1 (``key``).
        progress: Called with (frames done, frames in all).

    Returns:
        One row for each labelled person, in the order of `posecli.evaluation.judgement.labelled_people`.

    Raises:
        FormatError: No keypoints are labelled, people have no track, or the frames are of another size.
        VideoError: The video cannot be read or is too short.
    """
    rows = labelled_people(labels.truth)
    if mode != "still" and (labels.track_ids[rows] == NO_TRACK).any():
        raise FormatError(
            f"{labels.truth.path}: people without track_id cannot be followed over a window",
            hint="give every person a track_id, or judge every frame by itself: --window-mode still",
        )
    num_frames = estimator.config.num_frames
    frames = _checked_frames(video, labels, 0 if mode == "still" else num_frames - 1, progress)
    if mode == "still":
        return _estimate_stills(estimator, labels, rows, frames)
    plan = WindowPlan(num_frames, hop or (1 if mode == "key" else num_frames), mode)
    tracks = _tracks(labels, rows)
    mergers = {track.track_id: WindowMerger(estimator.config.num_keypoints) for track in tracks}
    for window, images in _windows(frames, plan, int(labels.frame_indices.max())):
        inside = [track for track in tracks if track.is_labelled(window, plan.merge_weights())]
        boxes = [track.boxes_at(window) for track in inside]
        points, scores = estimator.estimate_windows([images] * len(inside), boxes, mode=mode)
        for person, track in enumerate(inside):
            mergers[track.track_id].add(window.tolist(), points[person], scores[person], plan.merge_weights())
    return _collect(labels, rows, mergers)


@dataclass(frozen=True, slots=True)
class _Track:
    """A labelled person: ``frames`` (T,) ascending, ``boxes`` (T, 4) xyxy px."""

    track_id: int
    frames: IntArray
    boxes: FloatArray

    def is_labelled(self, window: IntArray, weights: FloatArray) -> bool:
        """Whether a window has something to say about a labelled frame."""
        return bool(np.isin(window[weights > 0], self.frames).any())

    def boxes_at(self, window: IntArray) -> FloatArray:
        """(T, 4) at the frames of a window; NaN before the first and after the last labelled frame."""
        sides = [np.interp(window, self.frames, self.boxes[:, side], left=np.nan, right=np.nan) for side in range(4)]
        return np.stack(sides, axis=1).astype(np.float32)


def _tracks(labels: VideoLabels, rows: IntArray) -> list[_Track]:
    frames = _frames_of(labels, rows)
    tracks = []
    for track_id in np.unique(labels.track_ids[rows]).tolist():
        members = np.flatnonzero(labels.track_ids[rows] == track_id)
        members = members[np.argsort(frames[members], kind="stable")]
        tracks.append(_Track(track_id, frames[members], labels.truth.boxes[rows[members]]))
    return tracks


def _frames_of(labels: VideoLabels, rows: IntArray) -> IntArray:
    frame_of = {image_id: frame for frame, image_id in labels.image_ids.items()}
    return np.array([frame_of[image_id] for image_id in labels.truth.image_ids[rows].tolist()], np.int64)


def _checked_frames(
    video: Path, labels: VideoLabels, num_after: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, ImageArray]]:
    """The frames up to the last labelled one and some after it, if there are."""
    last = int(labels.frame_indices.max())
    sizes = {(image.width_px, image.height_px) for image in labels.truth.images}
    end = -1
    with open_source(video) as source:
        if sizes != {(source.info.width_px, source.info.height_px)}:
            labelled = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
            found = f"{source.info.width_px}x{source.info.height_px}"
            raise FormatError(f"{labels.truth.path}: labels pictures of {labelled} px, {video} is {found}")
        for frame in source.frames():
            end = frame.index
            yield frame.index, frame.image
            if progress is not None:
                progress(min(end, last) + 1, last + 1)
            if end >= last + num_after:
                break
    if end < last:
        raise VideoError(f"{video}: ends after frame {end}, frame {last} is labelled")


def _windows(
    frames: Iterator[tuple[int, ImageArray]], plan: WindowPlan, last: int
) -> Iterator[tuple[IntArray, list[ImageArray]]]:
    """Frame indices (T,) and pictures of every window up to frame ``last``; beyond the ends of the video the nearest one stands in."""
    held: dict[int, ImageArray] = {}
    window, end = 0, -1
    for end, image in frames:
        held[end] = image
        while window * plan.hop <= last and plan.frames(window)[-1] <= end:
            yield _pictures(plan.frames(window), held, end)
            window += 1
        first_needed = plan.frames(window)[0]
        held = {index: kept for index, kept in held.items() if index >= first_needed}
    while window * plan.hop <= last:
        yield _pictures(plan.frames(window), held, end)
        window += 1


def _pictures(wanted: IntArray, held: dict[int, ImageArray], end: int) -> tuple[IntArray, list[ImageArray]]:
    """A frame that stands in for another gets a number that nobody asks for: it says nothing new."""
    existing = np.clip(wanted, 0, end)
    return np.where(wanted == existing, wanted, np.int64(-1)), [held[int(index)] for index in existing]


def _collect(labels: VideoLabels, rows: IntArray, mergers: dict[int, WindowMerger]) -> PredictedPeople:
    answers = {
        (track_id, frame): (points, scores)
        for track_id, merger in mergers.items()
        for frame, points, scores in merger.pop_until(int(labels.frame_indices.max()) + 1)
    }
    keys = zip(labels.track_ids[rows].tolist(), _frames_of(labels, rows).tolist(), strict=True)
    found = [answers[key] for key in keys]
    return _given(labels, rows, np.stack([points for points, _ in found]), np.stack([scores for _, scores in found]))


def _estimate_stills(
    estimator: WindowEstimator, labels: VideoLabels, rows: IntArray, frames: Iterator[tuple[int, ImageArray]]
) -> PredictedPeople:
    shape = (len(rows), estimator.config.num_keypoints)
    keypoints, scores = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
    at = _frames_of(labels, rows)
    for index, image in frames:
        members = np.flatnonzero(at == index)
        if len(members):
            boxes = list(labels.truth.boxes[rows[members]])
            keypoints[members], scores[members] = estimator.estimate_images([image] * len(members), boxes)
    return _given(labels, rows, keypoints, scores)


def _given(labels: VideoLabels, rows: IntArray, keypoints: FloatArray, scores: FloatArray) -> PredictedPeople:
    return PredictedPeople(
        image_ids=labels.truth.image_ids[rows],
        keypoints=keypoints,
        point_scores=scores,
        boxes=labels.truth.boxes[rows],
        box_scores=np.ones(len(rows), np.float32),
        track_ids=labels.track_ids[rows],
    )
