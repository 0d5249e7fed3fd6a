"""Predicted people against labelled ones: PCK, OKS AP, how far scores can be trusted, and each person's own marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from posecli.errors import FormatError
from posecli.evaluation.oks import keypoint_average_precision, paired_similarity
from posecli.evaluation.pck import PCK_CRITERIA, PckTable, box_lengths, pck
from posecli.evaluation.predictions import PredictedPeople
from posecli.evaluation.reliability import ReliabilityBin, reliability
from posecli.formats.ground_truth import GroundTruth
from posecli.records import FloatArray, IntArray
from posecli.skeletons import POSECLI19

BoxOrigin = Literal["given", "detected", "predicted"]
"""Whose boxes: the labelled ones, a detector's, or those of a poses file."""


@dataclass(frozen=True, slots=True)
class PersonMarks:
    """How P labelled people fared, one by one.

    ``truth_rows`` (P,) in the labels; ``rows`` (P,) in the predictions, -1 for people without one; ``keypoints`` (P, 19, 2) px, NaN
    where missing; ``point_scores`` (P, 19); ``oks`` (P,) in [0, 1]; ``pck`` (P,) share of the labelled points within a tenth of the
    longer side of the box, in [0, 1]; ``error`` (P,) mean distance over that side, infinite without a prediction.
    """

    truth_rows: IntArray
    rows: IntArray
    keypoints: FloatArray
    point_scores: FloatArray
    oks: NDArray[np.float64]
    pck: NDArray[np.float64]
    error: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def worst(self) -> IntArray:
        """(P,) indices of people: lowest OKS first, of equals lowest PCK, then farthest away."""
        return np.lexsort((-self.error, self.pck, self.oks)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class KeypointReport:
    """Pose metrics in per cent; ``None`` where nothing is labelled. ``num_found`` of ``num_persons`` had a box."""

    boxes: BoxOrigin
    num_images: int
    num_persons: int
    num_found: int
    pck: PckTable
    oks: dict[str, float | None]
    reliability: tuple[ReliabilityBin, ...]
    people: PersonMarks
    motion: dict[str, float | None] | None = None
    """Of videos: see `posecli.evaluation.jitter.motion_against_labels`."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object, without the marks of single people."""
        return {
            "boxes": self.boxes,
            "num_images": self.num_images,
            "num_persons": self.num_persons,
            "num_found": self.num_found,
            **self.pck,
            "oks": self.oks,
            "reliability": [part.to_json() for part in self.reliability],
            **({} if self.motion is None else {"motion": self.motion}),
        }

    def rows(self) -> list[tuple[str, float | None]]:
        """Name and per cent, for a table."""
        limb = [(f"{name}, limb points", groups["limb"]) for name, groups in self.pck.items()]
        everything = [(f"{name}, all points", groups["all"]) for name, groups in self.pck.items()]
        oks = [(f"OKS {key.upper()}", value) for key, value in self.oks.items()]
        motion = [(f"acceleration, {key} (% of box / frame2)", value) for key, value in (self.motion or {}).items()]
        right = [
            (f"right (PCK@0.1 box) at score {part.low:.1f} to {part.high:.1f}, {part.num_points} points", part.correct)
            for part in self.reliability
            if part.num_points
        ]
        return [*limb, *everything, *oks, *motion, *right]

    def keypoint_rows(self) -> list[tuple[str, list[float | None]]]:
        """For each labelled keypoint its PCK by every criterion, in the order of `PCK_CRITERIA`."""
        table = [
            (name, [self.pck[criterion]["per_keypoint"][name] for criterion in PCK_CRITERIA])
            for name in POSECLI19.keypoint_names
        ]
        return [(name, values) for name, values in table if any(value is not None for value in values)]


def labelled_people(truth: GroundTruth) -> IntArray:
    """(P,) rows of the people whose pose is judged.

    Raises:
        FormatError: There are none.
    """
    people = np.flatnonzero(truth.has_keypoints)
    if len(people) == 0:
        raise FormatError(f"{truth.path}: no labelled keypoints", hint="boxes alone can only judge a detector")
    return people


def judge_people(
    people: PredictedPeople, truth: GroundTruth, chosen: IntArray, *, boxes: BoxOrigin = "given"
) -> KeypointReport:
    """Judge predictions whose people are known.

    Args:
        people: All predictions, for OKS AP.
        truth: The labels.
        chosen: (P,): for each of `labelled_people` its row in ``people`` (see `posecli.evaluation.matching`), or -1: then all its
            points count as missed.
        boxes: Whose boxes.

    Raises:
        FormatError: The labels hold no keypoints.
    """
    rows = labelled_people(truth)
    marks = _marks(people, truth, rows, chosen)
    labels, corners = truth.keypoints[rows], truth.boxes[rows]
    return KeypointReport(
        boxes=boxes,
        num_images=len(np.unique(truth.image_ids[rows])),
        num_persons=len(rows),
        num_found=int((chosen >= 0).sum()),
        pck=pck(marks.keypoints, labels, corners),
        oks=keypoint_average_precision(people.poses, truth),
        reliability=reliability(marks.keypoints, marks.point_scores, labels, corners),
        people=marks,
    )


def _marks(people: PredictedPeople, truth: GroundTruth, rows: IntArray, chosen: IntArray) -> PersonMarks:
    missed = np.full((1, len(POSECLI19), 2), np.nan, np.float32)
    keypoints = np.concatenate([people.keypoints, missed])[chosen]
    scores = np.concatenate([people.point_scores, np.zeros((1, len(POSECLI19)), np.float32)])[chosen]
    labels, points = truth.keypoints[rows], truth.labelled_points
    distances = np.linalg.norm(keypoints.astype(np.float64) - labels[..., :2], axis=-1)
    relative = np.nan_to_num(distances, nan=np.inf) / np.maximum(box_lengths(truth.boxes[rows]), 1e-9)[:, None]
    is_labelled = labels[..., 2] > 0
    count = np.maximum(is_labelled.sum(axis=1), 1)
    return PersonMarks(
        truth_rows=rows,
        rows=chosen,
        keypoints=keypoints,
        point_scores=scores,
        oks=paired_similarity(
            keypoints[:, points],
            labels[:, points],
            truth.areas[rows],
            truth.boxes[rows],
            POSECLI19.sigma_array[points],
        ),
        pck=((relative < 0.1) & is_labelled).sum(axis=1) / count,
        error=np.where(is_labelled, relative, 0.0).sum(axis=1) / count,
    )
