"""What a 2D estimator does to joints: errors that last, that have their bad moments, confuse sides, and come with scores that tell.

The twelve joints of the limbs and the head get noise; the joints of the trunk are computed from them, as in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from posecli.records import BoolArray, FloatArray
from posecli.skeletons import H36M17
from posecli.training.lifting.bones import rebuild_trunk

_NAMES = H36M17.joint_names
_NOISY = np.array([i for i, n in enumerate(_NAMES) if n.startswith(("left_", "right_")) or n == "head"])
_KINDS = ("hip", "knee", "ankle", "head", "shoulder", "elbow", "wrist")
_KIND_OF = np.array([_KINDS.index(_NAMES[i].removeprefix("left_").removeprefix("right_")) for i in _NOISY])
_LEGS, _ARMS = (
    tuple((_NAMES.index(f"left_{part}"), _NAMES.index(f"right_{part}")) for part in parts)
    for parts in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
)
_MIDDLES = tuple(
    (_NAMES.index(middle), [_NAMES.index(part) for part in parts])
    for middle, parts in (
        ("root", ("left_hip", "right_hip")),
        ("thorax", ("left_shoulder", "right_shoulder")),
        ("spine", ("left_hip", "right_hip", "left_shoulder", "right_shoulder")),
        ("neck", ("left_shoulder", "right_shoulder", "head")),
    )
)


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Errors relative to the person's size (as `normalise_person` measures it).

    An error is ``spread * clip * burst * v``: ``v`` is Gaussian, correlated from frame to frame; ``burst`` is the exponential of
    another such process, and makes the tail heavy; ``clip`` is drawn once a clip. The values are those of posecli's own estimator on
    rendered clips, measured by ``tests/benchmarks/measure_keypoint_noise.py``.

    Attributes:
        spread: Of hips, knees, ankles, head, shoulders, elbows, wrists, along each axis.
        correlation: Of ``v`` from one frame to the next, at 30 fps.
        burst: Spread of the logarithm of ``burst``.
        burst_correlation: Of that logarithm from one frame to the next.
        clip: Spread of the logarithm of ``clip``.
        error_edges: (E,) lengths of errors, rising, that divide them into E + 1 bins.
        score_quantiles: (E + 1, Q) quantiles from the least to the greatest score of errors in each bin.
        score_correlation: Of a score's place among the quantiles from one frame to the next.
        missing_rate: Chance that a joint goes missing in a frame.
        missing_frames: Mean length of such a gap.
        swap_rate: Chance that the legs, or the arms, are confused from a frame on.
        swap_frames: Mean length of that.
        outside_missing: Chance that a joint outside the picture is missing.
    """

    spread: tuple[float, ...] = (0.010, 0.009, 0.009, 0.006, 0.008, 0.009, 0.010)
    correlation: float = 0.8
    burst: float = 0.7
    burst_correlation: float = 0.9
    clip: float = 0.4
    error_edges: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04, 0.08)
    score_quantiles: tuple[tuple[float, ...], ...] = (
        (0.30, 0.75, 0.85, 0.90, 0.97),
        (0.25, 0.70, 0.82, 0.88, 0.96),
        (0.20, 0.55, 0.74, 0.84, 0.95),
        (0.10, 0.35, 0.55, 0.72, 0.92),
        (0.05, 0.20, 0.35, 0.52, 0.85),
        (0.02, 0.12, 0.25, 0.40, 0.80),
    )
    score_correlation: float = 0.8
    missing_rate: float = 0.002
    missing_frames: float = 6.0
    swap_rate: float = 0.001
    swap_frames: float = 5.0
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
        errors = self._errors(rng, frames) * np.float32(person_size(joints_px))
        is_outside = np.any((joints_px < -0.5) | (joints_px > np.array(size_wh) - 0.5), axis=-1)
        noisy = joints_px.copy()
        noisy[:, _NOISY] += errors
        self._swap(rng, noisy)
        lengths = np.linalg.norm(noisy[:, _NOISY] - joints_px[:, _NOISY], axis=-1) / person_size(joints_px)
        scores = np.zeros(joints_px.shape[:2], np.float32)
        scores[:, _NOISY] = self._scores(rng, lengths)
        is_missing = bursts(rng, (frames, len(_NOISY)), self.missing_rate, self.missing_frames)
        is_missing |= is_outside[:, _NOISY] & (rng.random(len(_NOISY)) < self.outside_missing)
        limbs = noisy[:, _NOISY]
        limbs[is_missing] = np.nan
        noisy[:, _NOISY] = limbs
        scores[:, _NOISY] *= ~is_missing
        return rebuild_trunk(noisy), middle_scores(scores)

    def _errors(self, rng: np.random.Generator, frames: int) -> FloatArray:
        """(F, 13, 2), relative to the person's size."""
        steps = correlated(rng, (frames, len(_NOISY), 2), self.correlation)
        level = self.burst * correlated(rng, (frames, len(_NOISY), 1), self.burst_correlation)
        level += self.clip * np.float32(rng.normal())
        return steps * np.exp(level) * np.array(self.spread, np.float32)[_KIND_OF, None]

    def _swap(self, rng: np.random.Generator, joints: FloatArray) -> None:
        """Exchange left and right of the legs, and of the arms, in bursts."""
        is_swapped = bursts(rng, (len(joints), 2), self.swap_rate, self.swap_frames)
        for column, pairs in enumerate((_LEGS, _ARMS)):
            rows = np.flatnonzero(is_swapped[:, column])[:, None]
            left, right = (list(side) for side in zip(*pairs, strict=True))
            joints[rows, left + right] = joints[rows, right + left]

    def _scores(self, rng: np.random.Generator, lengths: NDArray[np.floating]) -> FloatArray:
        """(F, 13): drawn from the quantiles of the bin of each error."""
        table = np.array(self.score_quantiles, np.float32)
        steps = np.linspace(0.0, 1.0, table.shape[1])
        place = _normal_to_uniform(correlated(rng, lengths.shape, self.score_correlation))
        bins = np.searchsorted(np.array(self.error_edges), lengths)
        position = place * (table.shape[1] - 1)
        below = np.minimum(position.astype(np.int64), len(steps) - 2)
        part = (position - below).astype(np.float32)
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


def bursts(rng: np.random.Generator, shape: tuple[int, int], rate: float, mean_frames: float) -> BoolArray:
    """(F, N): runs of frames; in each column one begins with this chance in a frame, of geometric length with this mean."""
    frames, columns = shape
    found = np.zeros(shape, np.bool_)
    counts = rng.poisson(rate * frames, columns)
    for column in np.flatnonzero(counts):
        starts = rng.integers(0, frames, counts[column])
        lengths = rng.geometric(1.0 / max(mean_frames, 1.0), counts[column])
        for start, length in zip(starts, lengths, strict=True):
            found[start : start + length, column] = True
    return found


def _normal_to_uniform(values: FloatArray) -> FloatArray:
    """The share of a standard Gaussian below each value, to a thousandth."""
    # the logistic curve with this constant is within 0.01 of it; the cubic term brings it to 0.0002
    return np.asarray(1.0 / (1.0 + np.exp(-(1.5976 * values + 0.07056 * values**3))), np.float32)
