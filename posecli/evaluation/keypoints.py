"""How well poses are estimated on labelled pictures: PCK and OKS AP, with the labelled boxes or with a detector's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from posecli.evaluation.boxes import PersonDetector, detect_all
from posecli.evaluation.judgement import KeypointReport, judge_people, labelled_people
from posecli.evaluation.matching import match_people
from posecli.evaluation.pictures import read_picture
from posecli.evaluation.predictions import untracked_people
from posecli.formats.ground_truth import GroundTruth
from posecli.records import Detections, FloatArray, ImageArray, IntArray
from posecli.skeletons import POSECLI19

BATCH_PERSONS = 16


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
    detection is estimated; OKS AP judges all of them, PCK the one that fits each person best (see `posecli.evaluation.matching`); all
    points of a person without one count as missed.

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
    people = labelled_people(ground_truth)
    if boxes == "given":
        task = _Task(ground_truth.image_ids[people], ground_truth.boxes[people], np.ones(len(people), np.float32))
    else:
        if detector is None:
            raise ValueError("detected boxes need a detector")
        task = _task_of(detect_all(detector, ground_truth, images_dir))
    keypoints, scores = estimate_people(
        estimator, ground_truth, images_dir, task.image_ids, task.boxes, progress=progress
    )
    found = untracked_people(task.image_ids, keypoints, scores, task.boxes, task.box_scores)
    chosen = np.arange(len(people)) if boxes == "given" else match_people(found, ground_truth, people)
    return judge_people(found, ground_truth, chosen, boxes=boxes)


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


def estimate_people(
    estimator: ImagePoseEstimator,
    ground_truth: GroundTruth,
    images_dir: Path,
    image_ids: IntArray,
    boxes: FloatArray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Estimate the pose of people in labelled pictures, a few at a time.

    Args:
        estimator: The estimator.
        ground_truth: Names the pictures.
        images_dir: Where they lie.
        image_ids: (N,) the picture of each person.
        boxes: (N, 4) xyxy px.
        progress: Called with (people done, people in all).

    Returns:
        (N, 19, 2) px of the pictures and (N, 19) scores.

    Raises:
        VideoError: A picture is missing or cannot be decoded.
    """
    total = len(image_ids)
    keypoints = [np.zeros((0, len(POSECLI19), 2), np.float32)]
    scores = [np.zeros((0, len(POSECLI19)), np.float32)]
    done = 0
    people = _pictures_and_boxes(image_ids, boxes, ground_truth, images_dir)
    while batch := list(islice(people, BATCH_PERSONS)):
        points, values = estimator.estimate_images([picture for picture, _ in batch], [box for _, box in batch])
        keypoints.append(points)
        scores.append(values)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return np.concatenate(keypoints), np.concatenate(scores)


def _pictures_and_boxes(
    image_ids: IntArray, boxes: FloatArray, ground_truth: GroundTruth, images_dir: Path
) -> Iterator[tuple[ImageArray, FloatArray]]:
    """Pictures are read once for neighbours of the same image."""
    images = {image.image_id: image for image in ground_truth.images}
    last_id, picture = None, np.zeros((0, 0, 3), np.uint8)
    for image_id, box in zip(image_ids.tolist(), boxes, strict=True):
        if image_id != last_id:
            last_id, picture = image_id, read_picture(images_dir, images[image_id])
        yield picture, box
