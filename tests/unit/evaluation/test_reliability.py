"""Scores against hits, by hand."""

from __future__ import annotations

import numpy as np

from posecli.evaluation.reliability import reliability


def test_points_are_counted_in_the_bin_of_their_score() -> None:
    truth = np.zeros((2, 19, 3), np.float32)
    truth[:, :4, 2] = 2  # four labelled points each, all at the origin
    boxes = np.array([[0, 0, 50, 100], [0, 0, 200, 20]], np.float32)  # right within 10 and within 20 px
    keypoints = np.zeros((2, 19, 2), np.float32)
    keypoints[0, 0] = 9.0, 0.0
    keypoints[0, 1] = 11.0, 0.0
    keypoints[1, 0] = 19.0, 0.0
    keypoints[1, 1] = np.nan
    scores = np.full((2, 19), 0.05, np.float32)
    scores[0, :2] = 0.35
    scores[1, 0] = 1.0
    bins = reliability(keypoints, scores, truth, boxes)
    assert [part.num_points for part in bins] == [4, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert bins[3].correct == 50.0
    assert bins[0].correct == bins[9].correct == 100.0
    assert bins[1].correct is None
