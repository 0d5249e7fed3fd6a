"""HOTA, higher order tracking accuracy (Luiten et al. 2020), by the rules of TrackEval: detection and association weigh alike.

Legend: A thresholds, G labelled people, P predicted tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from posecli.evaluation.clip_tracks import ClipTracks

THRESHOLDS: NDArray[np.float64] = np.arange(0.05, 0.99, 0.05)
_EPSILON = float(np.finfo("float").eps)


@dataclass(frozen=True, slots=True)
class HotaCounts:
    """What HOTA is made of, (A,) each; the counts of clips add up. ``association`` sums, over matches, how well their tracks agree."""

    num_matched: NDArray[np.float64]
    num_missed: NDArray[np.float64]
    num_false: NDArray[np.float64]
    association: NDArray[np.float64]
    similarity: NDArray[np.float64]

    def hota(self) -> float | None:
        """Mean over the thresholds of the root of DetA x AssA, per cent; ``None`` without labels."""
        return self._mean(np.sqrt(self._detection() * self._association()))

    def det_a(self) -> float | None:
        """Detection accuracy, per cent."""
        return self._mean(self._detection())

    def ass_a(self) -> float | None:
        """Association accuracy, per cent."""
        return self._mean(self._association())

    def loc_a(self) -> float | None:
        """Localisation accuracy: mean similarity of matches, per cent; a threshold without matches counts as perfect."""
        return self._mean(np.maximum(1e-10, self.similarity) / np.maximum(1e-10, self.num_matched))

    def _detection(self) -> NDArray[np.float64]:
        return self.num_matched / np.maximum(1.0, self.num_matched + self.num_missed + self.num_false)

    def _association(self) -> NDArray[np.float64]:
        return self.association / np.maximum(1.0, self.num_matched)

    def _mean(self, values: NDArray[np.float64]) -> float | None:
        return float(100.0 * values.mean()) if (self.num_matched + self.num_missed).any() else None


def count_hota(clip: ClipTracks) -> HotaCounts:
    """Match one clip at every threshold; the same pairs at all of them, those that agree over the whole clip preferred."""
    together = np.zeros((clip.num_truth_ids, clip.num_predicted_ids))
    for frame in clip.frames:
        shared = frame.similarity.sum(axis=0)[None] + frame.similarity.sum(axis=1)[:, None] - frame.similarity
        part = np.divide(frame.similarity, shared, out=np.zeros_like(frame.similarity), where=shared > _EPSILON)
        together[np.ix_(frame.truth_ids, frame.predicted_ids)] += part
    appearances = clip.truth_counts()[:, None] + clip.predicted_counts()[None]
    agreement = together / np.maximum(appearances - together, _EPSILON)
    num_thresholds = len(THRESHOLDS)
    pairs = np.zeros((num_thresholds, *together.shape))
    num_matched, similarity = np.zeros(num_thresholds), np.zeros(num_thresholds)
    for frame in clip.frames:
        gain = agreement[np.ix_(frame.truth_ids, frame.predicted_ids)] * frame.similarity
        rows, columns = linear_sum_assignment(-gain)
        likeness = frame.similarity[rows, columns]
        is_match = likeness[None] >= THRESHOLDS[:, None] - _EPSILON
        pairs[:, frame.truth_ids[rows], frame.predicted_ids[columns]] += is_match
        num_matched += is_match.sum(axis=1)
        similarity += (is_match * likeness[None]).sum(axis=1)
    accuracy = pairs / np.maximum(1.0, appearances[None] - pairs)
    return HotaCounts(
        num_matched=num_matched,
        num_missed=clip.truth_counts().sum() - num_matched,
        num_false=clip.predicted_counts().sum() - num_matched,
        association=(pairs * accuracy).sum(axis=(1, 2)),
        similarity=similarity,
    )


def add_hota(parts: Sequence[HotaCounts]) -> HotaCounts:
    """The counts of several clips together."""
    nothing = np.zeros(len(THRESHOLDS))
    return HotaCounts(
        num_matched=sum((part.num_matched for part in parts), nothing),
        num_missed=sum((part.num_missed for part in parts), nothing),
        num_false=sum((part.num_false for part in parts), nothing),
        association=sum((part.association for part in parts), nothing),
        similarity=sum((part.similarity for part in parts), nothing),
    )
