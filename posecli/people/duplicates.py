"""Non-maximum suppression: of boxes that overlap strongly only the best stays."""

from __future__ import annotations

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
