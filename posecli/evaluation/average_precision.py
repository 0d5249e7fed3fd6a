"""Average precision as COCO defines it, whatever the similarity (box IoU or OKS).

Legend: D detections of an image (best score first), G ground truths, H thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.records import BoolArray, IntArray

THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class ImageMatches:
    """Who found whom in one image.

    ``scores`` (D,) descending; ``matched_truths`` (H, D): the ground truth each detection found, -1 for none; ``is_matched`` and
    ``is_ignored`` (H, D): detections that found one, and those that count neither way because theirs is ignored; ``is_found`` (H, G);
    ground truths in the order given; ``num_truths`` that count.
    """

    scores: NDArray[np.float64]
    matched_truths: IntArray
    is_matched: BoolArray
    is_ignored: BoolArray
    is_found: BoolArray
    num_truths: int


@dataclass(frozen=True, slots=True)
class PrecisionTable:
    """``ap`` (H,) and ``recall`` (H,) in [0, 1], by threshold; NaN when there is no ground truth."""

    ap: NDArray[np.float64]
    recall: NDArray[np.float64]

    def ap_at(self, threshold: float) -> float | None:
        """AP at one of `THRESHOLDS`, in per cent."""
        return _per_cent(self.ap[np.isclose(THRESHOLDS, threshold)])

    def mean_ap(self) -> float | None:
        """AP over all thresholds, in per cent."""
        return _per_cent(self.ap)

    def mean_recall(self) -> float | None:
        """Recall over all thresholds (COCO's AR), in per cent."""
        return _per_cent(self.recall)


def match_image(
    similarity: NDArray[np.float64], scores: NDArray[np.floating], is_crowd: BoolArray, is_ignored: BoolArray
) -> ImageMatches:
    """Match the detections of one image greedily, best score first, at every threshold.

    Args:
        similarity: (D, G) in the order of ``scores``.
        scores: (D,), in any order.
        is_crowd: (G,): may be matched any number of times.
        is_ignored: (G,): counts neither as found nor as missed; crowds are always ignored.

    Returns:
        The matches, detections sorted by score.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    is_ignored = is_ignored | is_crowd
    # Ignored ground truths come last: a detection takes one only when it fits no other.
    truth_order = np.argsort(is_ignored, kind="stable")
    ordered = similarity[order][:, truth_order]
    crowd, ignored = is_crowd[truth_order], is_ignored[truth_order]
    shape = (len(THRESHOLDS), len(order))
    matches = np.full(shape, -1)
    is_found = np.zeros((len(THRESHOLDS), len(crowd)), np.bool_)
    for h, threshold in enumerate(THRESHOLDS):
        is_similar = ordered >= min(threshold, 1 - 1e-10)
        for d in np.flatnonzero(is_similar.any(axis=1)):
            best = _best_truth(ordered[d], is_similar[d] & (~is_found[h] | crowd), ignored)
            matches[h, d] = best
            if best >= 0:
                is_found[h, best] = True
    unordered = np.zeros_like(is_found)
    unordered[:, truth_order] = is_found
    is_matched = matches >= 0
    return ImageMatches(
        scores=np.asarray(scores, np.float64)[order],
        matched_truths=np.append(truth_order, -1)[matches].astype(np.int64),
        is_matched=is_matched,
        is_ignored=is_matched & ignored[matches] if len(ignored) else is_matched,
        is_found=unordered,
        num_truths=int((~is_ignored).sum()),
    )


def average_precision(images: Sequence[ImageMatches]) -> PrecisionTable:
    """Pool the matches of all images; 101-point interpolated precision, COCO's rule.

    Images must come in a fixed order: it decides between equal scores.
    """
    num_truths = sum(image.num_truths for image in images)
    if num_truths == 0:
        nothing = np.full(len(THRESHOLDS), np.nan)
        return PrecisionTable(nothing, nothing)
    order = np.argsort(-np.concatenate([image.scores for image in images]), kind="stable")
    is_matched = np.concatenate([image.is_matched for image in images], axis=1)[:, order]
    is_ignored = np.concatenate([image.is_ignored for image in images], axis=1)[:, order]
    true_positives = np.cumsum(is_matched & ~is_ignored, axis=1, dtype=np.float64)
    false_positives = np.cumsum(~is_matched & ~is_ignored, axis=1, dtype=np.float64)
    recall = true_positives / num_truths
    precision = true_positives / np.maximum(true_positives + false_positives, np.spacing(1.0))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    ap = np.array([_interpolated_mean(r, p) for r, p in zip(recall, envelope, strict=True)])
    return PrecisionTable(ap, recall[:, -1] if len(order) else np.zeros(len(THRESHOLDS)))


def _best_truth(similarities: NDArray[np.float64], is_open: BoolArray, ignored: BoolArray) -> int:
    """The most similar open ground truth, the last of equals, ignored ones only if there is no other; -1 for none."""
    for group in (~ignored, ignored):
        candidates = np.flatnonzero(is_open & group)
        if len(candidates):
            best = similarities[candidates].max()
            return int(candidates[similarities[candidates] == best][-1])
    return -1


def _interpolated_mean(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    index = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[index].mean())


def _per_cent(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values).any() else float(100.0 * values.mean())
