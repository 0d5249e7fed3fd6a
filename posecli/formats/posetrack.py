"""PoseTrack18, exactly as its evaluators want it; 15 of its 17 points come from posecli's 19, the ears are always 0, 0, 0.

The evaluators find a sequence by its folder and file names: a folder ``NNNNNN_TYPE_rest`` with TYPE mpii, bonn or mpiinew, pictures
``FFFFFF.jpg``, and ids ``T NNNNNN FFFF`` with T = 1, 2, 3 for the type. The predictions of a benchmark sequence must carry the file
name of its ground truth; given such a file name, the ids follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecli.errors import FormatError
from posecli.formats.coco import coco_category
from posecli.formats.document import Node, load_json
from posecli.formats.rows import PoseRow, pose_rows
from posecli.formats.stream import write_document
from posecli.geometry import xywh_to_xyxy
from posecli.records import Annotation, BoolArray, FloatArray, PoseSequence
from posecli.skeletons import POSETRACK18

_SEQUENCE = re.compile(r"(\d{6})_(mpii|bonn|mpiinew)(_.*)?")
_TYPE_NUMBERS = {"mpii": 1, "bonn": 2, "mpiinew": 3}
_EARS = (POSETRACK18.index("left_ear"), POSETRACK18.index("right_ear"))
_MAX_FRAMES = 10_000
_MAX_PERSONS = 100
_MAX_TRACK_ID = 999


@dataclass(frozen=True, slots=True)
class PoseTrackSequence:
    """What a PoseTrack18 file says.

    ``frame_ids`` and ``file_names`` by position in ``images``, which is the frame index of ``poses`` (skeleton ``posetrack18``);
    ``is_labeled`` (T,). Ground truth has no scores: there a labelled keypoint has score 1. ``head_boxes`` (T_pose, 4) xyxy by
    track id, NaN where the file has none.
    """

    vid_id: str
    file_names: tuple[str, ...]
    frame_ids: tuple[int, ...]
    is_labeled: BoolArray
    poses: tuple[PoseSequence, ...]
    head_boxes: dict[int, FloatArray]


def write_posetrack(
    annotation: Annotation, path: Path, *, sequence: str | None = None, split: str = "val", overwrite: bool = False
) -> None:
    """Write poses as a PoseTrack18 prediction file.

    Args:
        annotation: The poses, in a skeleton with neck and head_top.
        path: The file to be written.
        sequence: Folder name of the sequence, as ``000342_mpii_test``; by default the file's own name when it is of that form,
            else ``000001_mpii_`` and the video's name.
        split: The folder above it.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FormatError: The sequence name, the number of frames or persons, or a track id does not fit PoseTrack's ids.
        OutputError: See `posecli.atomic.check_output`.
    """
    name = sequence if sequence is not None else _default_sequence(path, annotation)
    if any(pose.skeleton == "coco17" for pose in annotation.poses):
        raise FormatError(f"{path}: COCO's 17 points lack PoseTrack's neck and head top", hint="predict 19 points")
    first_id = _first_frame_id(path, name)
    if len(annotation.frames) > _MAX_FRAMES:
        raise FormatError(
            f"{path}: {len(annotation.frames)} frames, PoseTrack's ids hold {_MAX_FRAMES}",
            hint="cut with --start and --end",
        )
    worst = max((pose.track_id for pose in annotation.poses), default=0)
    if worst > _MAX_TRACK_ID:
        raise FormatError(
            f"{path}: track id {worst}, PoseTrack allows 0 to {_MAX_TRACK_ID}", hint="cut with --start and --end"
        )
    lists = {
        "images": _encode_images(annotation, f"images/{split}/{name}", first_id),
        "annotations": _encode_rows(annotation, path, first_id),
    }
    write_document(path, {"categories": [coco_category(POSETRACK18)]}, lists, overwrite=overwrite)


def read_posetrack(path: Path) -> PoseTrackSequence:
    """Read a PoseTrack18 (or PoseTrack21) file, predictions or ground truth.

    Raises:
        FormatError: The file is not JSON or not PoseTrack18; the message names the key and the value.
    """
    document = load_json(path)
    categories = list(document.items("categories"))
    if len(categories) != 1 or categories[0].strings("keypoints") != POSETRACK18.keypoint_names:
        raise document.child("categories").error("not the one person category with PoseTrack18's 17 keypoint names")
    images = list(document.items("images"))
    frame_ids = tuple(image.integer("id") for image in images)
    tracks: dict[int, list[tuple[int, Node]]] = {}
    rows = {frame_id: row for row, frame_id in enumerate(frame_ids)}
    if len(rows) < len(frame_ids):
        raise document.child("images").error("two images have the same id")
    for node in document.items("annotations"):
        image_id = node.integer("image_id")
        if image_id not in rows:
            raise node.child("image_id").error(f"{image_id} is not the id of an image")
        tracks.setdefault(node.integer("track_id"), []).append((rows[image_id], node))
    for members in tracks.values():
        members.sort(key=lambda member: member[0])
    return PoseTrackSequence(
        vid_id=images[0].string("vid_id") if images and images[0].has("vid_id") else "",
        file_names=tuple(image.string("file_name") for image in images),
        frame_ids=frame_ids,
        is_labeled=np.array(
            [image.flag("is_labeled") if image.has("is_labeled") else True for image in images], np.bool_
        ),
        poses=tuple(_decode_track(track_id, members) for track_id, members in tracks.items()),
        head_boxes={track_id: _decode_boxes(members, "bbox_head") for track_id, members in tracks.items()},
    )


def _default_sequence(path: Path, annotation: Annotation) -> str:
    if _SEQUENCE.fullmatch(path.stem):
        return path.stem
    return "000001_mpii_" + re.sub(r"[^A-Za-z0-9]+", "-", annotation.video.path.stem).strip("-")


def _first_frame_id(path: Path, sequence: str) -> int:
    match = _SEQUENCE.fullmatch(sequence)
    if match is None:
        raise FormatError(
            f"{path}: sequence name {sequence!r} is not of PoseTrack's form", hint="like 000342_mpii_test"
        )
    return _TYPE_NUMBERS[match[2]] * 10**10 + int(match[1]) * 10**4


def _encode_images(annotation: Annotation, folder: str, first_id: int) -> Iterator[dict[str, Any]]:
    vid_id = folder.rsplit("/", maxsplit=1)[-1][:6]
    for row in range(len(annotation.frames)):
        yield {
            "file_name": f"{folder}/{row:06d}.jpg",
            "id": first_id + row,
            "frame_id": first_id + row,
            "vid_id": vid_id,
            "nframes": len(annotation.frames),
            "is_labeled": True,
            "has_no_densepose": True,
            "ignore_regions_x": [],
            "ignore_regions_y": [],
        }


def _encode_rows(annotation: Annotation, path: Path, first_id: int) -> Iterator[dict[str, Any]]:
    frame_id, person = -1, 0
    for row in pose_rows(annotation.poses, POSETRACK18, present_flag=1):
        row_id = first_id + row.frame_index - annotation.first_frame_index
        person = person + 1 if row_id == frame_id else 0
        frame_id = row_id
        if person >= _MAX_PERSONS:
            raise FormatError(
                f"{path}: frame {row.frame_index} has more than {_MAX_PERSONS} people, PoseTrack's ids end there"
            )
        yield _encode_row(row, frame_id, person)


def _encode_row(row: PoseRow, frame_id: int, person: int) -> dict[str, Any]:
    keypoints, scores = row.keypoints.copy(), row.scores.copy()
    for ear in _EARS:
        keypoints[3 * ear : 3 * ear + 3], scores[ear] = [0, 0, 0], 0
    return {
        "id": frame_id * _MAX_PERSONS + person,
        "image_id": frame_id,
        "category_id": 1,
        "track_id": row.track_id,
        "bbox": row.bbox,
        "keypoints": keypoints,
        "scores": scores,
        "score": row.box_score,
    }


def _decode_track(track_id: int, members: list[tuple[int, Node]]) -> PoseSequence:
    frames = np.array([row for row, _ in members], np.int64)
    repeated = np.flatnonzero(np.diff(frames) == 0)
    if len(repeated):
        raise members[repeated[0] + 1][1].child("track_id").error(f"{track_id} appears twice in one frame")
    count = len(POSETRACK18)
    xyv = np.array([node.numbers("keypoints", 3 * count) for _, node in members]).reshape(-1, count, 3)
    # The evaluators' own rule for "absent".
    is_present = (xyv != 0).any(axis=-1)
    keypoints = np.where(is_present[..., None], xyv[..., :2], np.nan).astype(np.float32)
    scores = [node.numbers("scores", count) if node.has("scores") else np.ones(count) for _, node in members]
    return PoseSequence(
        track_id=track_id,
        skeleton=POSETRACK18.name,
        frame_indices=frames,
        keypoints=keypoints,
        raw_keypoints=keypoints,
        scores=np.where(is_present, np.array(scores), 0.0).astype(np.float32),
        boxes=_decode_boxes(members, "bbox"),
        box_scores=np.array([node.number("score") if node.has("score") else 1.0 for _, node in members], np.float32),
        interpolated=np.zeros(len(members), np.bool_),
    )


def _decode_boxes(members: list[tuple[int, Node]], key: str) -> FloatArray:
    boxes = [node.numbers(key, 4) if node.has(key) else np.full(4, np.nan) for _, node in members]
    return xywh_to_xyxy(np.array(boxes, np.float64).reshape(-1, 4))
