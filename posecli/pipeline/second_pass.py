"""Pass 2: from the journal to finished tracks, without pixels: boxes between looks, mended and numbered ids, smooth keypoints.

Legend: T frames of a track, K keypoints, F frames of the video.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posecli.people.appearance import NUM_COLOURS
from posecli.people.sightings import ColourTable
from posecli.people.tracker import TrackLedger
from posecli.people.tracks import stitch_tracks
from posecli.pipeline.settings import AnnotateSettings, Persons
from posecli.pose.crossings import mend_crossings
from posecli.pose.sides import settle_sides
from posecli.pose.smoothing import jitter, smooth_sequence
from posecli.records import FloatArray, FrameTable, IntArray, PoseSequence
from posecli.skeletons import POSECLI19

_BOX_COLUMNS = 7


@dataclass
class _RawTrack:
    """One id of the tracker as the journal tells it; flat arrays, because a track may have a million frames."""

    frames: array[int] = field(default_factory=lambda: array("q"))
    points: array[float] = field(default_factory=lambda: array("f"))
    scores: array[float] = field(default_factory=lambda: array("f"))
    looks: array[float] = field(default_factory=lambda: array("d"))
    coloured_frames: array[int] = field(default_factory=lambda: array("q"))
    colours: array[float] = field(default_factory=lambda: array("f"))

    def colour_table(self) -> ColourTable:
        """What the person wears, as arrays."""
        values = np.array(self.colours, np.float32).reshape(-1, NUM_COLOURS)
        return ColourTable(np.array(self.coloured_frames, np.int64), values)


@dataclass(frozen=True)
class Collected:
    """Pass 1's results: all frames, and one sequence per id of the tracker, boxes interpolated between looks.

    ``looked_at``: the frames of those looks, as far as anybody was there. ``colours``: by id of the tracker.
    """

    frames: FrameTable
    first_frame: int
    poses: tuple[PoseSequence, ...]
    looked_at: IntArray
    colours: Mapping[int, ColourTable]


def collect(chunks: Iterable[Mapping[str, Any]], *, num_keypoints: int) -> Collected:
    """Read the journal's chunks.

    Args:
        chunks: `Journal.chunks`.
        num_keypoints: K.

    Returns:
        Everything in it, as arrays.
    """
    pts, times, corrupt = array("q"), array("d"), array("b")
    first_frame = 0
    tracks: dict[int, _RawTrack] = {}
    for chunk in chunks:
        if not pts and chunk["frames"]:
            first_frame = chunk["frames"][0][0]
        for _, frame_pts, time_s, is_corrupt in chunk["frames"]:
            pts.append(frame_pts)
            times.append(time_s)
            corrupt.append(is_corrupt)
        for track_id, *look in chunk["boxes"]:
            tracks.setdefault(track_id, _RawTrack()).looks.extend(look)
        for track_id, frame, points, scores in chunk["poses"]:
            track = tracks.setdefault(track_id, _RawTrack())
            track.frames.append(frame)
            track.points.extend(points)
            track.scores.extend(scores)
        for track_id, frame, colours in chunk["colours"]:
            track = tracks.setdefault(track_id, _RawTrack())
            track.coloured_frames.append(frame)
            track.colours.extend(np.nan if value is None else value for value in colours)
    frames = FrameTable(np.array(pts, np.int64), np.array(times, np.float64), np.array(corrupt, np.bool_))
    poses = tuple(_sequence(i, track, num_keypoints) for i, track in sorted(tracks.items()) if track.frames)
    looked_at = np.unique(np.concatenate([np.zeros(0), *(track.looks[::_BOX_COLUMNS] for track in tracks.values())]))
    colours_by_id = {i: track.colour_table() for i, track in tracks.items()}
    return Collected(frames, first_frame, poses, looked_at.astype(np.int64), colours_by_id)


def finish_poses(
    collected: Collected, ledger: TrackLedger, settings: AnnotateSettings
) -> tuple[tuple[PoseSequence, ...], dict[str, Any]]:
    """Mend, choose and smooth the tracks.

    Args:
        collected: Pass 1's results.
        ledger: Which of the tracker's ids count.
        settings: How.

    Returns:
        The finished tracks by id, and facts for the run record: suspect switches, points set back after crossings, places where
        left and right were exchanged, jitter before and after.
    """
    time_s, first = collected.frames.time_s, collected.first_frame
    stitched = stitch_tracks(
        collected.poses,
        time_s,
        settings.stitch,
        first_frame_index=first,
        confirmed_ids=ledger.confirmed_ids,
        merged=ledger.merged,
        looked_at=collected.looked_at,
        colours=collected.colours,
    )
    # from here on the flag is about keypoints: rows that no window estimated
    poses = [
        replace(p, interpolated=np.asarray(np.isnan(p.raw_keypoints).all(axis=(1, 2)), np.bool_))
        for p in stitched.poses
    ]
    before = [_jitter(pose, time_s, first) for pose in choose_persons(poses, settings.persons)]
    num_exchanged = num_set_back = 0
    if settings.smooth:  # whoever is not wanted may still be in the way of those who are
        poses, num_set_back = mend_crossings(poses, time_s, settings.crossings, first_frame_index=first)
    poses = choose_persons(poses, settings.persons)
    if settings.smooth:
        settled = [settle_sides(pose, time_s, settings.sides, first_frame_index=first) for pose in poses]
        num_exchanged = sum(count for _, count in settled)
        poses = [pose for pose, _ in settled]
        poses = [smooth_sequence(pose, time_s, settings.smoothing, first_frame_index=first) for pose in poses]
    after = [_jitter(pose, time_s, first) for pose in poses]
    facts = {
        "suspect_switches": [asdict(suspect) for suspect in stitched.suspects],
        "points_set_back": num_set_back,
        "sides_exchanged": num_exchanged,
        "jitter": {"raw": _mean(before), "smoothed": _mean(after), "unit": "box sizes per second squared"},
    }
    return tuple(poses), facts


def choose_persons(poses: Sequence[PoseSequence], persons: Persons) -> list[PoseSequence]:
    """Everybody, or the one person who is largest on average or seen longest; ids stay."""
    if persons == "all" or not poses:
        return list(poses)
    if persons == "longest":
        return [max(poses, key=len)]

    def mean_area(pose: PoseSequence) -> float:
        sides = pose.boxes[:, 2:] - pose.boxes[:, :2]
        return float((sides[:, 0] * sides[:, 1]).mean())

    return [max(poses, key=mean_area)]


def _sequence(track_id: int, track: _RawTrack, num_keypoints: int) -> PoseSequence:
    frames = np.array(track.frames, np.int64)
    points = np.array(track.points, np.float32).reshape(-1, num_keypoints, 2)
    boxes, box_scores, is_backed = _boxes_between(np.array(track.looks).reshape(-1, _BOX_COLUMNS), frames)
    return PoseSequence(
        track_id=track_id,
        skeleton=POSECLI19.name,
        frame_indices=frames,
        keypoints=points,
        raw_keypoints=points.copy(),
        scores=np.array(track.scores, np.float32).reshape(-1, num_keypoints),
        boxes=boxes,
        box_scores=box_scores,
        interpolated=~is_backed,
    )


def _boxes_between(
    looks: NDArray[np.float64], frames: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Boxes for all frames of a track from those at the frames looked at.

    Args:
        looks: (n, 7): frame, left, top, right, bottom, score, whether a detection backs it.
        frames: (T,).

    Returns:
        (T, 4) boxes on straight lines between looks, (T,) scores and (T,) backing of the nearest look.
    """
    at = looks[:, 0]
    boxes = np.stack([np.interp(frames, at, looks[:, 1 + side]) for side in range(4)], axis=1)
    nearest = _nearest(at, frames)
    return boxes.astype(np.float32), looks[nearest, 5].astype(np.float32), looks[nearest, 6] > 0


def _nearest(at: NDArray[np.float64], frames: NDArray[np.int64]) -> NDArray[np.int64]:
    right = np.clip(np.searchsorted(at, frames), 0, len(at) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(frames - at[left]) <= np.abs(at[right] - frames), left, right)


def _jitter(pose: PoseSequence, time_s: NDArray[np.float64], first: int) -> float:
    return jitter(pose.keypoints, time_s[pose.frame_indices - first], pose.boxes)


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
