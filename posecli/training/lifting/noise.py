"""What a 2D estimator does to joints: errors that last, that have their bad moments, confuse sides, and come with scores that tell.

The twelve joints of the limbs and the head get noise; the joints of the trunk are computed from them, as in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr

from posecli.records import BoolArray, FloatArray
from posecli.skeletons import H36M17
from posecli.training.lifting.bones import rebuild_trunk

_NAMES = H36M17.joint_names
NOISY = np.array([i for i, n in enumerate(_NAMES) if n.startswith(("left_", "right_")) or n == "head"])
KINDS = ("hip", "knee", "ankle", "head", "shoulder", "elbow", "wrist")
KIND_OF = np.array([KINDS.index(_NAMES[i].removeprefix("left_").removeprefix("right_")) for i in NOISY])
LEGS, ARMS = (
    tuple([_NAMES.index(f"{side}_{part}") for part in parts] for side in ("left", "right"))
    for parts in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
)
"""The joints of the left and of the right limb, in the same order."""
_MIDDLES = tuple(
    (_NAMES.index(middle), [_NAMES.index(part) for part in parts])
    for middle, parts in (
        ("root", ("left_hip", "right_hip")),
        ("thorax", ("left_shoulder", "right_shoulder")),
        ("spine", ("left_hip", "right_hip", "left_shoulder", "right_shoulder")),
        ("neck", ("left_shoulder", "right_shoulder", "head")),
    )
)


MAX_LOST = 0.6


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Errors relative to the person's size (as `normalise_person` measures it).

    An error is ``spread * clip * burst * v``: ``v`` is Gaussian, correlated from frame to frame; ``burst`` is the exponential of
    another such process, ``clip`` is drawn once a clip. Besides, joints get lost for a while: they are then found anywhere near the
    person. The values are those of posecli's own estimator on rendered clips, measured by
    ``tests/benchmarks/measure_keypoint_noise.py``; but those clips are crowded and damaged, so ``level`` and ``clip`` reach from
    them to clips of one person in plain sight.

    Attributes:
        spread: Of hips, knees, ankles, head, shoulders, elbows, wrists, along each axis.
        correlation: Of ``v`` from one frame to the next, at 30 fps.
        burst: Spread of the logarithm of ``burst``.
        burst_correlation: Of that logarithm from one frame to the next.
        level: Mean of the logarithm of ``clip``: 0 as in the rendered clips.
        clip: Spread of the logarithm of ``clip``.
        lost_share: Of frames in which hips, knees, ... are lost, where ``clip`` is 1; it goes with the square of ``clip``.
        lost_frames: Mean length of that.
        lost_spread: Of the error of a lost joint, along each axis.
        error_edges: (E,) lengths of errors, rising, that divide them into E + 1 bins.
        score_quantiles: (E + 1, Q) quantiles from the least to the greatest score of errors in each bin.
        score_steps: (Q,) which quantiles.
        score_correlation: Of a score's place among the quantiles from one frame to the next.
        missing_rate: Chance that a joint goes missing in a frame.
        missing_frames: Mean length of such a gap.
        swap_rate: Chance that the legs, or the arms, are confused from a frame on.
        swap_frames: Mean length of that.
        outside_missing: Chance that a joint outside the picture is missing.
    """

    spread: tuple[float, ...] = (0.0224, 0.0188, 0.0159, 0.0126, 0.0166, 0.0199, 0.0208)
    correlation: float = 0.952
    burst: float = 0.21
    burst_correlation: float = 0.98
    level: float = -0.25
    clip: float = 0.45
    lost_share: tuple[float, ...] = (0.035, 0.126, 0.160, 0.017, 0.023, 0.118, 0.177)
    lost_frames: float = 5.9
    lost_spread: float = 0.14
    error_edges: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04, 0.08)
    score_quantiles: tuple[tuple[float, ...], ...] = (
        (0.114, 0.542, 0.658, 0.739, 0.802, 0.849, 0.975),
        (0.104, 0.518, 0.639, 0.729, 0.792, 0.840, 0.975),
        (0.073, 0.479, 0.603, 0.703, 0.775, 0.824, 0.988),
        (0.074, 0.398, 0.522, 0.641, 0.730, 0.791, 0.967),
        (0.046, 0.292, 0.396, 0.519, 0.624, 0.701, 0.925),
        (0.020, 0.181, 0.264, 0.372, 0.484, 0.580, 0.884),
    )
    score_steps: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    score_correlation: float = 0.94
    missing_rate: float = 0.001
    missing_frames: float = 19.0
    swap_rate: float = 0.0027
    swap_frames: float = 4.8
    outside_missing: float = 0.7

    def apply(
        self, rng: np.random.Generator, joints_px: FloatArray, *, size_wh: tuple[int, int]
    ) -> tuple[FloatArray, FloatArray]:
        """Disturb a clip.

        Args:
            rng: Everything is drawn from it.
            joints_px: (F, 17, 2), exact.
            size_wh: Of the picture, px; joints outside may go missing.

        Returns:
            (F, 17, 2) px, NaN where missing, and (F, 17) scores, 0 there.
        """
        frames = len(joints_px)
        errors = self.draw_errors(rng, frames) * np.float32(person_size(joints_px))
        is_outside = np.any((joints_px < -0.5) | (joints_px > np.array(size_wh) - 0.5), axis=-1)
        noisy = joints_px.copy()
        noisy[:, NOISY] += errors
        self._swap(rng, noisy)
        lengths = np.linalg.norm(noisy[:, NOISY] - joints_px[:, NOISY], axis=-1) / person_size(joints_px)
        scores = np.zeros(joints_px.shape[:2], np.float32)
        scores[:, NOISY] = self._scores(rng, lengths)
        is_missing = bursts(rng, (frames, len(NOISY)), self.missing_rate, self.missing_frames)
        is_missing |= is_outside[:, NOISY] & (rng.random(len(NOISY)) < self.outside_missing)
        limbs = noisy[:, NOISY]
        limbs[is_missing] = np.nan
        noisy[:, NOISY] = limbs
        scores[:, NOISY] *= ~is_missing
        return rebuild_trunk(noisy), middle_scores(scores)

    def draw_errors(self, rng: np.random.Generator, frames: int) -> FloatArray:
        """(F, 13, 2) of the joints in `NOISY`, relative to the person's size."""
        count = len(NOISY)
        level = self.level + self.clip * rng.normal()
        steps = correlated(rng, (frames, count, 2), self.correlation)
        swell = self.burst * correlated(rng, (frames, count, 1), self.burst_correlation) + np.float32(level)
        errors = steps * np.exp(swell) * np.array(self.spread, np.float32)[KIND_OF, None]
        share = np.minimum(np.array(self.lost_share)[KIND_OF] * np.exp(2 * level), MAX_LOST)
        # so many bursts that they cover the share, overlaps counted
        is_lost = bursts(rng, (frames, count), -np.log1p(-share) / self.lost_frames, self.lost_frames)
        lost = correlated(rng, (frames, count, 2), self.correlation) * np.float32(self.lost_spread)
        return np.where(is_lost[..., None], lost, errors)

    def _swap(self, rng: np.random.Generator, joints: FloatArray) -> None:
        """Exchange left and right of the legs, and of the arms, in bursts."""
        is_swapped = bursts(rng, (len(joints), 2), self.swap_rate, self.swap_frames)
        for column, (left, right) in enumerate((LEGS, ARMS)):
            rows = np.flatnonzero(is_swapped[:, column])[:, None]
            joints[rows, left + right] = joints[rows, right + left]

    def _scores(self, rng: np.random.Generator, lengths: NDArray[np.floating]) -> FloatArray:
        """(F, 13): drawn from the quantiles of the bin of each error."""
        table = np.array(self.score_quantiles, np.float32)
        steps = np.array(self.score_steps, np.float32)
        place = ndtr(correlated(rng, lengths.shape, self.score_correlation))
        bins = np.searchsorted(np.array(self.error_edges), lengths)
        below = np.clip(np.searchsorted(steps, place) - 1, 0, len(steps) - 2)
        part = (place - steps[below]) / (steps[below + 1] - steps[below])
        return np.asarray(table[bins, below] * (1 - part) + table[bins, below + 1] * part, np.float32)


def person_size(joints_px: FloatArray) -> float:
    """The 90th percentile over the frames of the diagonal of the joints' box, px: as `normalise_person` measures it."""
    return float(np.percentile(np.hypot(*np.ptp(joints_px, axis=1).T), 90.0))


def middle_scores(scores: FloatArray) -> FloatArray:
    """(F, 17): the joints of the trunk get the lowest score of those they are the middle of."""
    filled = scores.copy()
    for middle, parts in _MIDDLES:
        filled[:, middle] = scores[:, parts].min(axis=1)
    return filled


def correlated(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> FloatArray:
    """Gaussian noise of mean 0 and spread 1 whose neighbours along the first axis are so correlated (an AR(1) process)."""
    white = rng.standard_normal(shape, np.float32)
    white[1:] *= np.float32(np.sqrt(1 - correlation**2))
    return np.asarray(lfilter([1.0], [1.0, -correlation], white, axis=0), np.float32)


def bursts(
    rng: np.random.Generator, shape: tuple[int, int], rate: float | NDArray[np.floating], mean_frames: float
) -> BoolArray:
    """(F, N): runs of frames; in each column one begins with this chance in a frame, of geometric length with this mean.

    Runs that began before the first frame are there too, so that all frames are alike.
    """
    frames, columns = shape
    before = round(4 * mean_frames)
    marks = np.zeros((frames + 1, columns), np.int64)
    counts = rng.poisson(np.broadcast_to(rate, columns) * (frames + before))
    column = np.repeat(np.arange(columns), counts)
    starts = rng.integers(-before, frames, len(column))
    ends = starts + rng.geometric(1.0 / max(mean_frames, 1.0), len(column))
    np.add.at(marks, (starts.clip(0, frames), column), 1)
    np.add.at(marks, (ends.clip(0, frames), column), -1)
    return np.asarray(np.cumsum(marks[:-1], axis=0) > 0)
