"""Two people, one place: poses that slip onto somebody else while people cross, mended over time.

A network that is shown one person's box with two people in it sometimes puts points of the one onto the other: in the results both
claim the same place. Seen over time it is plain whose place it is: each of them comes from somewhere and leaves for somewhere. While
a claim lasts, a person's path leads straight from the last place that was undisputed to the first that is so again; who is far from
his path, farther than the other from theirs, is set back onto it. Claims that last long (an embrace), that have no end (a ghost on
top of a person) or are about a single point (a handshake) are left alone.

Legend: T frames of a track, K keypoints, M rows of the table of people who meet, P pairs of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posecli.errors import check_above_zero
from posecli.geometry import box_area, intersection_area
from posecli.pose.crops import ENLARGE
from posecli.records import BoolArray, FloatArray, IntArray, PoseSequence
from posecli.skeletons import Skeleton, get_skeleton

Float64Array = NDArray[np.float64]

_FRAMES_AT_ONCE = 2_000
_MIN_STEP_S = 1e-4
_Points = tuple[IntArray, IntArray]
"""Rows and keypoints, (n,) each."""


@dataclass(frozen=True)
class CrossingsConfig:
    """When a point is set back onto its path.

    ``near_size``: points of two people closer than this share of the box size (root of the area) are one place. ``min_points``: so
    many points in one place make a claim. ``far_size``: a point may leave its path by this share. ``max_claim_s``: claims that last
    longer are left alone. ``score_factor``: what is left of the score of a point that was set back.
    """

    near_size: float = 0.15
    min_points: int = 2
    far_size: float = 0.13
    max_claim_s: float = 1.0
    score_factor: float = 0.5

    def __post_init__(self) -> None:
        check_above_zero(self, what="crossings")


def mend_crossings(
    poses: Sequence[PoseSequence],
    time_s: Float64Array,
    config: CrossingsConfig | None = None,
    *,
    first_frame_index: int = 0,
) -> tuple[list[PoseSequence], int]:
    """Set points that slipped onto somebody else back onto their person's path.

    Args:
        poses: All tracks, of one skeleton. ``raw_keypoints`` stay the network's own.
        time_s: (F,) seconds of all frames of the video: row i is frame ``first_frame_index + i``.
        config: When.
        first_frame_index: The frame of the first row of ``time_s``.

    Returns:
        The tracks in the same order, and how many points were set back.
    """
    config = config or CrossingsConfig()
    if len(poses) < 2:
        return list(poses), 0
    skeleton = get_skeleton(poses[0].skeleton)
    keypoints, scores = [pose.keypoints for pose in poses], [pose.scores for pose in poses]
    num_lost = 0
    for stretch in _stretches(poses, np.asarray(time_s, np.float64), first_frame_index, config.max_claim_s):
        for track, rows, points, places in _slipped(stretch, skeleton, config):
            if keypoints[track] is poses[track].keypoints:
                keypoints[track], scores[track] = keypoints[track].copy(), scores[track].copy()
            keypoints[track][rows, points] = places
            scores[track][rows, points] *= config.score_factor
            num_lost += len(rows)
    mended = [
        pose if k is pose.keypoints else replace(pose, keypoints=k, scores=s)
        for pose, k, s in zip(poses, keypoints, scores, strict=True)
    ]
    return mended, num_lost


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of a track, from ``start`` on: ``frames`` (n,), ``times`` (n,) s, ``keypoints`` (n, K, 2), ``boxes`` (n, 4).

    ``is_judged`` (n,): the others are there for what comes before and after.
    """

    track: int
    start: int
    frames: IntArray
    times: Float64Array
    keypoints: FloatArray
    boxes: FloatArray
    is_judged: BoolArray


def _stretches(
    poses: Sequence[PoseSequence], time_s: Float64Array, first_frame_index: int, margin_s: float
) -> Iterator[list[_Part]]:
    """The tracks in stretches of frames with a margin on both sides: memory does not grow with the video."""
    firsts, lasts = (np.array([pose.frame_indices[end] for pose in poses]) for end in (0, -1))
    for start in range(int(firsts.min()), int(lasts.max()) + 1, _FRAMES_AT_ONCE):
        stop = min(start + _FRAMES_AT_ONCE, int(lasts.max()) + 1)
        at = time_s[[start - first_frame_index, stop - 1 - first_frame_index]]
        low = first_frame_index + int(np.searchsorted(time_s, at[0] - margin_s))
        high = first_frame_index + int(np.searchsorted(time_s, at[1] + margin_s, side="right"))
        parts = []
        for track in np.flatnonzero((firsts < high) & (lasts >= low)).tolist():
            pose = poses[track]
            rows = slice(*np.searchsorted(pose.frame_indices, (low, high)).tolist())
            frames = pose.frame_indices[rows]
            is_judged = np.asarray((frames >= start) & (frames < stop), np.bool_)
            times = time_s[frames - first_frame_index]
            parts.append(_Part(track, rows.start, frames, times, pose.keypoints[rows], pose.boxes[rows], is_judged))
        if len(parts) > 1:
            yield parts


def _slipped(
    parts: Sequence[_Part], skeleton: Skeleton, config: CrossingsConfig
) -> Iterator[tuple[int, IntArray, IntArray, Float64Array]]:
    """Of each track with any: its number, rows (n,) and keypoints (n,) that slipped, and the places (n, 2) they are set back to."""
    table = _Table(parts)
    claims = _Claims(table, skeleton.flip_indices, config)
    paths = np.full(table.points.shape, np.nan)
    for part, at, rows in table.tracks():
        paths[at] = _paths(part, rows, claims.is_claimed[at], config.max_claim_s)
    is_lost = claims.lost(np.linalg.norm(table.points - paths, axis=-1) / table.sizes[:, None])
    for part, at, rows in table.tracks():
        row, point = np.nonzero(is_lost[at] & part.is_judged[rows][:, None])
        if len(row):
            yield part.track, part.start + rows[row], point, paths[at][row, point]


class _Table:
    """The rows of all tracks whose crop meets somebody else's: ``points`` (M, K, 2), ``sizes`` (M,), pairs of them.

    People keep apart most of the time: what is here is little beside the tracks.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts
        boxes = np.concatenate([part.boxes for part in parts])
        frames = np.concatenate([part.frames for part in parts])
        found = list(_meetings(frames, _seen_parts(boxes)))
        met = np.unique(np.concatenate([np.zeros(0, np.int64), *(rows for pair in found for rows in pair)]))
        self.pairs = [(np.searchsorted(met, first), np.searchsorted(met, second)) for first, second in found]
        self._starts = np.cumsum([0, *(len(part.frames) for part in parts)])
        self._ends = np.searchsorted(met, self._starts)
        self._met = met
        self.sizes = np.sqrt(np.maximum(box_area(boxes[met]), 1.0)).astype(np.float64)
        self.points = np.concatenate([part.keypoints[rows] for part, _, rows in self.tracks()]).astype(np.float64)

    def tracks(self) -> Iterator[tuple[_Part, slice, IntArray]]:
        """Of each track: itself, where it is in the table, and which of its rows these are."""
        for i, part in enumerate(self._parts):
            at = slice(int(self._ends[i]), int(self._ends[i + 1]))
            yield part, at, self._met[at] - self._starts[i]


def _seen_parts(boxes: FloatArray) -> FloatArray:
    """(N, 4): squares around the crops that the network is shown: nobody's points slip farther."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    reach = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) * (ENLARGE / 2.0)
    return np.concatenate([centres - reach, centres + reach], axis=1).astype(np.float32)


def _meetings(frames: IntArray, boxes: FloatArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Rows (P,) and (P,) of two people in the same frame whose boxes overlap, each pair once."""
    order = np.argsort(frames, kind="stable")
    ordered = frames[order]
    for distance in range(1, len(ordered)):
        at = np.flatnonzero(ordered[distance:] == ordered[:-distance])
        if not len(at):
            return
        first, second = order[at], order[at + distance]
        meets = intersection_area(boxes[first], boxes[second]) > 0.0
        yield first[meets], second[meets]


class _Claims:
    """Which points lie where another person's do, and whose: ``is_claimed`` (M, K)."""

    def __init__(self, table: _Table, flip_indices: IntArray, config: CrossingsConfig) -> None:
        self._config = config
        self.is_claimed: BoolArray = np.zeros(table.points.shape[:2], np.bool_)
        self._found: list[tuple[_Points, _Points]] = []
        for first, second in table.pairs:
            self._add(table, first, second, flip_indices)

    def _add(self, table: _Table, first: IntArray, second: IntArray, flip_indices: IntArray) -> None:
        limit = self._config.near_size * np.minimum(table.sizes[first], table.sizes[second])[:, None]
        orders = (np.arange(len(flip_indices)), flip_indices)  # a left knee may have slipped onto a right one
        near = [np.linalg.norm(table.points[first] - table.points[second][:, k], axis=-1) < limit for k in orders]
        is_claim = np.logical_or(*near).sum(axis=1) >= self._config.min_points
        for order, is_near in zip(orders, near, strict=True):
            row, point = np.nonzero(is_near & is_claim[:, None])
            one, other = (first[row], point), (second[row], order[point])
            self.is_claimed[one] = self.is_claimed[other] = True
            self._found.append((one, other))

    def lost(self, away: Float64Array) -> BoolArray:
        """(M, K): points ``away`` (M, K; box sizes, NaN without a path) from their path, farther than the other's from theirs."""
        is_lost: BoolArray = np.zeros(away.shape, np.bool_)
        for one, other in self._found:
            for mine, theirs in ((one, other), (other, one)):
                slipped = (away[mine] > self._config.far_size) & (away[theirs] < away[mine])
                is_lost[mine[0][slipped], mine[1][slipped]] = True
        return is_lost


def _paths(part: _Part, rows: IntArray, is_claimed: BoolArray, max_claim_s: float) -> Float64Array:
    """(m, K, 2): straight from the last undisputed place to the next; NaN where there is none, or the claim lasts too long.

    Args:
        part: Of a track.
        rows: (m,) of its rows.
        is_claimed: (m, K) of these.
        max_claim_s: See `CrossingsConfig`.
    """
    keypoints, times = part.keypoints, part.times
    paths = np.full((len(rows), *keypoints.shape[1:]), np.nan)
    for k in np.flatnonzero(is_claimed.any(axis=0)):
        points = keypoints[:, k].astype(np.float64)
        anchors = np.setdiff1d(np.flatnonzero(np.isfinite(points).all(axis=1)), rows[is_claimed[:, k]])
        after = np.searchsorted(anchors, rows)
        wanted = np.flatnonzero(is_claimed[:, k] & (after > 0) & (after < len(anchors)))
        low, high = anchors[after[wanted] - 1], anchors[after[wanted]]
        is_short = times[high] - times[low] <= max_claim_s
        wanted, low, high = wanted[is_short], low[is_short], high[is_short]
        share = ((times[rows[wanted]] - times[low]) / np.maximum(times[high] - times[low], _MIN_STEP_S))[:, None]
        paths[wanted, k] = points[low] * (1.0 - share) + points[high] * share
    return paths
