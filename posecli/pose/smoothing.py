"""Smooth a finished track without lag, on its real timestamps.

Each keypoint follows the curve that stays close to its points and bends little: a penalised least squares (Whittaker) smoother with
second differences over seconds. In the continuous limit it is a low-pass without phase whose gain at frequency f is

    1 / (1 + (sqrt(2) - 1) (f / cutoff_hz)^4),

0.71 (-3 dB) at ``cutoff_hz``, above 0.96 below half of it: the shape of a second-order Butterworth run forwards and backwards. Frames
further apart than a tenth of the cutoff's period feel it as a digital filter does: 0.71 stays at the cutoff (or at half the frame
rate, where that is lower), and the fall beyond is a little less steep. The scale is seconds, so 10 and 120 fps, and variable frame
rates, are smoothed alike. Straight, even motion passes unchanged.

Three things adapt it:
- a point that its neighbours contradict for a single frame is set aside and bridged;
- the weight of a point is its score;
- where the curve leaves the points by more than their noise, for longer than a frame, the body is moving faster than the cutoff
  allows: the smoothing lets go there (fast wrists in sports), and only there.

Rows further apart than ``max_gap_s`` are not connected: nothing is smoothed across a gap. Time and memory are linear in the frames.

Legend: T frames, K keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import median_filter

from posecli.errors import check_above_zero
from posecli.records import BoolArray, FloatArray, PoseSequence

Float64Array = NDArray[np.float64]

_MIN_WEIGHT = 0.05
_OUTLIER_WEIGHT = 1e-4
# How many times the usual roughness around it a single point must stand out to be an outlier (Hampel's rule, generous).
_OUTLIER_SIGMAS = 5.0
_OUTLIER_WINDOW_FRAMES = 11
# A residual of this many noise deviations, held over _MOTION_WINDOW_S, is motion.
_MOTION_SIGMAS = 2.0
_MOTION_WINDOW_S = 0.2
_MOTION_ROUNDS = 4
_MIN_STIFFNESS = 1e-4
_MIN_STEP_S = 1e-4
_MEDIAN_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class SmoothingConfig:
    """How much to smooth.

    ``cutoff_hz``: the -3 dB frequency (see the module). ``max_gap_s``: rows further apart are not connected. ``outlier_size``: a
    single point must leave its neighbours by at least this share of the box size to be an outlier. ``noise_size``: the least
    keypoint noise assumed, as a share of the box size; the most is four times that, and what exceeds the noise is motion. The box
    size is the root of the box's area.
    """

    cutoff_hz: float = 6.0
    max_gap_s: float = 0.5
    outlier_size: float = 0.12
    noise_size: float = 0.006

    def __post_init__(self) -> None:
        check_above_zero(self, what="smoothing")


def smooth_sequence(
    sequence: PoseSequence, time_s: Float64Array, config: SmoothingConfig | None = None, *, first_frame_index: int = 0
) -> PoseSequence:
    """The same track with smooth ``keypoints``; ``raw_keypoints``, scores and boxes stay as they are.

    Args:
        sequence: One track. Points that are NaN or have score 0 stay so; nothing is invented.
        time_s: (F,) seconds of all frames of the video (``FrameTable.time_s``): row i is frame ``first_frame_index + i``.
        config: How much to smooth.
        first_frame_index: The frame of the first row of ``time_s``.

    Raises:
        ValueError: ``time_s`` does not cover the track's frames, or does not ascend over them.
    """
    config = config or SmoothingConfig()
    times = _row_times(sequence, time_s, first_frame_index)
    smooth = sequence.keypoints.copy()
    sizes = _box_sizes(sequence.boxes)
    for k in range(smooth.shape[1]):
        points, weights = sequence.keypoints[:, k].astype(np.float64), sequence.scores[:, k].astype(np.float64)
        rows = np.flatnonzero(np.isfinite(points).all(axis=1) & (weights > 0.0))
        if len(rows) < 3:
            continue
        path = _Path(times[rows], points[rows], np.maximum(weights[rows], _MIN_WEIGHT), sizes[rows], config)
        smooth[rows, k] = path.smooth().astype(np.float32)
    return replace(sequence, keypoints=smooth)


def jitter(keypoints: FloatArray, time_s: Float64Array, boxes: FloatArray, *, max_gap_s: float = 0.5) -> float:
    """How much keypoints tremble: the mean length of their acceleration, in box sizes (root of the area) per second squared.

    Compare it before and after smoothing; frame rates differ too much in it to compare videos.

    Args:
        keypoints: (T, K, 2) px; NaN where missing.
        time_s: (T,) seconds of these rows.
        boxes: (T, 4) xyxy px.
        max_gap_s: Rows further apart are not connected.

    Returns:
        0.0 when there are no three neighbouring rows.
    """
    if len(time_s) < 3:
        return 0.0
    steps = np.maximum(np.diff(np.asarray(time_s, np.float64)), _MIN_STEP_S)
    rate = np.diff(keypoints.astype(np.float64), axis=0) / steps[:, None, None]
    acceleration = np.linalg.norm(np.diff(rate, axis=0), axis=-1) / ((steps[1:] + steps[:-1]) / 2.0)[:, None]
    relative = acceleration / _box_sizes(boxes)[1:-1, None]
    near = (steps[1:] <= max_gap_s) & (steps[:-1] <= max_gap_s)
    valid = relative[near[:, None] & np.isfinite(relative)]
    return float(valid.mean()) if valid.size else 0.0


class _Path:
    """One keypoint over the n rows where it is seen: times (n,), points (n, 2), weights (n,), box sizes (n,)."""

    def __init__(
        self,
        times: Float64Array,
        points: Float64Array,
        weights: Float64Array,
        sizes: Float64Array,
        config: SmoothingConfig,
    ) -> None:
        self.points, self.weights, self.sizes, self.config = points, weights, sizes, config
        self.times = times
        gaps = np.diff(times)
        self.is_joined = gaps <= config.max_gap_s
        self.steps = np.maximum(gaps, _MIN_STEP_S)

    def smooth(self) -> Float64Array:
        """(n, 2): the curve at the rows."""
        outliers = self._outliers()
        weights = np.where(outliers, _OUTLIER_WEIGHT, self.weights)
        noise = self._noise(outliers)
        stiffness = np.ones(len(self.points) - 2)
        curve = self._solve(weights, stiffness)
        for _ in range(_MOTION_ROUNDS):
            residual = np.where(outliers, 0.0, ((self.points - curve) ** 2).sum(axis=1) / 2.0)
            excess = np.sqrt(self._local_mean(residual)) / (_MOTION_SIGMAS * noise)
            if not (excess > 1.0).any():
                break
            stiffness = np.maximum(stiffness / np.maximum(excess[1:-1], 1.0) ** 2, _MIN_STIFFNESS)
            curve = self._solve(weights, stiffness)
        return curve

    def _solve(self, weights: Float64Array, stiffness: Float64Array) -> Float64Array:
        """Minimise sum of weight x spacing x distance^2 + lambda x stiffness x integral of second derivative^2."""
        n = len(self.points)
        before, after = self.steps[:-1], self.steps[1:]
        width = (before + after) / 2.0
        # Differences see sin(w h / 2) where derivatives see w h / 2: scale so that the cutoff stays the cutoff.
        half_turn = np.pi * self.config.cutoff_hz * width
        warped = width / 2.0 / np.sin(np.minimum(half_turn, np.pi / 2.0))
        joined = self.is_joined[:-1] & self.is_joined[1:]
        strength = np.where(joined, (np.sqrt(2.0) - 1.0) * warped**4 * stiffness * width, 0.0)
        # Second difference at row i: a z[i-1] + b z[i] + c z[i+1].
        a, c = 1.0 / (before * width), 1.0 / (after * width)
        b = -(a + c)
        band = np.zeros((3, n))  # upper form of scipy: band[2] the diagonal, band[1] and band[0] those above it
        band[2] = weights * self._spacing()
        mass = band[2][:, None] * self.points
        band[2, :-2] += strength * a * a
        band[2, 1:-1] += strength * b * b
        band[2, 2:] += strength * c * c
        band[1, 1:-1] += strength * a * b
        band[1, 2:] += strength * b * c
        band[0, 2:] += strength * a * c
        # Around the first point of each coordinate: large coordinates would cost digits.
        origin = self.points[0]
        mass -= (weights * self._spacing())[:, None] * origin
        return np.asarray(solveh_banded(band, mass, check_finite=False) + origin, np.float64)

    def _spacing(self) -> Float64Array:
        """(n,) seconds that each row stands for; a row on its own stands for any."""
        halves = np.where(self.is_joined, self.steps, 0.0) / 2.0
        spacing = np.zeros(len(self.points))
        spacing[:-1] += halves
        spacing[1:] += halves
        # A row at the end of a run has one half only: its neighbour says how much it would have.
        ends = np.ones(len(self.points), np.bool_)
        ends[1:-1] = self.is_joined[:-1] != self.is_joined[1:]
        spacing = np.where(ends, 2.0 * spacing, spacing)
        return np.where(spacing > 0.0, spacing, 1.0)

    def _contradiction(self) -> Float64Array:
        """(n, 2): how far each point is from where its neighbours would put it; 0 at the ends of runs.

        Cubic through two neighbours on either side; straight through one on either side where there are no more.
        """
        away = np.zeros_like(self.points)
        x, y = self.times, self.points
        has_one = self.is_joined[:-1] & self.is_joined[1:]
        span = np.maximum(x[2:] - x[:-2], _MIN_STEP_S)
        straight = y[:-2] + (y[2:] - y[:-2]) * ((x[1:-1] - x[:-2]) / span)[:, None]
        away[1:-1] = np.where(has_one[:, None], y[1:-1] - straight, 0.0)
        if len(y) < 5:
            return away
        has_two = has_one[:-2] & has_one[2:]
        start = np.concatenate([[0.0], np.cumsum(self.steps)])
        centre = start[2:-2]
        nodes = [start[:-4] - centre, start[1:-3] - centre, start[3:-1] - centre, start[4:] - centre]
        values = [y[:-4], y[1:-3], y[3:-1], y[4:]]
        cubic = np.zeros((len(centre), 2))
        for i in range(4):
            factor = np.ones_like(centre)
            for j in range(4):
                if j != i:
                    factor *= -nodes[j] / (nodes[i] - nodes[j])
            cubic += factor[:, None] * values[i]
        away[2:-2] = np.where(has_two[:, None], y[2:-2] - cubic, away[2:-2])
        return away

    def _outliers(self) -> BoolArray:
        """(n,): points that alone contradict both sides, beyond what is usual around them."""
        distance = np.linalg.norm(self._contradiction(), axis=1)
        usual = _MEDIAN_TO_SIGMA * median_filter(distance, size=_OUTLIER_WINDOW_FRAMES, mode="nearest")
        padded = np.pad(distance, 2)
        peak = np.max([padded[i : i + len(distance)] for i in range(5)], axis=0)
        threshold = np.maximum(self.config.outlier_size * self.sizes, _OUTLIER_SIGMAS * usual)
        return np.asarray((distance > threshold) & (distance >= peak), np.bool_)

    def _noise(self, outliers: BoolArray) -> Float64Array:
        """(n,) px: standard deviation of the noise of one coordinate, from third differences, which motion hardly has."""
        floor, ceiling = self.config.noise_size * self.sizes, 4.0 * self.config.noise_size * self.sizes
        usable = self.is_joined[:-2] & self.is_joined[1:-1] & self.is_joined[2:]
        if len(self.points) < 4 or not usable.any():
            return ceiling
        rough = np.abs(np.diff(self.points, n=3, axis=0))[usable]
        calm = np.any([outliers[i : len(outliers) - 3 + i] for i in range(4)], axis=0)[usable]
        rough = rough[~calm] if (~calm).any() else rough
        # The third difference of white noise has a variance of 1 + 9 + 9 + 1 = 20 times its own.
        measured = _MEDIAN_TO_SIGMA * float(np.median(rough)) / np.sqrt(20.0)
        return np.minimum(np.maximum(floor, measured), ceiling)

    def _local_mean(self, values: Float64Array) -> Float64Array:
        """(n,): mean over the rows within half of _MOTION_WINDOW_S, at least the neighbours of the row, same run only."""
        n = len(values)
        run = np.concatenate([[0], np.cumsum(~self.is_joined)])
        first_of_run = np.searchsorted(run, run, side="left")
        last_of_run = np.searchsorted(run, run, side="right")
        rows = np.arange(n)
        low = np.searchsorted(self.times, self.times - _MOTION_WINDOW_S / 2.0, side="left")
        high = np.searchsorted(self.times, self.times + _MOTION_WINDOW_S / 2.0, side="right")
        low = np.maximum(np.minimum(low, rows - 1), first_of_run)
        high = np.minimum(np.maximum(high, rows + 2), last_of_run)
        total = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(np.maximum(total[high] - total[low], 0.0) / (high - low), np.float64)


def _row_times(sequence: PoseSequence, time_s: Float64Array, first_frame_index: int) -> Float64Array:
    """(T,) seconds of the rows of a track."""
    rows = sequence.frame_indices - first_frame_index
    if len(rows) and (rows.min() < 0 or rows.max() >= len(time_s)):
        raise ValueError(
            f"track {sequence.track_id} has frames {sequence.frame_indices.min()} to {sequence.frame_indices.max()}, "
            f"time_s covers {first_frame_index} to {first_frame_index + len(time_s) - 1}"
        )
    times = np.asarray(time_s, np.float64)[rows]
    if (np.diff(times) < 0).any():
        raise ValueError(f"time_s does not ascend over track {sequence.track_id}")
    return times


def _box_sizes(boxes: FloatArray) -> Float64Array:
    """(T, 4) -> (T,) px: the root of the area, at least one."""
    sides = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 1.0)
    return np.asarray(np.sqrt(sides.prod(axis=1)), np.float64)
