"""Which track continues which: the end of one and the beginning of another, each carried across the gap between them.

Legend: T frames of a track, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.geometry import box_area, iou_matrix
from posecli.people.clothes import Clothes, strangeness
from posecli.people.similarity import paired_oks
from posecli.records import FloatArray, IntArray, PoseSequence

Float64Array = NDArray[np.float64]

# Speed at an end is measured over this long, and fades while nobody looks.
_SPEED_WINDOW_S = 0.5
_FADE_S = 2.0
# Where a carried centre may miss, in box heights: at once, and per second of gap.
_MISS_AT_ONCE = 0.15
_MISS_PER_S = 0.2
# Agreement of centres alone is weaker evidence than boxes or poses that lie on each other.
_MOTION_WEIGHT = 0.6
_MAX_HEIGHT_RATIO = 1.5
_AMBIGUITY_MARGIN = 0.25
# What clothes change about a fit, per unit of twice the log odds; so little that a track cut in vain is joined again.
_CLOTHES_WEIGHT = 0.03
_MAX_CLOTHES_GAIN = 0.4
_MAX_CLOTHES_LOSS = 0.5


@dataclass(frozen=True, slots=True)
class Stitch:
    """Track number ``later`` of a list continues number ``earlier``; ``fit`` in [0, 1]; ``is_ambiguous``: another one fits as well."""

    earlier: int
    later: int
    fit: float
    is_ambiguous: bool


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a track: its last (or first) row, and the speed (2,) px/s of the box there."""

    time_s: float
    box: FloatArray
    keypoints: FloatArray
    scores: FloatArray
    speed: Float64Array

    def carried_to(self, time_s: float) -> Float64Array:
        """(2,) px: how far the person gets until (or since) another time."""
        duration_s = abs(time_s - self.time_s)
        return self.speed * float(np.copysign(_FADE_S * -np.expm1(-duration_s / _FADE_S), time_s - self.time_s))


def find_stitches(
    tracks: Sequence[PoseSequence],
    times: Sequence[Float64Array],
    sigmas: FloatArray,
    *,
    max_gap_s: float,
    min_fit: float,
    clothes: Sequence[tuple[Clothes, Clothes]] | None = None,
) -> list[Stitch]:
    """Who continues whom, each track at most once on either side, best fits first.

    Args:
        tracks: With at least one row each.
        times: Per track (T,) seconds of its rows.
        sigmas: (K,) of the skeleton.
        max_gap_s: No longer gaps.
        min_fit: In [0, 1]; the greater of box IoU and OKS across the gap (mean of forwards and backwards), or somewhat less sure,
            of how well the centres meet. Clothes, where known, add to it or take away from it.
        clothes: Per track, those at its beginning and those at its end.
    """
    heads = [_end_of(track, t, first=True) for track, t in zip(tracks, times, strict=True)]
    tails = [_end_of(track, t, first=False) for track, t in zip(tracks, times, strict=True)]
    order = sorted(range(len(tracks)), key=lambda n: heads[n].time_s)
    starts = np.array([heads[n].time_s for n in order])
    fits: dict[tuple[int, int], float] = {}
    for earlier, tail in enumerate(tails):
        low, high = np.searchsorted(starts, [tail.time_s, tail.time_s + max_gap_s], side="right")
        for later in order[low:high]:
            fit = _fit(tail, heads[later], sigmas)
            if clothes is not None and fit > 0.0:
                fit = _dressed(fit, strangeness(clothes[earlier][1], clothes[later][0]))
            if fit >= min_fit:
                fits[earlier, later] = fit
    by_earlier: dict[int, dict[int, float]] = {}
    by_later: dict[int, dict[int, float]] = {}
    for (earlier, later), fit in fits.items():
        by_earlier.setdefault(earlier, {})[later] = fit
        by_later.setdefault(later, {})[earlier] = fit
    stitches: list[Stitch] = []
    used_earlier: set[int] = set()
    used_later: set[int] = set()
    for (earlier, later), fit in sorted(fits.items(), key=lambda item: (-item[1], item[0])):
        if earlier in used_earlier or later in used_later:
            continue
        used_earlier.add(earlier)
        used_later.add(later)
        rivals = [f for n, f in by_earlier[earlier].items() if n != later]
        rivals += [f for n, f in by_later[later].items() if n != earlier]
        stitches.append(Stitch(earlier, later, fit, max(rivals, default=-1.0) >= fit - _AMBIGUITY_MARGIN))
    return stitches


def overlapping_pairs(tracks: Sequence[PoseSequence]) -> list[tuple[int, int]]:
    """Pairs of numbers of tracks (each with at least one row) whose time spans overlap, the one that starts first in front."""
    order = sorted(range(len(tracks)), key=lambda n: (int(tracks[n].frame_indices[0]), n))
    pairs: list[tuple[int, int]] = []
    active: list[int] = []
    for n in order:
        active = [m for m in active if tracks[m].frame_indices[-1] >= tracks[n].frame_indices[0]]
        pairs.extend((m, n) for m in active)
        active.append(n)
    return pairs


def shared_oks(a: PoseSequence, b: PoseSequence, sigmas: FloatArray) -> tuple[IntArray, Float64Array]:
    """The frames (S,) that two tracks share, and the OKS (S,) of their poses there; NaN where nothing can be said."""
    frames, rows_a, rows_b = np.intersect1d(a.frame_indices, b.frame_indices, assume_unique=True, return_indices=True)
    areas = (box_area(a.boxes[rows_a]) + box_area(b.boxes[rows_b])) / 2.0
    oks = paired_oks(
        a.keypoints[rows_a], b.keypoints[rows_b], a.scores[rows_a], b.scores[rows_b], areas=areas, sigmas=sigmas
    )
    return frames, oks


def _end_of(track: PoseSequence, times: Float64Array, *, first: bool) -> _End:
    row = 0 if first else len(track) - 1
    near = np.abs(times - times[row]) <= _SPEED_WINDOW_S
    speed = np.zeros(2)
    elapsed = times[near] - times[near].mean()
    if near.sum() >= 3 and elapsed.any():
        centres = (track.boxes[near, :2].astype(np.float64) + track.boxes[near, 2:]) / 2.0
        speed = elapsed @ (centres - centres.mean(axis=0)) / (elapsed @ elapsed)
    return _End(float(times[row]), track.boxes[row], track.keypoints[row], track.scores[row], speed)


def _dressed(fit: float, strange: float) -> float:
    change = float(np.clip(-_CLOTHES_WEIGHT * strange, -_MAX_CLOTHES_LOSS, _MAX_CLOTHES_GAIN))
    return min(max(fit + change, 0.0), 1.0)


def _fit(tail: _End, head: _End, sigmas: FloatArray) -> float:
    heights = [max(float(end.box[3] - end.box[1]), 1.0) for end in (tail, head)]
    if max(heights) > _MAX_HEIGHT_RATIO * min(heights):
        return 0.0
    forwards, backwards = tail.carried_to(head.time_s), head.carried_to(tail.time_s)
    iou, oks, miss = [], [], []
    for shift in (forwards, -backwards):
        moved = tail.box + np.tile(shift, 2)
        iou.append(float(iou_matrix(moved[None], head.box[None])[0, 0]))
        area = (box_area(tail.box[None]) + box_area(head.box[None])) / 2.0
        points, scores = (tail.keypoints + shift)[None], tail.scores[None]
        oks.append(
            float(paired_oks(points, head.keypoints[None], scores, head.scores[None], areas=area, sigmas=sigmas)[0])
        )
        miss.append(float(np.linalg.norm((moved[:2] + moved[2:] - head.box[:2] - head.box[2:]) / 2.0)) / min(heights))
    allowed = _MISS_AT_ONCE + _MISS_PER_S * (head.time_s - tail.time_s)
    motion = _MOTION_WEIGHT * max(0.0, 1.0 - float(np.mean(miss)) / (2.0 * allowed))
    return float(max(np.mean(iou), np.nan_to_num(np.mean(oks)), motion))
