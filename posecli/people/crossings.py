"""Who came out of a meeting as whom.

While two people overlap, the tracker sees one of them, or a box around both; where each of them goes afterwards is a guess of the
moment. Here both sides of every meeting are known: two people went in, two came out, and motion, size and colours say which is which.
Only sightings on which the two are apart count; what they looked like on top of each other misleads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posecli.geometry import box_area
from posecli.people.clothes import NEAR_S, clothes_cost, look_costs, usual_clothes
from posecli.people.motion import (
    MotionState,
    motion_misfit,
    predict_motion,
    reverse_motion,
    start_motion,
    update_motion,
)
from posecli.people.sightings import MAX_COVERED, Sightings, joined, shared_area
from posecli.people.similarity import student_cost
from posecli.records import BoolArray, IntArray

Float64Array = NDArray[np.float64]

# Boxes that share this (IoU) are a meeting.
_MEETING_IOU = 0.3
# Degrees of freedom of Student's t: people do turn round.
_MOTION_FREEDOM = 1.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """From ``frame_index`` on, tracks ``first`` and ``second`` (numbers of a list) are each other; ``gain``: twice the log odds."""

    first: int
    second: int
    frame_index: int
    gain: float


@dataclass(frozen=True, slots=True)
class _Meeting:
    """Tracks ``first`` and ``second`` are apart up to frame ``before`` and again from frame ``after`` on."""

    after: int
    before: int
    first: int
    second: int


def find_exchanges(tracks: Sequence[Sightings], *, min_gain: float) -> list[Exchange]:
    """Where tracks have changed people.

    Args:
        tracks: Of one video, knowing of each other (`posecli.people.sightings.with_clearness`).
        min_gain: How much better the exchanged tracks must fit, in units of twice the log odds.

    Returns:
        In order of time; a later one is meant after the earlier ones have been made.
    """
    # Who is on each track now: the pieces (track, first frame) of that person's past.
    paths: list[list[tuple[int, int]]] = [[(n, -1)] for n in range(len(tracks))]
    found = []
    for meeting in sorted(_all_meetings(tracks), key=lambda m: (m.after, m.before, m.first, m.second)):
        a, b = meeting.first, meeting.second
        past_a, past_b = (_past(tracks, paths[n], meeting.before) for n in (a, b))
        past = (_apart(past_a, past_b), _apart(past_b, past_a))
        future = (_future(tracks[a], tracks[b], meeting.after), _future(tracks[b], tracks[a], meeting.after))
        costs = _motion_costs(past, future) + _colour_costs(past, future)
        gain = float(costs[0, 0] + costs[1, 1] - costs[0, 1] - costs[1, 0])
        if gain < min_gain:
            continue
        frame = _exchange_frame(tracks[a], tracks[b], past, meeting)
        found.append(Exchange(a, b, frame, gain))
        paths[a], paths[b] = [*paths[b], (a, frame)], [*paths[a], (b, frame)]
    return found


def _all_meetings(tracks: Sequence[Sightings]) -> list[_Meeting]:
    order = sorted((n for n in range(len(tracks)) if len(tracks[n])), key=lambda n: (int(tracks[n].frames[0]), n))
    found: list[_Meeting] = []
    active: list[int] = []
    for n in order:
        active = [m for m in active if tracks[m].frames[-1] >= tracks[n].frames[0]]
        for m in active:
            found.extend(_meetings(tracks, min(m, n), max(m, n)))
        active.append(n)
    return found


def _meetings(tracks: Sequence[Sightings], first: int, second: int) -> list[_Meeting]:
    """Of two tracks; only those into which both came from outside and out of which both went."""
    a, b = tracks[first], tracks[second]
    frames = np.union1d(a.frames, b.frames)
    low, high = max(a.frames[0], b.frames[0]), min(a.frames[-1], b.frames[-1])
    frames = frames[(frames >= low) & (frames <= high)]
    is_together = _paired_iou(_boxes_at(a, frames), _boxes_at(b, frames)) >= _MEETING_IOU
    is_apart = ~is_together & _is_backed_at(a, frames) & _is_backed_at(b, frames)
    apart = np.flatnonzero(is_apart)
    spans: dict[tuple[int, int], None] = {}
    for row in np.flatnonzero(is_together):
        place = int(np.searchsorted(apart, row))
        if 0 < place < len(apart):
            spans[int(apart[place - 1]), int(apart[place])] = None
    return [_Meeting(int(frames[after]), int(frames[before]), first, second) for before, after in spans]


def _boxes_at(track: Sightings, frames: IntArray) -> Float64Array:
    """(F, 4): on straight lines between sightings."""
    return np.stack([np.interp(frames, track.frames, track.boxes[:, side]) for side in range(4)], axis=1)


def _is_backed_at(track: Sightings, frames: IntArray) -> BoolArray:
    return np.isin(frames, track.frames[track.is_backed])


def _paired_iou(boxes_a: Float64Array, boxes_b: Float64Array) -> Float64Array:
    """(F, 4) twice -> (F,)."""
    both = shared_area(boxes_a, boxes_b)
    return both / np.maximum(box_area(boxes_a) + box_area(boxes_b) - both, 1.0)


def _past(tracks: Sequence[Sightings], path: Sequence[tuple[int, int]], until: int) -> Sightings:
    """What was seen of a person shortly before a meeting, on whichever tracks that was."""
    ends = [start for _, start in path[1:]] + [until + 1]
    pieces = []
    for (number, start), end in zip(path, ends, strict=True):
        track = tracks[number]
        pieces.append(track.rows((track.frames >= start) & (track.frames < min(end, until + 1)) & track.is_backed))
    whole = joined(pieces)
    return whole.rows(whole.times_s >= whole.times_s[-1] - NEAR_S) if len(whole) else whole


def _future(track: Sightings, other: Sightings, start: int) -> Sightings:
    """What was seen of a track after a meeting, until the next one."""
    later = track.rows((track.frames >= start) & track.is_backed)
    later = later.rows(later.times_s <= later.times_s[0] + NEAR_S)
    meets = np.flatnonzero(_overlap_of(later, other)[0] >= _MEETING_IOU)
    return _apart(later.rows(np.arange(len(later)) < (meets[0] if meets.size else len(later))), other)


def _apart(track: Sightings, other: Sightings) -> Sightings:
    """Without the rows in which the other one is on the same place; without colours where the other one may be in front."""
    iou, covered = _overlap_of(track, other)
    colours = np.where((covered > MAX_COVERED)[:, None], np.nan, track.colours)
    return replace(track, colours=colours).rows(iou < _MEETING_IOU)


def _overlap_of(track: Sightings, other: Sightings) -> tuple[Float64Array, Float64Array]:
    """(S,) IoU with the other one's box of the same frame, and (S,) how much of the box that covers; 0 where there is none."""
    iou, covered = np.zeros(len(track)), np.zeros(len(track))
    _, mine, theirs = np.intersect1d(track.frames, other.frames, assume_unique=True, return_indices=True)
    boxes, others = track.boxes[mine], other.boxes[theirs]
    iou[mine] = _paired_iou(boxes, others)
    covered[mine] = shared_area(boxes, others) / np.maximum(box_area(boxes), 1.0)
    return iou, covered


def _motion_costs(past: Sequence[Sightings], future: Sequence[Sightings]) -> Float64Array:
    """(2, 2): twice the negative log likelihood, less a constant, that past i and future j are one person."""
    arriving = [_last_state(track) for track in past]
    leaving = [_last_state(track, backwards=True) for track in future]
    costs = np.zeros((2, 2))
    for i, before in enumerate(arriving):
        for j, after in enumerate(leaving):
            if before is None or after is None:
                return np.zeros((2, 2))
            middle_s = (before.time_s - after.time_s) / 2.0
            meeting = reverse_motion(predict_motion(after, -middle_s))
            misfit = motion_misfit(predict_motion(before, middle_s), meeting)
            costs[i, j] = (student_cost(misfit, freedom=_MOTION_FREEDOM, size=2)).sum()
    return costs


def _last_state(track: Sightings, *, backwards: bool = False) -> MotionState | None:
    """Where a track comes to, or backwards, came from; then at minus its time."""
    state = None
    for row in range(len(track))[:: -1 if backwards else 1]:
        time_s, box = float(track.times_s[row]) * (-1.0 if backwards else 1.0), track.boxes[row]
        state = start_motion(box, time_s) if state is None else update_motion(predict_motion(state, time_s), box)
    return state


def _colour_costs(past: Sequence[Sightings], future: Sequence[Sightings]) -> Float64Array:
    """(2, 2): as `_motion_costs`, over the parts whose colours are known on all four sides."""
    before, after = [usual_clothes(track) for track in past], [usual_clothes(track) for track in future]
    costs = np.array([[clothes_cost(one, other) for other in after] for one in before])
    return np.where(np.isfinite(costs).all(axis=(0, 1)), costs, 0.0).sum(axis=-1)


def _exchange_frame(a: Sightings, b: Sightings, past: Sequence[Sightings], meeting: _Meeting) -> int:
    """Where within a meeting the tracks change people: where their colours change, else in the middle."""
    frames = np.union1d(a.frames, b.frames)
    frames = frames[(frames > meeting.before) & (frames <= meeting.after)]
    clothes = [usual_clothes(track) for track in past]
    gains = np.zeros(len(frames))
    for track, own, other in ((a, 0, 1), (b, 1, 0)):
        seen = track.rows(np.isin(track.frames, frames))
        costs = look_costs(seen, clothes[own]) - look_costs(seen, clothes[other])
        gains[np.searchsorted(frames, seen.frames)] += np.nan_to_num(costs).sum(axis=-1)
    later = np.cumsum(gains[::-1])[::-1]
    best = np.flatnonzero(later >= later.max() - 1e-9)
    return int(frames[best[len(best) // 2]])
