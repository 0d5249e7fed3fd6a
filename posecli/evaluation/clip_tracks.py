"""Who is where in one clip, labelled and predicted, as the tracking metrics want it.

Legend: F labelled frames, G labelled people, P predicted tracks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from posecli.errors import FormatError
from posecli.evaluation.oks import object_keypoint_similarity
from posecli.evaluation.overlap import covered_fraction, overlap
from posecli.evaluation.predictions import PredictedPeople
from posecli.evaluation.video_labels import NO_TRACK, VideoLabels
from posecli.records import BoolArray, IntArray
from posecli.skeletons import POSECLI19

Criterion = Literal["box", "oks"]
"""How alike two people are: by the overlap (IoU) of their boxes, or by their poses (OKS)."""

_MIN_SIMILARITY = 0.5
_MIN_COVERED = 0.5


@dataclass(frozen=True, slots=True)
class FrameTracks:
    """One frame: ``truth_ids`` (g,) and ``predicted_ids`` (p,), counted from 0 over the clip; ``similarity`` (g, p) in [0, 1]."""

    truth_ids: IntArray
    predicted_ids: IntArray
    similarity: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClipTracks:
    """A clip: every labelled frame in order; ``truth_names`` (G,) and ``predicted_names`` (P,) are the track ids of the files."""

    frames: tuple[FrameTracks, ...]
    frame_indices: IntArray
    truth_names: IntArray
    predicted_names: IntArray

    @property
    def num_truth_ids(self) -> int:
        """G."""
        return len(self.truth_names)

    @property
    def num_predicted_ids(self) -> int:
        """P."""
        return len(self.predicted_names)

    def truth_counts(self) -> IntArray:
        """(G,): in how many frames each person is."""
        return _counts([frame.truth_ids for frame in self.frames], self.num_truth_ids)

    def predicted_counts(self) -> IntArray:
        """(P,): in how many frames each track is."""
        return _counts([frame.predicted_ids for frame in self.frames], self.num_predicted_ids)


def clip_tracks(people: PredictedPeople, labels: VideoLabels, *, criterion: Criterion = "box") -> ClipTracks:
    """Bring labels and predictions of one clip together.

    Crowds are not people to be tracked; nor is, by ``oks``, anybody without a labelled keypoint. A prediction that matches no person
    counts neither way when more than half of its box lies within one of those.

    Args:
        people: The predictions, with tracks.
        labels: The labels.
        criterion: What makes two people alike.

    Raises:
        FormatError: A labelled person has no track.
    """
    truth = labels.truth
    is_judged = ~truth.is_crowd if criterion == "box" else truth.has_keypoints
    if (labels.track_ids[is_judged] == NO_TRACK).any():
        first = int(truth.annotation_ids[is_judged & (labels.track_ids == NO_TRACK)][0])
        raise FormatError(f"{truth.path}: annotation {first} has no track_id", hint="tracking needs one for everybody")
    order = np.argsort(labels.frame_indices, kind="stable")
    rows_by_image = truth.rows_by_image()
    sides = []
    for place in order:
        image_id = truth.images[place].image_id
        rows = rows_by_image[image_id]
        found = np.flatnonzero(people.image_ids == image_id)
        judged, ignored = rows[is_judged[rows]], rows[~is_judged[rows]]
        similarity = _SIMILARITIES[criterion](people, labels, judged, found)
        is_kept = ~_is_excused(people, labels, ignored, found, similarity)
        sides.append((judged, found[is_kept], similarity[:, is_kept]))
    truth_names, predicted_names = _names(labels.track_ids, sides, 0), _names(people.track_ids, sides, 1)
    frames = [
        FrameTracks(
            np.searchsorted(truth_names, labels.track_ids[judged]).astype(np.int64),
            np.searchsorted(predicted_names, people.track_ids[found]).astype(np.int64),
            similarity,
        )
        for judged, found, similarity in sides
    ]
    return ClipTracks(tuple(frames), labels.frame_indices[order], truth_names, predicted_names)


def _box_similarity(
    people: PredictedPeople, labels: VideoLabels, judged: IntArray, found: IntArray
) -> NDArray[np.float64]:
    return overlap(labels.truth.boxes[judged], people.boxes[found])


def _pose_similarity(
    people: PredictedPeople, labels: VideoLabels, judged: IntArray, found: IntArray
) -> NDArray[np.float64]:
    truth = labels.truth
    points = truth.labelled_points
    predicted, labelled = people.keypoints[found][:, points], truth.keypoints[judged][:, points]
    sigmas = POSECLI19.sigma_array[points]
    return object_keypoint_similarity(predicted, labelled, truth.areas[judged], truth.boxes[judged], sigmas).T


_SIMILARITIES: dict[Criterion, Callable[[PredictedPeople, VideoLabels, IntArray, IntArray], NDArray[np.float64]]] = {
    "box": _box_similarity,
    "oks": _pose_similarity,
}


def _is_excused(
    people: PredictedPeople,
    labels: VideoLabels,
    ignored: IntArray,
    found: IntArray,
    similarity: NDArray[np.float64],
) -> BoolArray:
    """(p,): predictions of people who are not judged."""
    if len(ignored) == 0:
        return np.zeros(len(found), np.bool_)
    gain = np.where(similarity >= _MIN_SIMILARITY, similarity, 0.0)
    rows, columns = linear_sum_assignment(-gain)
    is_matched = np.zeros(len(found), np.bool_)
    is_matched[columns[gain[rows, columns] > 0]] = True
    covered = covered_fraction(people.boxes[found], labels.truth.boxes[ignored]).max(axis=1, initial=0.0)
    return np.asarray(~is_matched & (covered > _MIN_COVERED), np.bool_)


def _names(
    track_ids: IntArray, sides: list[tuple[IntArray, IntArray, NDArray[np.float64]]], side: Literal[0, 1]
) -> IntArray:
    rows = np.concatenate([np.zeros(0, np.int64), *(frame[side] for frame in sides)])
    return np.unique(track_ids[rows])


def _counts(ids: list[IntArray], number: int) -> IntArray:
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *ids]), minlength=number).astype(np.int64)
