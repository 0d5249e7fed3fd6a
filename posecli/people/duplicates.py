"""Of boxes that overlap strongly only the best stays; what two looks at a frame agree on is averaged, and surer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from posecli.geometry import iou_matrix
from posecli.records import FloatArray, IntArray


def best_boxes(boxes: FloatArray, scores: FloatArray, *, max_iou: float) -> IntArray:
    """Which boxes stay.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        max_iou: A box that overlaps a better one by more is a duplicate.

    Returns:
        (M,) indices, best first; equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    overlaps = iou_matrix(boxes[order], boxes[order])
    is_kept = np.ones(len(order), np.bool_)
    for i in range(len(order)):
        if is_kept[i]:
            is_kept[i + 1 :] &= overlaps[i, i + 1 :] <= max_iou
    return order[is_kept].astype(np.int64)


def fuse_looks(
    looks: Sequence[tuple[FloatArray, FloatArray]], *, min_iou: float, max_iou: float
) -> tuple[FloatArray, FloatArray]:
    """One answer from several looks at the same frame.

    A person whom two looks see has the average of both boxes, weighted by their scores (after weighted boxes fusion, Solovyev et al.
    2021), and the score that one of two chances comes true: 1 - (1 - a)(1 - b). Boxes of one look are two people, never averaged.

    Args:
        looks: Of each look boxes (N, 4) xyxy and scores (N,).
        min_iou: Boxes of two looks that overlap by more are the same person.
        max_iou: Of boxes of one look, and of those that come out, one that overlaps a better one by more is a duplicate.

    Returns:
        (M, 4) and (M,), best first.
    """
    people: list[_Person] = []
    found = [(best_boxes(boxes, scores, max_iou=max_iou), boxes, scores) for boxes, scores in looks]
    rows = [(float(scores[i]), look, boxes[i]) for look, (kept, boxes, scores) in enumerate(found) for i in kept]
    for score, look, box in sorted(rows, key=lambda row: -row[0]):
        others = [person for person in people if look not in person.looks]
        overlaps = iou_matrix(box[None], np.stack([person.box for person in others]))[0] if others else np.zeros(1)
        if overlaps.max() > min_iou:
            others[int(overlaps.argmax())].add(look, box, score)
        else:
            people.append(_Person({look}, box, score, 1.0 - score))
    boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
    scores = np.array([1.0 - person.doubt for person in people], np.float32)
    kept = best_boxes(boxes, scores, max_iou=max_iou)
    return boxes[kept], scores[kept]


@dataclass
class _Person:
    """What is known so far: the ``looks`` that saw it, their average box (4,), the sum of scores, the chance that all are wrong."""

    looks: set[int]
    box: FloatArray
    weight: float
    doubt: float

    def add(self, look: int, box: FloatArray, score: float) -> None:
        self.looks.add(look)
        self.box = self.box + (box - self.box) * np.float32(score / (self.weight + score))
        self.weight += score
        self.doubt *= 1.0 - score
