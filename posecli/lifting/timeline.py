"""A track over time as the lifter wants it: short gaps bridged, cut at long ones, at a pace like that of the training data.

Legend: T rows of a track, S samples of a stretch, J joints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from posecli.records import FloatArray, IntArray

Float64Array = NDArray[np.float64]

MAX_GAP_S = 0.3
# The networks saw motion stretched by as much in training; only slower and faster video is resampled.
_PACE_RANGE = (0.7, 1.4)
_MIN_SEEN_JOINTS = 5
# Steps that differ by less than this share from their median count as even.
_EVEN_SHARE = 0.25
_TIME_SLACK_S = 1e-6
_MAX_SPLINE_DEGREE = 3


@dataclass(frozen=True)
class Stretch:
    """A part of a track without a long gap.

    Attributes:
        rows: (n,) rows of the track that lie in it.
        row_times_s: (n,) their seconds.
        times_s: (S,) seconds of the samples, at even steps.
        joints: (S, J, 2) px, NaN where missing.
        scores: (S, J), 0 where missing.
    """

    rows: IntArray
    row_times_s: Float64Array
    times_s: Float64Array
    joints: FloatArray
    scores: FloatArray

    def at_rows(self, lifted: FloatArray) -> FloatArray:
        """What was found at the samples, (S, J, 3), at the rows, (n, J, 3): a smooth curve between samples, exact on them."""
        where = np.searchsorted(self.times_s, self.row_times_s - _TIME_SLACK_S).clip(max=len(self.times_s) - 1)
        if np.abs(self.times_s[where] - self.row_times_s).max() <= _TIME_SLACK_S:
            return lifted[where]
        degree = min(_MAX_SPLINE_DEGREE, len(self.times_s) - 1)
        curve = make_interp_spline(self.times_s, lifted.reshape(len(lifted), -1).astype(np.float64), k=degree)
        return np.asarray(curve(self.row_times_s).reshape(-1, *lifted.shape[1:]), np.float32)


def stretches(
    joints: FloatArray,
    scores: FloatArray,
    frame_indices: IntArray,
    time_s: Float64Array,
    *,
    first_frame_index: int = 0,
    rate_hz: float = 30.0,
    max_gap_s: float = MAX_GAP_S,
) -> Iterator[Stretch]:
    """Cut a track at its long gaps and sample each part evenly.

    A part is sampled at the video's own frames, those without a row included, when these come at even steps and at 0.7 to 1.4 times
    ``rate_hz``; else at ``rate_hz``. Between rows joints lie on straight lines.

    Args:
        joints: (T, J, 2) px; a joint that is NaN or has score 0 is missing, a row with fewer than 5 joints is a gap.
        scores: (T, J).
        frame_indices: (T,) ascending.
        time_s: (F,) seconds of all frames of the video; row i is frame ``first_frame_index + i``.
        first_frame_index: The frame of the first row of ``time_s``.
        rate_hz: Frames a second of the training data.
        max_gap_s: A joint, or the person, that is away for longer is not bridged.

    Yields:
        The parts, in order.

    Raises:
        ValueError: ``time_s`` does not cover the track's frames, or does not ascend over them.
    """
    times = _row_times(frame_indices, time_s, first_frame_index)
    is_seen = np.isfinite(joints).all(axis=-1) & (scores > 0.0)
    usable = np.flatnonzero(is_seen.sum(axis=1) >= min(_MIN_SEEN_JOINTS, joints.shape[1]))
    if not usable.size:
        return
    steps = np.diff(time_s)
    step_s = float(np.median(steps)) if steps.size else 1.0 / rate_hz
    breaks = np.flatnonzero(np.diff(times[usable]) - step_s > max_gap_s + _TIME_SLACK_S) + 1
    for part in np.split(usable, breaks):
        rows = np.arange(part[0], part[-1] + 1, dtype=np.int64)
        first, last = (int(frame_indices[row]) - first_frame_index for row in (rows[0], rows[-1]))
        samples = _sample_times(np.asarray(time_s[first : last + 1], np.float64), rate_hz)
        yield _sampled(rows, times[rows], samples, joints[rows], scores[rows], is_seen[rows], max_gap_s + step_s)


def _row_times(frame_indices: IntArray, time_s: Float64Array, first_frame_index: int) -> Float64Array:
    places = frame_indices - first_frame_index
    if places.size and not (places.min() >= 0 and places.max() < len(time_s)):
        raise ValueError(f"frames {frame_indices.min()} to {frame_indices.max()} are not all among {len(time_s)} times")
    times = np.asarray(time_s[places], np.float64)
    if (np.diff(times) <= 0.0).any():
        raise ValueError("the times of a track's frames do not ascend")
    return times


def _sample_times(frame_times: Float64Array, rate_hz: float) -> Float64Array:
    """The frames' own times where their pace suits, else even ones over the same span."""
    steps = np.diff(frame_times)
    if not steps.size:
        return frame_times
    median = float(np.median(steps))
    slowest, fastest = _PACE_RANGE
    is_even = bool((np.abs(steps - median) <= _EVEN_SHARE * median).all())
    if is_even and slowest <= 1.0 / (median * rate_hz) <= fastest:
        return frame_times
    span = float(frame_times[-1] - frame_times[0])
    return np.linspace(frame_times[0], frame_times[-1], max(1, round(span * rate_hz)) + 1)


def _sampled(
    rows: IntArray,
    row_times: Float64Array,
    samples: Float64Array,
    joints: FloatArray,
    scores: FloatArray,
    is_seen: NDArray[np.bool_],
    max_step_s: float,
) -> Stretch:
    """Each joint on straight lines between the rows that have it, missing where these are more than ``max_step_s`` apart."""
    shape = (len(samples), joints.shape[1])
    points, values = np.full((*shape, 2), np.nan, np.float32), np.zeros(shape, np.float32)
    for joint in range(shape[1]):
        seen = is_seen[:, joint]
        if not seen.any():
            continue
        known = row_times[seen]
        right = np.searchsorted(known, samples - _TIME_SLACK_S)
        left = np.searchsorted(known, samples + _TIME_SLACK_S, side="right") - 1
        is_inside = (right < len(known)) & (left >= 0)
        span = known[right.clip(max=len(known) - 1)] - known[left.clip(min=0)]
        is_near = is_inside & (span <= max_step_s + 2 * _TIME_SLACK_S)
        for axis in range(2):
            points[is_near, joint, axis] = np.interp(samples[is_near], known, joints[seen, joint, axis])
        values[is_near, joint] = np.interp(samples[is_near], known, scores[seen, joint])
    return Stretch(rows, row_times, samples, points, values)
