"""How well poses are estimated on labelled pictures: PCK and OKS AP, with the labelled boxes or with a detector's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from posecli.errors import FormatError
from posecli.evaluation.boxes import PersonDetector, detect_all
from posecli.evaluation.oks import PredictedPoses, keypoint_average_precision
from posecli.evaluation.pck import PckTable, pck
from posecli.evaluation.pictures import read_picture
from posecli.evaluation.reliability import ReliabilityBin, reliability
from posecli.formats.ground_truth import GroundTruth
from posecli.formats.rows import instance_scores
from posecli.geometry import iou_matrix
from posecli.records import Detections, FloatArray, ImageArray, IntArray
from posecli.skeletons import POSECLI19

BATCH_PERSONS = 16
MIN_MATCH_IOU = 0.3
"""Below this overlap a detected box is not taken for a labelled person."""


class ImagePoseEstimator(Protocol):
    """What is judged here; `posecli.pose.estimator.PoseEstimator` is one."""

    def estimate_images(
        self, images: Sequence[ImageArray], boxes: Sequence[FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """Poses of N people, one picture (H, W, 3) RGB and one box (4,) xyxy px each.

        Returns:
            Keypoints (N, 19, 2) px of the pictures and scores (N, 19) in [0, 1].
        """
        ...


@dataclass(frozen=True, slots=True)
class KeypointReport:
    """Pose metrics in per cent; ``None`` where nothing is labelled. ``num_found`` of ``num_persons`` had a box."""

    boxes: Literal["given", "detected"]
    num_images: int
    num_persons: int
    num_found: int
    pck: PckTable
    oks: dict[str, float | None]
    reliability: tuple[ReliabilityBin, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "boxes": self.boxes,
            "num_images": self.num_images,
            "num_persons": self.num_persons,
            "num_found": self.num_found,
            **self.pck,
            "oks": self.oks,
            "reliability": [part.to_json() for part in self.reliability],
        }

    def rows(self) -> list[tuple[str, float | None]]:
        """Name and per cent, for a table."""
        limb = [(f"{name}, limb points", groups["limb"]) for name, groups in self.pck.items()]
        everything = [(f"{name}, all points", groups["all"]) for name, groups in self.pck.items()]
        oks = [(f"OKS {key.upper()}", value) for key, value in self.oks.items()]
        right = [
            (f"right (PCK@0.1 box) at score {part.low:.1f} to {part.high:.1f}, {part.num_points} points", part.correct)
            for part in self.reliability
            if part.num_points
        ]
        return [*limb, *everything, *oks, *right]


def evaluate_keypoints(
    estimator: ImagePoseEstimator,
    ground_truth: GroundTruth,
    images_dir: Path,
    *,
    boxes: Literal["given", "detected"] = "given",
    detector: PersonDetector | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> KeypointReport:
    """Estimate the pose of labelled people and judge it.

    With given boxes every labelled person (no crowds, at least one keypoint) is estimated in its own box. With detected boxes every
    detection is estimated; OKS AP judges all of them, PCK the one that overlaps each person best (one to one, IoU at least 0.3);
    all points of a person without one count as missed.

    Args:
        estimator: The estimator.
        ground_truth: The labels.
        images_dir: Where the pictures lie.
        boxes: Whose boxes.
        detector: Needed for detected boxes.
        progress: Called with (people done, people in all), after detection.

    Raises:
        FormatError: The labels hold no keypoints.
        VideoError: A picture is missing or cannot be decoded.
        ValueError: Detected boxes are wanted without a detector.
    """
    people = np.flatnonzero(ground_truth.has_keypoints)
    if len(people) == 0:
        raise FormatError(f"{ground_truth.path}: no labelled keypoints", hint="boxes alone can only judge a detector")
    if boxes == "given":
        task = _Task(ground_truth.image_ids[people], ground_truth.boxes[people], np.ones(len(people), np.float32))
        chosen = np.arange(len(people))
    else:
        if detector is None:
            raise ValueError("detected boxes need a detector")
        task = _task_of(detect_all(detector, ground_truth, images_dir))
        chosen = _match_people(task, ground_truth, people)
    keypoints, scores = _estimate(estimator, task, ground_truth, images_dir, progress)
    poses = PredictedPoses(task.image_ids, keypoints, instance_scores(scores, task.box_scores))
    missed = np.full((1, len(POSECLI19), 2), np.nan, np.float32)
    judged = np.concatenate([keypoints, missed])[chosen]
    judged_scores = np.concatenate([scores, np.zeros((1, len(POSECLI19)), np.float32)])[chosen]
    return KeypointReport(
        boxes=boxes,
        num_images=len(np.unique(ground_truth.image_ids[people])),
        num_persons=len(people),
        num_found=int((chosen >= 0).sum()),
        pck=pck(judged, ground_truth.keypoints[people], ground_truth.boxes[people]),
        oks=keypoint_average_precision(poses, ground_truth),
        reliability=reliability(judged, judged_scores, ground_truth.keypoints[people], ground_truth.boxes[people]),
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """People to estimate: ``image_ids`` (N,), ``boxes`` (N, 4) xyxy px, ``box_scores`` (N,)."""

    image_ids: IntArray
    boxes: FloatArray
    box_scores: FloatArray


def _task_of(found: Mapping[int, Detections]) -> _Task:
    ids = [np.full(len(d.scores), image_id, np.int64) for image_id, d in found.items()]
    return _Task(
        np.concatenate([np.zeros(0, np.int64), *ids]),
        np.concatenate([np.zeros((0, 4), np.float32), *(d.boxes for d in found.values())]),
        np.concatenate([np.zeros(0, np.float32), *(d.scores for d in found.values())]),
    )


def _match_people(task: _Task, ground_truth: GroundTruth, people: IntArray) -> IntArray:
    """(P,): for each labelled person its box in the task, or -1; greedy by IoU, one to one."""
    chosen = np.full(len(people), -1, np.int64)
    for image_id in np.unique(ground_truth.image_ids[people]):
        members = np.flatnonzero(ground_truth.image_ids[people] == image_id)
        candidates = np.flatnonzero(task.image_ids == image_id)
        overlap = iou_matrix(ground_truth.boxes[people[members]], task.boxes[candidates])
        while overlap.size and overlap.max() >= MIN_MATCH_IOU:
            person, candidate = np.unravel_index(int(overlap.argmax()), overlap.shape)
            chosen[members[person]] = candidates[candidate]
            overlap[person, :], overlap[:, candidate] = -1.0, -1.0
    return chosen


def _estimate(
    estimator: ImagePoseEstimator,
    task: _Task,
    ground_truth: GroundTruth,
    images_dir: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[FloatArray, FloatArray]:
    total = len(task.image_ids)
    keypoints = [np.zeros((0, len(POSECLI19), 2), np.float32)]
    scores = [np.zeros((0, len(POSECLI19)), np.float32)]
    done = 0
    people = _pictures_and_boxes(task, ground_truth, images_dir)
    while batch := list(islice(people, BATCH_PERSONS)):
        points, values = estimator.estimate_images([picture for picture, _ in batch], [box for _, box in batch])
        keypoints.append(points)
        scores.append(values)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return np.concatenate(keypoints), np.concatenate(scores)


def _pictures_and_boxes(
    task: _Task, ground_truth: GroundTruth, images_dir: Path
) -> Iterator[tuple[ImageArray, FloatArray]]:
    """Pictures are read once for neighbours of the same image."""
    images = {image.image_id: image for image in ground_truth.images}
    last_id, picture = None, np.zeros((0, 0, 3), np.uint8)
    for image_id, box in zip(task.image_ids.tolist(), task.boxes, strict=True):
        if image_id != last_id:
            last_id, picture = image_id, read_picture(images_dir, images[image_id])
        yield picture, box
