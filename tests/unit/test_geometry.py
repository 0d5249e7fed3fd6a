"""Areas that boxes share."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import DTypeLike

from posecli.geometry import intersection_area, iou_matrix

BOXES = np.array([[0, 0, 4, 2], [3, 1, 5, 7], [9, 9, 8, 12]])  # the last one is inside out, so it is empty


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shared_areas_by_hand(dtype: DTypeLike) -> None:
    boxes = BOXES.astype(dtype)
    shared = intersection_area(boxes[:, None], boxes[None])
    assert shared.dtype == dtype
    assert shared.tolist() == [[8, 1, 0], [1, 12, 0], [0, 0, 0]]
    assert intersection_area(boxes, boxes).tolist() == [8, 12, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_iou_by_hand(dtype: DTypeLike) -> None:
    iou = iou_matrix(BOXES.astype(dtype), BOXES[1:].astype(dtype))
    assert iou.dtype == np.float32
    assert np.allclose(iou, np.array([[1 / 19, 0], [1, 0], [0, 0]]), rtol=1e-6, atol=0)
