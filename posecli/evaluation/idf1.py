"""IDF1: one predicted track stands for each labelled person over the whole clip, chosen so that most boxes fit (TrackEval's rules)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from posecli.evaluation.clip_tracks import ClipTracks

MIN_SIMILARITY = 0.5
_FORBIDDEN = 1e10


@dataclass(frozen=True, slots=True)
class IdentityCounts:
    """Boxes of people whose track stands for them (``num_right``), labelled and predicted ones left over; clips add up."""

    num_right: int = 0
    num_missed: int = 0
    num_false: int = 0

    def idf1(self) -> float | None:
        """In per cent; ``None`` without labels."""
        total = self.num_right + 0.5 * self.num_missed + 0.5 * self.num_false
        return 100.0 * self.num_right / total if self.num_right + self.num_missed else None

    def recall(self) -> float | None:
        """Labelled boxes with the right identity, per cent."""
        labelled = self.num_right + self.num_missed
        return 100.0 * self.num_right / labelled if labelled else None

    def precision(self) -> float | None:
        """Predicted boxes with the right identity, per cent."""
        predicted = self.num_right + self.num_false
        return 100.0 * self.num_right / predicted if predicted else None


def count_identities(clip: ClipTracks, *, min_similarity: float = MIN_SIMILARITY) -> IdentityCounts:
    """Choose tracks for people in one clip."""
    num_truth, num_predicted = clip.num_truth_ids, clip.num_predicted_ids
    together = np.zeros((num_truth, num_predicted))
    for frame in clip.frames:
        truths, tracks = np.nonzero(frame.similarity >= min_similarity)
        together[frame.truth_ids[truths], frame.predicted_ids[tracks]] += 1
    truth_counts, predicted_counts = clip.truth_counts().astype(float), clip.predicted_counts().astype(float)
    # people may stay without a track and tracks without a person: the added rows and columns stand for nobody
    size = num_truth + num_predicted
    missed, false = np.zeros((size, size)), np.zeros((size, size))
    missed[:num_truth, num_predicted:] = _FORBIDDEN
    false[num_truth:, :num_predicted] = _FORBIDDEN
    missed[:num_truth, :num_predicted] = truth_counts[:, None] - together
    false[:num_truth, :num_predicted] = predicted_counts[None] - together
    people, tracks = np.arange(num_truth), np.arange(num_predicted)
    missed[people, num_predicted + people] = truth_counts
    false[num_truth + tracks, tracks] = predicted_counts
    rows, columns = linear_sum_assignment(missed + false)
    num_missed = int(missed[rows, columns].sum())
    return IdentityCounts(int(truth_counts.sum()) - num_missed, num_missed, int(false[rows, columns].sum()))


def add_identities(parts: Sequence[IdentityCounts]) -> IdentityCounts:
    """The counts of several clips together."""
    return IdentityCounts(
        sum(part.num_right for part in parts),
        sum(part.num_missed for part in parts),
        sum(part.num_false for part in parts),
    )
