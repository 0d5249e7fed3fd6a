"""People in 3D out of files, the predicted ones beside the true ones.

Legend: T frames of a person, J = 17 joints of `posecli.skeletons.H36M17`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posecli.errors import FormatError
from posecli.evaluation.joints import joints_report
from posecli.evaluation.lift import standard_size
from posecli.evaluation.video_labels import NO_TRACK, read_video_labels
from posecli.formats.coco import read_coco_dataset
from posecli.formats.document import Node, load_json
from posecli.formats.npz import read_npz
from posecli.records import Annotation, FloatArray, IntArray, PoseSequence3D
from posecli.skeletons import H36M17, POSECLI19, get_skeleton, to_h36m17

MAX_PAIR_DISTANCE = 0.25
"""People further apart in the picture, on average over their joints, than this share of the true one's diagonal are no pair."""

_LEAST_JOINTS = 3
_J = len(H36M17)


@dataclass(frozen=True, slots=True)
class Person3D:
    """One person over time.

    ``frame_indices`` (T,) ascend; ``joints_mm`` (T, J, 3) relative to the root, in the camera's axes, NaN where missing; ``joints_px``
    (T, J, 2), NaN where missing, ``None`` if the file has no pictures' coordinates.
    """

    track_id: int
    frame_indices: IntArray
    joints_mm: FloatArray
    joints_px: FloatArray | None

    def keep(self, frames: range) -> Person3D:
        """The part in these frames."""
        kept = (self.frame_indices >= frames.start) & (self.frame_indices < frames.stop)
        pixels = None if self.joints_px is None else self.joints_px[kept]
        return Person3D(self.track_id, self.frame_indices[kept], self.joints_mm[kept], pixels)


@dataclass(frozen=True, slots=True)
class People3D:
    """Everybody in a file; ``frames`` are those it is about, ``None`` if it does not say."""

    path: Path
    people: tuple[Person3D, ...]
    frames: range | None

    @property
    def has_pixels(self) -> bool:
        """Whether people can be told by where they are in the picture."""
        return all(person.joints_px is not None for person in self.people)


def read_people_3d(path: Path) -> People3D:
    """Read people in 3D.

    Either poses with 3D (``posecli annotate --3d``, ``posecli lift``; JSON or NPZ), or the labels of a rendered clip (``posecli synth
    clips``: ``keypoints_3d_mm``, 19 points in the camera's axes, from which the joints are taken as from any keypoints).

    Raises:
        FormatError: The file cannot be read, or has nobody in 3D.
    """
    if path.suffix == ".npz":
        found = People3D(path, tuple(_person(path, lifted) for lifted in read_npz(path)), None)
    elif (document := load_json(path)).has("posecli"):
        found = _from_poses(path, read_coco_dataset(path))
    else:
        found = _from_labels(path, document)
    if not found.people:
        raise FormatError(f"{path}: nobody in 3D", hint="posecli annotate --3d and posecli lift write 3D poses")
    return found


def compare_people_3d(predicted: People3D, truth: People3D, *, is_same_size: bool = False) -> dict[str, Any]:
    """The joints of predicted people against true ones.

    In each frame people are paired by where they are in the picture if both files know it, else by their track ids.

    Args:
        predicted: The people judged. True people in frames that this file is not about are left out.
        truth: The people as they are.
        is_same_size: Give every predicted person the length of bones, taken together, of the true one first: size cannot be seen.

    Returns:
        What `posecli.evaluation.joints.joints_report` gives, ``per_joint_mm`` by name; a person that was not found counts as
        missing joints. Besides ``true_poses`` and ``found_poses``, ``paired_by`` (``picture`` or ``track_id``) and ``is_same_size``.

    Raises:
        FormatError: The two files have no frame with people in common.
    """
    known = [p if predicted.frames is None else p.keep(predicted.frames) for p in truth.people]
    true_poses = sum(len(person.frame_indices) for person in known)
    if true_poses == 0:
        raise FormatError(f"{truth.path}: nobody in the frames of {predicted.path}")
    by_picture = predicted.has_pixels and truth.has_pixels
    pairs = _pair_by_picture(predicted.people, known) if by_picture else _pair_by_track(predicted.people, known)
    parts = [_timeline(person, predicted.people, pairs, is_same_size=is_same_size) for person in known]
    found, wanted = (np.concatenate(side) for side in zip(*parts, strict=True))
    report = joints_report(found, wanted)
    names = H36M17.joint_names
    return {
        **report,
        "per_joint_mm": dict(zip(names, report["per_joint_mm"], strict=True)),
        "true_poses": true_poses,
        "found_poses": len(pairs),
        "paired_by": "picture" if by_picture else "track_id",
        "is_same_size": is_same_size,
    }


_Pairs = Mapping[tuple[int, int], tuple[int, int]]
"""By track id and frame of a true person: which predicted person, and their row."""


def _from_poses(path: Path, annotation: Annotation) -> People3D:
    flat = {pose.track_id: pose for pose in annotation.poses}
    people = []
    for lifted in annotation.poses_3d:
        pixels = None
        if lifted.track_id in flat:
            pose = flat[lifted.track_id]
            joints, _ = to_h36m17(pose.keypoints, pose.scores, get_skeleton(pose.skeleton))
            rows = {frame: row for row, frame in enumerate(pose.frame_indices.tolist())}
            pixels = np.full((len(lifted), _J, 2), np.nan, np.float32)
            for row, frame in enumerate(lifted.frame_indices.tolist()):
                if frame in rows:
                    pixels[row] = joints[rows[frame]]
        people.append(replace(_person(path, lifted), joints_px=pixels))
    first = annotation.first_frame_index
    return People3D(path, tuple(people), range(first, first + len(annotation.frames)))


def _person(path: Path, lifted: PoseSequence3D) -> Person3D:
    if lifted.skeleton != H36M17.name:
        raise FormatError(f"{path}: 3D poses of skeleton {lifted.skeleton!r}, wanted is {H36M17.name}")
    return Person3D(lifted.track_id, lifted.frame_indices, _rooted(lifted.joints_mm), None)


def _rooted(joints_mm: FloatArray) -> FloatArray:
    return np.asarray(joints_mm - joints_mm[:, :1], np.float32)


def _from_labels(path: Path, document: Node) -> People3D:
    labels = read_video_labels(path)
    points = {
        node.integer("id"): _points_mm(node) for node in document.items("annotations") if node.has("keypoints_3d_mm")
    }
    truth = labels.truth
    frame_of = {image_id: frame for frame, image_id in labels.image_ids.items()}
    frames = np.array([frame_of[image_id] for image_id in truth.image_ids.tolist()], np.int64)
    has_points = np.array([int(i) in points for i in truth.annotation_ids], np.bool_)
    people = []
    for track in np.unique(labels.track_ids[has_points]).tolist():
        if track == NO_TRACK:
            continue
        rows = np.flatnonzero((labels.track_ids == track) & has_points)
        rows = rows[np.argsort(frames[rows], kind="stable")]
        solid = np.stack([points[int(i)] for i in truth.annotation_ids[rows]])
        joints, _ = to_h36m17(solid, np.ones(solid.shape[:2], np.float32), POSECLI19)
        xyv = truth.keypoints[rows]
        flat = np.where(xyv[..., 2:] > 0, xyv[..., :2], np.float32(np.nan))
        pixels, _ = to_h36m17(flat, (xyv[..., 2] > 0).astype(np.float32), POSECLI19)
        people.append(Person3D(track, frames[rows], _rooted(joints), pixels))
    return People3D(path, tuple(people), None)


def _points_mm(node: Node) -> FloatArray:
    """(19, 3)."""
    value = node.child("keypoints_3d_mm")
    try:
        points = np.array(value.value, np.float32)
    except (ValueError, TypeError) as error:
        raise value.error("not a list of points") from error
    if points.shape != (len(POSECLI19), 3):
        raise value.error(f"{points.shape} is not ({len(POSECLI19)}, 3)")
    return points


def _pair_by_track(predicted: Sequence[Person3D], truth: Sequence[Person3D]) -> _Pairs:
    places = {
        (person.track_id, frame): (which, row)
        for which, person in enumerate(predicted)
        for row, frame in enumerate(person.frame_indices.tolist())
    }
    wanted = ((person.track_id, frame) for person in truth for frame in person.frame_indices.tolist())
    return {key: places[key] for key in wanted if key in places}


def _pair_by_picture(predicted: Sequence[Person3D], truth: Sequence[Person3D]) -> _Pairs:
    """One to one in each frame, so that people are as close to each other as can be."""
    from scipy.optimize import linear_sum_assignment

    theirs, ours = _rows_by_frame(predicted), _rows_by_frame(truth)
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    for frame in sorted(set(theirs) & set(ours)):
        costs = np.array([[_apart(truth[t], i, predicted[p], k) for p, k in theirs[frame]] for t, i in ours[frame]])
        for a, b in zip(*linear_sum_assignment(np.minimum(costs, 10.0)), strict=True):
            if costs[a, b] < MAX_PAIR_DISTANCE:
                pairs[truth[ours[frame][a][0]].track_id, frame] = theirs[frame][b]
    return pairs


def _rows_by_frame(people: Sequence[Person3D]) -> dict[int, list[tuple[int, int]]]:
    """By frame: (which person, row)."""
    found: dict[int, list[tuple[int, int]]] = {}
    for which, person in enumerate(people):
        for row, frame in enumerate(person.frame_indices.tolist()):
            found.setdefault(frame, []).append((which, row))
    return found


def _apart(true: Person3D, row: int, other: Person3D, other_row: int) -> float:
    """Mean distance of the joints in the picture, over the diagonal of the true ones; infinite if few are known on both sides."""
    assert true.joints_px is not None and other.joints_px is not None  # noqa: PT018 - asked before
    own, found = true.joints_px[row], other.joints_px[other_row]
    common = np.isfinite(own).all(axis=1) & np.isfinite(found).all(axis=1)
    if common.sum() < _LEAST_JOINTS:
        return float("inf")
    known = own[np.isfinite(own).all(axis=1)]
    diagonal = float(np.linalg.norm(known.max(axis=0) - known.min(axis=0)))
    return float(np.linalg.norm(own[common] - found[common], axis=1).mean()) / max(diagonal, 1.0)


def _timeline(
    person: Person3D, predicted: Sequence[Person3D], pairs: _Pairs, *, is_same_size: bool
) -> tuple[FloatArray, FloatArray]:
    """Predicted and true joints, one row for every frame from the person's first to last, NaN where unknown; and one empty row."""
    frames = person.frame_indices
    length = int(frames[-1] - frames[0]) + 2 if len(frames) else 0
    found, wanted = np.full((2, length, _J, 3), np.nan, np.float32)
    for row, frame in enumerate(frames.tolist()):
        wanted[frame - frames[0]] = person.joints_mm[row]
        if (person.track_id, frame) in pairs:
            which, other = pairs[person.track_id, frame]
            found[frame - frames[0]] = predicted[which].joints_mm[other]
    if is_same_size and length:
        sizes = standard_size(wanted.astype(np.float64)), standard_size(found.astype(np.float64))
        found *= np.float32(sizes[0] / sizes[1]) if np.isfinite(sizes).all() else np.float32(1.0)
    return found, wanted
