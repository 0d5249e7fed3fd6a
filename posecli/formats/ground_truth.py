"""Labelled people in stills: COCO-style files with the 17 COCO names, with posecli's 19, or with boxes only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posecli.formats.document import Node, load_json
from posecli.geometry import xywh_to_xyxy
from posecli.records import BoolArray, FloatArray, IntArray
from posecli.skeletons import POSECLI19

_SAME_POINT = {"head_bottom": "neck"}


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One picture of a `GroundTruth`."""

    image_id: int
    file_name: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Labels of N people in some images, in the order of the file.

    ``keypoints`` (N, 19, 3) holds x, y, v in the order of ``posecli19``; v is 2 visible, 1 hidden, 0 not labelled (then x = y = 0).
    ``boxes`` (N, 4) xyxy px; ``areas`` (N,) px^2; ``is_crowd`` (N,) marks regions that stand for many people.
    ``labelled_points`` (K,) are the keypoint indices that the file's category names; empty for files with boxes only.
    """

    path: Path
    images: tuple[LabelledImage, ...]
    annotation_ids: IntArray
    image_ids: IntArray
    keypoints: FloatArray
    boxes: FloatArray
    areas: FloatArray
    is_crowd: BoolArray
    labelled_points: IntArray

    def __len__(self) -> int:
        return len(self.annotation_ids)

    def rows_by_image(self) -> dict[int, IntArray]:
        """For each image id, with people or not, the rows of its people."""
        order = np.argsort(self.image_ids, kind="stable")
        ids, starts = np.unique(self.image_ids[order], return_index=True)
        found = dict(zip(ids.tolist(), np.split(order, starts[1:]), strict=False))
        nobody = np.zeros(0, np.int64)
        return {image.image_id: found.get(image.image_id, nobody) for image in self.images}

    @property
    def has_keypoints(self) -> BoolArray:
        """(N,): people to estimate the pose of; not a crowd, at least one keypoint labelled."""
        return np.asarray((self.keypoints[..., 2] > 0).any(axis=1) & ~self.is_crowd)


def read_ground_truth(path: Path) -> GroundTruth:
    """Read a COCO-style label file.

    Only the categories named ``person`` (or the only category) count. ``area`` defaults to the area of the box, ``iscrowd`` to 0.

    Raises:
        FormatError: The file is not JSON or not of that form; the message names the key and the value.
    """
    document = load_json(path)
    images = tuple(_read_image(node) for node in document.items("images"))
    image_ids = {image.image_id for image in images}
    if len(image_ids) < len(images):
        raise document.child("images").error("two images have the same id")
    columns = _read_categories(document)
    people = []
    for node in document.items("annotations"):
        if node.integer("image_id") not in image_ids:
            raise node.child("image_id").error(f"{node.integer('image_id')} is not the id of an image")
        if node.integer("category_id") in columns:
            people.append(_read_person(node, columns[node.integer("category_id")]))
    boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
    return GroundTruth(
        path=path,
        images=images,
        annotation_ids=np.array([person.annotation_id for person in people], np.int64),
        image_ids=np.array([person.image_id for person in people], np.int64),
        keypoints=np.array([person.keypoints for person in people], np.float32).reshape(-1, len(POSECLI19), 3),
        boxes=xywh_to_xyxy(boxes),
        areas=np.array([person.area for person in people], np.float32),
        is_crowd=np.array([person.is_crowd for person in people], np.bool_),
        labelled_points=np.unique(np.concatenate([*columns.values()])).astype(np.int64),
    )


@dataclass(frozen=True, slots=True)
class _Person:
    annotation_id: int
    image_id: int
    keypoints: FloatArray
    box: FloatArray
    area: float
    is_crowd: bool


def _read_image(node: Node) -> LabelledImage:
    return LabelledImage(node.integer("id"), node.string("file_name"), node.size("width"), node.size("height"))


def _read_categories(document: Node) -> dict[int, IntArray]:
    """For each category of people, where its keypoints go among the 19."""
    categories = list(document.items("categories"))
    people = [node for node in categories if node.string("name") == "person"]
    people = people or (categories if len(categories) == 1 else [])
    if not people:
        raise document.child("categories").error('no category is named "person"')
    return {node.integer("id"): _read_columns(node) for node in people}


def _read_columns(category: Node) -> IntArray:
    names = category.strings("keypoints") if category.has("keypoints") else ()
    own = {name: i for i, name in enumerate(POSECLI19.keypoint_names)}
    columns = []
    for name in names:
        known = _SAME_POINT.get(name, name)
        if known not in own:
            hint = f"known are {', '.join(own)}"
            raise category.child("keypoints").error(f'"{name}" is no keypoint of posecli', hint=hint)
        columns.append(own[known])
    if len(set(columns)) < len(columns):
        raise category.child("keypoints").error("a keypoint is named twice")
    return np.array(columns, np.int64)


def _read_person(node: Node, columns: IntArray) -> _Person:
    keypoints = np.zeros((len(POSECLI19), 3), np.float32)
    if len(columns) and node.has("keypoints"):
        xyv = node.numbers("keypoints", 3 * len(columns)).reshape(-1, 3)
        keypoints[columns] = np.where(xyv[:, 2:] > 0, xyv, 0.0)
    box = node.numbers("bbox", 4)
    if (box[2:] < 0).any():
        raise node.child("bbox").error(f"width {box[2]:g} and height {box[3]:g} must not be negative")
    area = node.number("area") if node.has("area") else float(box[2] * box[3])
    if area < 0:
        raise node.child("area").error(f"{area:g} is negative")
    return _Person(
        annotation_id=node.integer("id"),
        image_id=node.integer("image_id"),
        keypoints=keypoints,
        box=box.astype(np.float32),
        area=area,
        is_crowd=node.flag("iscrowd") if node.has("iscrowd") else False,
    )


def keep_images(truth: GroundTruth, is_kept: Callable[[int], bool]) -> GroundTruth:
    """The part of a `GroundTruth` whose image ids satisfy ``is_kept``: a held-out split."""
    rows = np.array([is_kept(int(image_id)) for image_id in truth.image_ids], np.bool_)
    columns = ("annotation_ids", "image_ids", "keypoints", "boxes", "areas", "is_crowd")
    return replace(
        truth,
        images=tuple(image for image in truth.images if is_kept(image.image_id)),
        **{name: getattr(truth, name)[rows] for name in columns},
    )
