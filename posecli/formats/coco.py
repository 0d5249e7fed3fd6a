"""The COCO data set file: posecli's own output, readable by every COCO tool, and exactly readable by posecli again.

Beyond plain COCO (extra keys that other tools skip):

- ``images[]``: ``id`` is ``frame_index`` + 1 (many tools take 0 for "none"); ``frame_index``, ``pts``, ``time_s``, ``status``.
- ``annotations[]``: ``keypoints`` are what a reader should use; ``keypoints_raw`` (x, y per keypoint, null where missing) are the
  network's own, before smoothing. ``keypoint_scores`` are the model's, in [0, 1]; ``score`` ranks whole poses; ``box_score``;
  ``interpolated``; ``track_id``, repeated in ``attributes`` for CVAT. ``posecli`` holds the keypoints COCO lacks (neck,
  head_top) as ``extra_keypoints``, ``extra_scores``, ``extra_raw``, and the pose in 3D, see `posecli.formats.joints`.
- top level ``posecli``: format version, skeletons, track ids, first frame, video, run record; ``joints``, where there is 3D.

The flag v is not a score: 2 where a keypoint was predicted (with a score above 0), else 0, with x = y = 0. Coordinates are rounded
to 1/1000 px and scores to 1/100000; reading gives exactly those numbers, and writing them again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from posecli.formats.document import Node, load_json
from posecli.formats.joints import JointFields, JointTrack, encode_joints_head, joint_rows, read_joint_tracks
from posecli.formats.rows import COORDINATE_DECIMALS, PoseRow, pose_rows
from posecli.formats.stream import write_document
from posecli.formats.video_facts import decode_video, encode_video
from posecli.records import Annotation, FloatArray, FrameTable, PoseSequence, PoseSequence3D
from posecli.skeletons import COCO17, POSECLI19, Skeleton, get_skeleton

FORMAT_VERSION = 1
_PREDICTED = 2


def coco_image_id(frame_index: int) -> int:
    """The image id of a frame, in the data set and in the results file."""
    return frame_index + 1


def write_coco_dataset(
    annotation: Annotation, path: Path, *, skeleton: Literal["coco17", "posecli19"] = "coco17", overwrite: bool = False
) -> None:
    """Write poses as a COCO data set.

    Args:
        annotation: The poses; their sequences share one skeleton, ``posecli19`` or ``coco17``.
        path: The file to be written.
        skeleton: What ``keypoints`` holds: 17 points (every tool reads them) or all 19.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
        ValueError: The poses do not fit ``skeleton``, or lie outside the frames.
    """
    own, shown = _own_skeleton(annotation), get_skeleton(skeleton)
    if len(shown) > len(own):
        raise ValueError(f"poses of skeleton {own.name} cannot be written as {shown.name}")
    _check_frames(annotation)
    head = {
        "info": {"description": f"Poses of {annotation.video.path.name}, predicted by posecli"},
        "posecli": {
            "format_version": FORMAT_VERSION,
            "skeleton": own.name,
            "keypoints_skeleton": shown.name,
            "extra_keypoints": list(own.keypoint_names[len(shown) :]),
            "first_frame_index": annotation.first_frame_index,
            "track_ids": [pose.track_id for pose in annotation.poses],
            "video": encode_video(annotation.video),
            "run": dict(annotation.run),
            **({"joints": encode_joints_head(annotation)} if annotation.poses_3d else {}),
        },
        "licenses": [],
        "categories": [coco_category(shown)],
    }
    rows = pose_rows(annotation.poses, own, present_flag=_PREDICTED)
    in_3d = {pose.track_id: joint_rows(pose) for pose in annotation.poses_3d}
    annotations = (
        _encode_row(i, row, len(shown), next(in_3d[row.track_id]) if row.track_id in in_3d else {})
        for i, row in enumerate(rows, start=1)
    )
    lists = {"images": _encode_frames(annotation), "annotations": annotations}
    write_document(path, head, lists, overwrite=overwrite)


def read_coco_dataset(path: Path) -> Annotation:
    """Read a file that `write_coco_dataset` wrote.

    Raises:
        FormatError: The file is not JSON, not one of posecli's, or damaged; the message names the key and the value.
    """
    document = load_json(path)
    if not isinstance(document.value, dict) or not document.has("posecli"):
        raise document.error("key 'posecli' is missing", hint="not a poses file written by posecli annotate")
    facts = document.child("posecli")
    version = facts.integer("format_version")
    if version != FORMAT_VERSION:
        raise facts.error(f"format_version {version}, this posecli reads {FORMAT_VERSION}")
    own, shown = _read_skeleton(facts, "skeleton"), _read_skeleton(facts, "keypoints_skeleton")
    _check_categories(document, shown)
    first_frame = facts.integer("first_frame_index")
    frames = _decode_frames(document, first_frame)
    run = facts.child("run")
    if not isinstance(run.value, dict):
        raise run.error("is not an object")
    poses, poses_3d = _decode_poses(document, own, shown, first_frame, len(frames))
    return Annotation(
        video=decode_video(facts.child("video")),
        frames=frames,
        poses=poses,
        run=run.value,
        first_frame_index=first_frame,
        poses_3d=poses_3d,
    )


def coco_category(skeleton: Skeleton) -> dict[str, Any]:
    """The person category with the names and limbs of a skeleton; COCO counts limbs from 1."""
    return {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.keypoint_names),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limbs],
    }


def _own_skeleton(annotation: Annotation) -> Skeleton:
    names = sorted({pose.skeleton for pose in annotation.poses}) or [POSECLI19.name]
    if len(names) > 1 or names[0] not in (COCO17.name, POSECLI19.name):
        raise ValueError(f"poses of skeletons {names}, one of coco17 or posecli19 wanted")
    return get_skeleton(names[0])


def _check_frames(annotation: Annotation) -> None:
    first = annotation.first_frame_index
    last = first + len(annotation.frames) - 1
    for pose in annotation.poses:
        if len(pose) and not (first <= pose.frame_indices[0] and pose.frame_indices[-1] <= last):
            raise ValueError(f"track {pose.track_id} leaves the frames {first} to {last}")
    if len({pose.track_id for pose in annotation.poses}) < len(annotation.poses):
        raise ValueError("two pose sequences have the same track_id")


def _encode_frames(annotation: Annotation) -> Iterator[dict[str, Any]]:
    video, frames = annotation.video, annotation.frames
    for row in range(len(frames)):
        index = annotation.first_frame_index + row
        yield {
            "id": coco_image_id(index),
            "file_name": f"{video.path.stem}/frame_{index:06d}.jpg",
            "width": video.width_px,
            "height": video.height_px,
            "frame_index": index,
            "pts": int(frames.pts[row]),
            "time_s": float(frames.time_s[row]),
            "status": "corrupt" if frames.is_corrupt[row] else "ok",
        }


def _encode_row(annotation_id: int, row: PoseRow, num_shown: int, in_3d: JointFields) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": annotation_id,
        "image_id": coco_image_id(row.frame_index),
        "category_id": 1,
        "iscrowd": 0,
        "bbox": row.bbox,
        "area": round(row.bbox[2] * row.bbox[3], COORDINATE_DECIMALS),
        "num_keypoints": row.num_present(num_shown),
        "keypoints": row.keypoints[: 3 * num_shown],
        "keypoint_scores": row.scores[:num_shown],
        "keypoints_raw": row.raw[: 2 * num_shown],
        "track_id": row.track_id,
        "score": row.score,
        "box_score": row.box_score,
        "interpolated": row.is_interpolated,
        "attributes": {"track_id": row.track_id, "interpolated": row.is_interpolated},
    }
    extra: dict[str, Any] = {}
    if num_shown < len(row.scores):
        extra = {
            "extra_keypoints": row.keypoints[3 * num_shown :],
            "extra_scores": row.scores[num_shown:],
            "extra_raw": row.raw[2 * num_shown :],
        }
    if extra or in_3d:
        fields["posecli"] = {**extra, **in_3d}
    return fields


def _read_skeleton(facts: Node, key: str) -> Skeleton:
    name = facts.string(key)
    if name not in (COCO17.name, POSECLI19.name):
        raise facts.child(key).error(f'"{name}" is not coco17 or posecli19')
    return get_skeleton(name)


def _check_categories(document: Node, shown: Skeleton) -> None:
    categories = list(document.items("categories"))
    if len(categories) != 1:
        raise document.child("categories").error(f"{len(categories)} categories, one expected")
    if categories[0].strings("keypoints") != shown.keypoint_names:
        raise categories[0].child("keypoints").error(f"these are not the {len(shown)} names of {shown.name}, in order")


def _decode_frames(document: Node, first_frame: int) -> FrameTable:
    pts, times, corrupt = [], [], []
    for row, image in enumerate(document.items("images")):
        index, status = image.integer("frame_index"), image.string("status")
        if index != first_frame + row or image.integer("id") != coco_image_id(index):
            raise image.child("frame_index").error(
                f"{index} with id {image.integer('id')}, frame {first_frame + row} expected"
            )
        if status not in ("ok", "corrupt"):
            raise image.child("status").error(f'"{status}" is not ok or corrupt')
        pts.append(image.integer("pts"))
        times.append(image.number("time_s"))
        corrupt.append(status == "corrupt")
    return FrameTable(np.array(pts, np.int64), np.array(times, np.float64), np.array(corrupt, np.bool_))


class _TrackRows:
    """The rows of one track while a file is being read."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.xyv: list[FloatArray] = []
        self.scores: list[FloatArray] = []
        self.raw: list[FloatArray] = []
        self.bbox: list[FloatArray] = []
        self.box_scores: list[float] = []
        self.interpolated: list[bool] = []

    def append(self, node: Node, frame_index: int, own: Skeleton, shown: Skeleton) -> None:
        """Add one annotation object."""
        if self.frames and frame_index <= self.frames[-1]:
            raise node.child("image_id").error(f"frame {frame_index} of its track comes after frame {self.frames[-1]}")
        num_extra = len(own) - len(shown)
        xyv = node.numbers("keypoints", 3 * len(shown))
        scores = node.numbers("keypoint_scores", len(shown))
        raw = node.numbers("keypoints_raw", 2 * len(shown), nullable=True)
        if num_extra:
            extra = node.child("posecli")
            xyv = np.concatenate([xyv, extra.numbers("extra_keypoints", 3 * num_extra)])
            scores = np.concatenate([scores, extra.numbers("extra_scores", num_extra)])
            raw = np.concatenate([raw, extra.numbers("extra_raw", 2 * num_extra, nullable=True)])
        bbox = node.numbers("bbox", 4)
        if (bbox[2:] < 0).any():
            raise node.child("bbox").error(f"width {bbox[2]:g} and height {bbox[3]:g} must not be negative")
        self.frames.append(frame_index)
        self.xyv.append(xyv.reshape(-1, 3).astype(np.float32))
        self.scores.append(scores.astype(np.float32))
        self.raw.append(raw.reshape(-1, 2).astype(np.float32))
        # The rounding undoes the float error of left + width: corners are multiples of 1/1000 px again.
        corners = np.concatenate([bbox[:2], np.round(bbox[:2] + bbox[2:], COORDINATE_DECIMALS)])
        self.bbox.append(corners.astype(np.float32))
        self.box_scores.append(node.number("box_score"))
        self.interpolated.append(node.flag("interpolated"))

    def sequence(self, track_id: int, own: Skeleton) -> PoseSequence:
        """All rows as arrays."""
        num_frames, num_keypoints = len(self.frames), len(own)
        xyv = np.array(self.xyv, np.float32).reshape(num_frames, num_keypoints, 3)
        return PoseSequence(
            track_id=track_id,
            skeleton=own.name,
            frame_indices=np.array(self.frames, np.int64),
            keypoints=np.where(xyv[..., 2:] > 0, xyv[..., :2], np.float32(np.nan)),
            raw_keypoints=np.array(self.raw, np.float32).reshape(num_frames, num_keypoints, 2),
            scores=np.array(self.scores, np.float32).reshape(num_frames, num_keypoints),
            boxes=np.array(self.bbox, np.float32).reshape(num_frames, 4),
            box_scores=np.array(self.box_scores, np.float32),
            interpolated=np.array(self.interpolated, np.bool_),
        )


def _decode_poses(
    document: Node, own: Skeleton, shown: Skeleton, first_frame: int, num_frames: int
) -> tuple[tuple[PoseSequence, ...], tuple[PoseSequence3D, ...]]:
    tracks = {track_id: _TrackRows() for track_id in document.child("posecli").integers("track_ids")}
    in_3d = _tracks_in_3d(document, tracks)
    for node in document.items("annotations"):
        track_id, frame_index = node.integer("track_id"), node.integer("image_id") - coco_image_id(0)
        if track_id not in tracks:
            raise node.child("track_id").error(f"{track_id} is not in posecli.track_ids")
        if not first_frame <= frame_index < first_frame + num_frames:
            raise node.child("image_id").error(f"{node.integer('image_id')} is not the id of an image")
        tracks[track_id].append(node, frame_index, own, shown)
        if track_id in in_3d:
            in_3d[track_id].append(node)
    poses = {track_id: rows.sequence(track_id, own) for track_id, rows in tracks.items()}
    return tuple(poses.values()), tuple(rows.sequence(poses[track_id]) for track_id, rows in in_3d.items())


def _tracks_in_3d(document: Node, tracks: Mapping[int, _TrackRows]) -> dict[int, JointTrack]:
    found = read_joint_tracks(document)
    for track_id in found:
        if track_id not in tracks:
            ids = document.child("posecli").child("joints").child("track_ids")
            raise ids.error(f"{track_id} is not in posecli.track_ids")
    return found
