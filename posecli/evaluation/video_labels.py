"""Labelled people in the frames of a video: `GroundTruth` whose images are frames, with the identity of everybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posecli.errors import FormatError
from posecli.formats.document import Node, load_json
from posecli.formats.ground_truth import GroundTruth, keep_images, read_ground_truth
from posecli.records import IntArray

NO_TRACK = -1
_PER_PERSON = ("annotation_ids", "image_ids", "keypoints", "boxes", "areas", "is_crowd")


@dataclass(frozen=True, slots=True)
class VideoLabels:
    """Labels of N people in F frames.

    Attributes:
        truth: The labels.
        frame_indices: (F,) of ``truth.images``, in their order; every labelled frame, people or not. Other frames are not judged.
        track_ids: (N,); `NO_TRACK` where the file names none.
    """

    truth: GroundTruth
    frame_indices: IntArray
    track_ids: IntArray

    @property
    def image_ids(self) -> dict[int, int]:
        """Image id by frame index."""
        ids = (image.image_id for image in self.truth.images)
        return dict(zip(self.frame_indices.tolist(), ids, strict=True))

    def keep(self, is_kept: Callable[[int, int], bool]) -> VideoLabels:
        """The part whose (image id, frame index) satisfies ``is_kept``."""
        pairs = zip((image.image_id for image in self.truth.images), self.frame_indices.tolist(), strict=True)
        kept = {image_id for image_id, frame in pairs if is_kept(image_id, frame)}
        images = np.array([image.image_id in kept for image in self.truth.images], np.bool_)
        people = np.isin(self.truth.image_ids, list(kept))
        truth = keep_images(self.truth, lambda image_id: image_id in kept)
        return VideoLabels(truth, self.frame_indices[images], self.track_ids[people])


def read_video_labels(path: Path) -> VideoLabels:
    """Read a COCO-style label file whose images are the frames of one video.

    The frame of an image is its ``frame_index`` where it has one, else its place in ``images``, counted from 0 (as in boxes files).

    Raises:
        FormatError: See `posecli.formats.ground_truth.read_ground_truth`; or a frame comes twice, or a person twice in one frame.
    """
    truth = read_ground_truth(path)
    document = load_json(path)
    frames = [
        image.integer("frame_index") if image.has("frame_index") else place
        for place, image in enumerate(document.items("images"))
    ]
    if len(set(frames)) < len(frames):
        raise document.child("images").error("two images have the same frame_index")
    if len(set(truth.annotation_ids.tolist())) < len(truth):
        raise document.child("annotations").error("two annotations have the same id")
    tracks = {
        node.integer("id"): node.integer("track_id") for node in document.items("annotations") if _has_track(node)
    }
    track_ids = np.array([tracks.get(int(i), NO_TRACK) for i in truth.annotation_ids], np.int64)
    _check_identities(path, truth, track_ids)
    return VideoLabels(truth, np.array(frames, np.int64), track_ids)


def join_labels(parts: Sequence[VideoLabels]) -> tuple[VideoLabels, list[int]]:
    """Labels of several videos as one: ids of images and tracks and frame indices are moved so that no two videos share any.

    Args:
        parts: At least one.

    Returns:
        The labels, and what was added to the image ids of each part.

    Raises:
        FormatError: The files do not label the same keypoints.
    """
    first = parts[0].truth
    moved, offsets = [], []
    next_image, next_frame, next_track = 0, 0, 0
    for part in parts:
        if part.truth.labelled_points.tolist() != first.labelled_points.tolist():
            raise FormatError(f"{part.truth.path}: does not label the same keypoints as {first.path}")
        ids = np.array([image.image_id for image in part.truth.images], np.int64)
        offsets.append(next_image - int(ids.min(initial=0)))
        is_tracked = part.track_ids != NO_TRACK
        tracks = np.where(is_tracked, part.track_ids + next_track, NO_TRACK)
        moved.append(VideoLabels(_moved(part.truth, offsets[-1]), part.frame_indices + next_frame, tracks))
        next_image = offsets[-1] + int(ids.max(initial=0)) + 1
        next_frame += int(part.frame_indices.max(initial=0)) + 2  # no frame of a video follows one of another
        next_track += int(part.track_ids.max(initial=0)) + 1
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part.truth, name) for part in moved]) for name in _PER_PERSON
    }
    truth = replace(first, images=tuple(image for part in moved for image in part.truth.images), **columns)
    frame_indices = np.concatenate([part.frame_indices for part in moved])
    return VideoLabels(truth, frame_indices, np.concatenate([part.track_ids for part in moved])), offsets


def _moved(truth: GroundTruth, offset: int) -> GroundTruth:
    images = tuple(replace(image, image_id=image.image_id + offset) for image in truth.images)
    return replace(truth, images=images, image_ids=truth.image_ids + offset)


def _has_track(node: Node) -> bool:
    if not node.has("track_id"):
        return False
    if node.integer("track_id") < 0:
        raise node.child("track_id").error(f"{node.integer('track_id')} is negative")
    return True


def _check_identities(path: Path, truth: GroundTruth, track_ids: IntArray) -> None:
    seen: set[tuple[int, int]] = set()
    for image_id, track_id, is_crowd in zip(
        truth.image_ids.tolist(), track_ids.tolist(), truth.is_crowd.tolist(), strict=True
    ):
        if track_id == NO_TRACK or is_crowd:
            continue
        if (image_id, track_id) in seen:
            raise FormatError(f"{path}: annotations: track_id {track_id} comes twice in image {image_id}")
        seen.add((image_id, track_id))
