"""How boxes overlap, in double precision: thresholds decide here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray

_Float64 = NDArray[np.float64]


def overlap(boxes_a: FloatArray, boxes_b: FloatArray) -> _Float64:
    """(N, 4) and (M, 4) xyxy -> (N, M) intersection over union; 0 where both are empty."""
    a, b = boxes_a.astype(np.float64), boxes_b.astype(np.float64)
    shared = _intersections(a, b)
    union = _areas(a)[:, None] + _areas(b)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def covered_fraction(boxes: FloatArray, regions: FloatArray) -> _Float64:
    """(D, 4) boxes and (G, 4) regions -> (D, G), how much of each box lies in each region."""
    a, b = boxes.astype(np.float64), regions.astype(np.float64)
    return np.asarray(_intersections(a, b) / np.maximum(_areas(a)[:, None], np.spacing(1.0)), np.float64)


def _areas(boxes: _Float64) -> _Float64:
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1), np.float64)


def _intersections(a: _Float64, b: _Float64) -> _Float64:
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.asarray(np.clip(sides, 0.0, None).prod(axis=-1), np.float64)
