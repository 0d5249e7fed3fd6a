"""How boxes overlap, in double precision: thresholds decide here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posecli.geometry import intersection_area, iou_of_areas
from posecli.records import FloatArray

_Float64 = NDArray[np.float64]


def overlap(boxes_a: FloatArray, boxes_b: FloatArray) -> _Float64:
    """(N, 4) and (M, 4) xyxy -> (N, M) intersection over union; 0 where both are empty."""
    a, b = boxes_a.astype(np.float64), boxes_b.astype(np.float64)
    shared = intersection_area(a[:, None], b[None])
    return iou_of_areas(shared, intersection_area(a, a), intersection_area(b, b)).astype(np.float64)


def covered_fraction(boxes: FloatArray, regions: FloatArray) -> _Float64:
    """(D, 4) boxes and (G, 4) regions -> (D, G), how much of each box lies in each region."""
    a, b = boxes.astype(np.float64), regions.astype(np.float64)
    areas = np.maximum(intersection_area(a, a)[:, None], np.spacing(1.0))
    return np.asarray(intersection_area(a[:, None], b[None]) / areas, np.float64)
