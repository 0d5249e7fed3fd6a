"""The 3D part of a COCO data set file (`posecli.formats.coco`): what stands in its extra keys, and back.

- top level ``posecli.joints``: names and parents of the joints, unit, frame, how far to trust ``root_mm``, the lifter, and
  ``track_ids``, whose poses are given in 3D;
- ``annotations[].posecli``: ``joints_mm``, [x, y, z] a joint, null where missing, relative to the root joint; ``root_mm``, [x, y, z]
  of the root seen from the camera, null where unknown; ``joint_scores``, those of the keypoints a joint comes from: 0 with a
  place means that nobody saw the joint, the lifter concluded it from the others. A pose without any joint has none of the three.

Joints are rounded to 1/10 mm, roots to 1 mm, scores to 1/100000. Files without 3D have none of these keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posecli.formats.document import Node
from posecli.formats.rows import round_scores
from posecli.records import Annotation, FloatArray, PoseSequence, PoseSequence3D
from posecli.skeletons import H36M17, JointTree

JOINT_DECIMALS = 1
ROOT_DECIMALS = 0
FRAME_CONVENTION = "camera: x right, y down, z forward"
ROOT_REMARK = (
    "rough: proportional to the assumed body height, its depth also to the focal length of the assumed field of view"
)
_CHUNK_FRAMES = 256

JointFields = dict[str, Any]


def encode_joints_head(annotation: Annotation) -> dict[str, Any]:
    """What ``posecli.joints`` holds.

    Raises:
        ValueError: 3D poses are of another skeleton, or are not of the frames of the 2D poses with the same ids.
    """
    _check_poses(annotation)
    return {
        "skeleton": H36M17.name,
        "names": list(H36M17.joint_names),
        "parents": list(H36M17.parents),
        "unit": "mm",
        "frame": FRAME_CONVENTION,
        "root": ROOT_REMARK,
        "lifter": annotation.run.get("lifting"),
        "track_ids": [pose.track_id for pose in annotation.poses_3d],
    }


def joint_rows(pose: PoseSequence3D) -> Iterator[JointFields]:
    """The fields of every frame of a track, in order; empty where it has no joint."""
    for start in range(0, len(pose), _CHUNK_FRAMES):
        part = slice(start, start + _CHUNK_FRAMES)
        is_there = np.asarray(np.isfinite(pose.joints_mm[part]).all(axis=-1))
        joints = _rounded(pose.joints_mm[part], JOINT_DECIMALS).tolist()
        roots = _rounded(pose.root_mm[part], ROOT_DECIMALS)
        scores = round_scores(np.where(is_there, pose.scores[part], 0.0)).tolist()
        for row, there in enumerate(is_there):
            if not there.any():
                yield {}
                continue
            yield {
                "joints_mm": [point if known else None for point, known in zip(joints[row], there, strict=True)],
                "root_mm": roots[row].tolist() if np.isfinite(roots[row]).all() else None,
                "joint_scores": scores[row],
            }


def read_joint_tracks(document: Node) -> dict[int, JointTrack]:
    """An empty `JointTrack` for every track that ``posecli.joints`` names, in order; none where the file has no 3D.

    Raises:
        FormatError: The skeleton is not the one that posecli knows.
    """
    facts = document.child("posecli")
    if not facts.has("joints"):
        return {}
    head = facts.child("joints")
    tree = H36M17
    if head.string("skeleton") != tree.name or head.strings("names") != tree.joint_names:
        raise head.child("names").error(f"these are not the {len(tree)} joints of {tree.name}, in order")
    return {track_id: JointTrack(tree) for track_id in head.integers("track_ids")}


class JointTrack:
    """The 3D poses of one track while a file is being read."""

    def __init__(self, tree: JointTree) -> None:
        self._tree = tree
        self._joints: list[FloatArray] = []
        self._roots: list[FloatArray] = []
        self._scores: list[FloatArray] = []

    def append(self, annotation: Node) -> None:
        """Add what an annotation object holds.

        Raises:
            FormatError: Its numbers are not as they should be.
        """
        count = len(self._tree)
        joints, root = np.full((count, 3), np.nan, np.float32), np.full(3, np.nan, np.float32)
        scores = np.zeros(count, np.float32)
        extra = annotation.child("posecli") if annotation.has("posecli") else None
        if extra is not None and extra.has("joints_mm"):
            nodes = list(extra.items("joints_mm"))
            if len(nodes) != count:
                raise extra.child("joints_mm").error(f"{len(nodes)} joints, {count} expected")
            for joint, node in enumerate(nodes):
                if node.value is not None:
                    joints[joint] = node.as_numbers(3)
            if extra.child("root_mm").value is not None:
                root[:] = extra.numbers("root_mm", 3)
            scores[:] = extra.numbers("joint_scores", count)
        self._joints.append(joints)
        self._roots.append(root)
        self._scores.append(scores)

    def sequence(self, pose: PoseSequence) -> PoseSequence3D:
        """All frames as arrays; ``pose`` is the same track in 2D."""
        num_frames, count = len(self._joints), len(self._tree)
        return PoseSequence3D(
            track_id=pose.track_id,
            skeleton=self._tree.name,
            frame_indices=pose.frame_indices,
            joints_mm=np.array(self._joints, np.float32).reshape(num_frames, count, 3),
            root_mm=np.array(self._roots, np.float32).reshape(num_frames, 3),
            scores=np.array(self._scores, np.float32).reshape(num_frames, count),
        )


def _check_poses(annotation: Annotation) -> None:
    by_id: Mapping[int, PoseSequence] = {pose.track_id: pose for pose in annotation.poses}
    if len({pose.track_id for pose in annotation.poses_3d}) < len(annotation.poses_3d):
        raise ValueError("two 3D pose sequences have the same track_id")
    for pose in annotation.poses_3d:
        if pose.skeleton != H36M17.name:
            raise ValueError(f"track {pose.track_id}: 3D poses of skeleton {pose.skeleton}, {H36M17.name} wanted")
        flat = by_id.get(pose.track_id)
        if flat is None or not np.array_equal(flat.frame_indices, pose.frame_indices):
            raise ValueError(f"track {pose.track_id}: its 3D poses are not of the frames of its 2D poses")


def _rounded(values: FloatArray, decimals: int) -> NDArray[np.float64]:
    """Adding zero turns -0.0 into 0.0."""
    return np.asarray(np.round(values.astype(np.float64), decimals) + 0.0, np.float64)
