"""Predicted people to be judged: of a poses file, or straight from an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from posecli.errors import FormatError
from posecli.evaluation.oks import PredictedPoses
from posecli.evaluation.video_labels import NO_TRACK, VideoLabels
from posecli.formats.rows import instance_scores
from posecli.records import Annotation, FloatArray, IntArray, PoseSequence
from posecli.skeletons import POSECLI19, convert_keypoints, get_skeleton

_K = len(POSECLI19)


@dataclass(frozen=True, slots=True)
class PredictedPeople:
    """D people found in labelled images.

    ``image_ids`` (D,); ``keypoints`` (D, 19, 2) px, NaN where missing; ``point_scores`` (D, 19) and ``box_scores`` (D,) in [0, 1];
    ``boxes`` (D, 4) xyxy px; ``track_ids`` (D,), `NO_TRACK` for people of stills.
    """

    image_ids: IntArray
    keypoints: FloatArray
    point_scores: FloatArray
    boxes: FloatArray
    box_scores: FloatArray
    track_ids: IntArray

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def poses(self) -> PredictedPoses:
        """What OKS AP judges."""
        return PredictedPoses(self.image_ids, self.keypoints, instance_scores(self.point_scores, self.box_scores))

    def moved(self, offset: int) -> PredictedPeople:
        """With ``offset`` added to the image ids."""
        return replace(self, image_ids=self.image_ids + offset)


def untracked_people(
    image_ids: IntArray, keypoints: FloatArray, point_scores: FloatArray, boxes: FloatArray, box_scores: FloatArray
) -> PredictedPeople:
    """People of stills."""
    no_tracks = np.full(len(image_ids), NO_TRACK, np.int64)
    return PredictedPeople(image_ids, keypoints, point_scores, boxes, box_scores, no_tracks)


def join_people(parts: Sequence[PredictedPeople]) -> PredictedPeople:
    """All people of several parts, in order."""
    whole = (_nobody(), *parts)
    return PredictedPeople(*(np.concatenate([getattr(p, field.name) for p in whole]) for field in fields(_nobody())))


def people_of(annotation: Annotation, labels: VideoLabels, *, is_raw: bool = False) -> PredictedPeople:
    """The people of a poses file in the labelled frames; what it says about other frames is left out.

    Args:
        annotation: The poses.
        labels: Of the same video.
        is_raw: Whether to take the network's own points, before smoothing; people between two looks (interpolated) then have none.

    Raises:
        FormatError: Poses and labels are of pictures of different size.
    """
    _check_size(annotation, labels)
    return join_people([_rows(pose, labels.image_ids, is_raw=is_raw) for pose in annotation.poses])


def covered_labels(annotation: Annotation, labels: VideoLabels) -> VideoLabels:
    """The labels of the frames that a poses file covers (people in them or not)."""
    first = annotation.first_frame_index
    return labels.keep(lambda _, frame: first <= frame < first + len(annotation.frames))


def _rows(pose: PoseSequence, image_ids: dict[int, int], *, is_raw: bool) -> PredictedPeople:
    rows = np.flatnonzero(np.isin(pose.frame_indices, list(image_ids)))
    points = (pose.raw_keypoints if is_raw else pose.keypoints)[rows]
    keypoints, scores = convert_keypoints(points, pose.scores[rows], get_skeleton(pose.skeleton), POSECLI19)
    return PredictedPeople(
        image_ids=np.array([image_ids[frame] for frame in pose.frame_indices[rows].tolist()], np.int64),
        keypoints=keypoints,
        point_scores=scores,
        boxes=pose.boxes[rows],
        box_scores=pose.box_scores[rows],
        track_ids=np.full(len(rows), pose.track_id, np.int64),
    )


def _nobody() -> PredictedPeople:
    ids = np.zeros(0, np.int64)
    points, point_scores = np.zeros((0, _K, 2), np.float32), np.zeros((0, _K), np.float32)
    return PredictedPeople(ids, points, point_scores, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ids)


def _check_size(annotation: Annotation, labels: VideoLabels) -> None:
    video = annotation.video
    for image in labels.truth.images:
        if (image.width_px, image.height_px) != (video.width_px, video.height_px):
            labelled = f"image {image.image_id} is {image.width_px}x{image.height_px} px"
            raise FormatError(
                f"{labels.truth.path}: {labelled}, the poses are of a video of {video.width_px}x{video.height_px}",
                hint="labels and poses must be of the same video",
            )
