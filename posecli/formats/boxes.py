"""Person boxes a user already has.

Three files are understood:

- posecli's own: ``{"frames": [{"frame_index": 0, "boxes": [[left, top, right, bottom], ...], "scores": [0.9, ...]}, ...]}``;
  pixels of the upright frame, frames counted from 0, ``scores`` optional (1 by default), frames without people may be left out;
- a COCO data set: ``bbox`` is left, top, width, height; the frame is the image's ``frame_index`` where it has one, else its
  place in ``images``; ``score`` optional; crowds are skipped;
- COCO results: a bare list; ``image_id`` is the frame index + 1, as in the files posecli writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posecli.formats.document import Node, load_json
from posecli.records import Detections

_Found = tuple[int, NDArray[np.float64], float]


def read_boxes(path: Path) -> dict[int, Detections]:
    """Read person boxes.

    Returns:
        Detections by frame index, for the frames that have any; in the order of the file within a frame.

    Raises:
        FormatError: The file is not JSON or none of the three; the message names the key and the value.
    """
    document = load_json(path)
    by_frame: dict[int, list[_Found]] = {}
    for found in _find(document):
        by_frame.setdefault(found[0], []).append(found)
    return {
        index: Detections(
            index,
            np.array([box for _, box, _ in members], np.float32).reshape(-1, 4),
            np.array([score for _, _, score in members], np.float32),
        )
        for index, members in sorted(by_frame.items())
    }


def _find(document: Node) -> Iterator[_Found]:
    if isinstance(document.value, list):
        return _from_results(Node(document.path, "", {"results": document.value}))
    if isinstance(document.value, dict) and "frames" in document.value:
        return _from_frames(document)
    if isinstance(document.value, dict) and "annotations" in document.value:
        return _from_dataset(document)
    raise document.error(
        "neither 'frames' nor 'annotations' nor a bare list", hint="see posecli annotate --help for boxes files"
    )


def _from_frames(document: Node) -> Iterator[_Found]:
    for frame in document.items("frames"):
        index = _frame_index(frame, frame.integer("frame_index"))
        boxes = list(frame.items("boxes"))
        scores = frame.numbers("scores", len(boxes)) if frame.has("scores") else np.ones(len(boxes))
        for node, score in zip(boxes, scores.tolist(), strict=True):
            yield index, _checked(node, node.as_numbers(4)), _score(frame, score)


def _from_dataset(document: Node) -> Iterator[_Found]:
    frames = {
        image.integer("id"): image.integer("frame_index") if image.has("frame_index") else place
        for place, image in enumerate(document.items("images"))
    }
    for node in document.items("annotations"):
        image_id = node.integer("image_id")
        if image_id not in frames:
            raise node.child("image_id").error(f"{image_id} is not the id of an image")
        if not (node.has("iscrowd") and node.flag("iscrowd")):
            yield _frame_index(node, frames[image_id]), *_coco_box(node)


def _from_results(document: Node) -> Iterator[_Found]:
    for node in document.items("results"):
        yield _frame_index(node, node.integer("image_id") - 1), *_coco_box(node)


def _coco_box(node: Node) -> tuple[NDArray[np.float64], float]:
    left, top, width, height = node.numbers("bbox", 4)
    score = node.number("score") if node.has("score") else 1.0
    return _checked(node.child("bbox"), np.array([left, top, left + width, top + height])), _score(node, score)


def _frame_index(node: Node, index: int) -> int:
    if index < 0:
        raise node.error(f"frame index {index} is negative")
    return index


def _checked(node: Node, box: NDArray[np.float64]) -> NDArray[np.float64]:
    if not (box[2] > box[0] and box[3] > box[1]):
        raise node.error(f"box {box.tolist()} (left, top, right, bottom) has no area")
    return box


def _score(node: Node, score: float) -> float:
    if not 0.0 <= score <= 1.0:
        raise node.error(f"score {score:g} is not in [0, 1]")
    return score
