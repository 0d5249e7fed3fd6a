"""Which predicted person is which labelled one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posecli.evaluation.oks import object_keypoint_similarity
from posecli.evaluation.predictions import PredictedPeople
from posecli.formats.ground_truth import GroundTruth
from posecli.geometry import iou_matrix
from posecli.records import IntArray
from posecli.skeletons import POSECLI19

MIN_MATCH_IOU = 0.3
"""Below this overlap a predicted box is not taken for a labelled person."""
MIN_MATCH_OKS = 0.3
"""Below this similarity a predicted pose is not taken for a labelled person."""


def match_people(people: PredictedPeople, truth: GroundTruth, rows: IntArray) -> IntArray:
    """Find a prediction for each labelled person: one to one within an image, greedily.

    By the overlap of boxes first; among those then left over by the similarity of poses, for labelled boxes may show only the visible
    part of somebody.

    Args:
        people: The predictions.
        truth: The labels.
        rows: (P,) labelled people.

    Returns:
        (P,): for each its row in ``people``, or -1.
    """
    chosen = np.full(len(rows), -1, np.int64)
    order = np.argsort(people.image_ids, kind="stable")
    ids = people.image_ids[order]
    for image_id in np.unique(truth.image_ids[rows]):
        members = np.flatnonzero(truth.image_ids[rows] == image_id)
        start, stop = np.searchsorted(ids, [image_id, image_id + 1])
        candidates = order[start:stop]
        overlap = iou_matrix(truth.boxes[rows[members]], people.boxes[candidates]).astype(np.float64)
        pairs = _greedy(overlap, MIN_MATCH_IOU)
        likeness = _likeness(people, truth, rows[members], candidates)
        for person, candidate in pairs:
            likeness[person, :], likeness[:, candidate] = -1.0, -1.0
        for person, candidate in [*pairs, *_greedy(likeness, MIN_MATCH_OKS)]:
            chosen[members[person]] = candidates[candidate]
    return chosen


def _likeness(people: PredictedPeople, truth: GroundTruth, rows: IntArray, candidates: IntArray) -> NDArray[np.float64]:
    """(P, D) OKS."""
    points = truth.labelled_points
    predicted, labelled = people.keypoints[candidates][:, points], truth.keypoints[rows][:, points]
    sigmas = POSECLI19.sigma_array[points]
    return object_keypoint_similarity(predicted, labelled, truth.areas[rows], truth.boxes[rows], sigmas).T


def _greedy(similarity: NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """Pairs (row, column), the most similar first, each row and column once."""
    left, pairs = similarity.copy(), []
    while left.size and left.max() >= least:
        row, column = (int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        pairs.append((row, column))
        left[row, :], left[:, column] = -1.0, -1.0
    return pairs
