"""Which pixels a surface may touch."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.training.synthetic.shading import _bounds


@pytest.mark.parametrize("factor", [1, 2])
def test_a_body_behind_the_camera_touches_nothing(factor: int) -> None:
    behind = np.array([[5.0, 5.0, -1.0], [9.0, 9.0, -2.0]], np.float32)
    left, top, right, bottom = _bounds(behind, 64, 48, factor)
    assert right >= left
    assert bottom >= top
    assert (right - left) * (bottom - top) == 0


def test_points_before_the_camera_and_the_picture_limit_it() -> None:
    points = np.array([[10.2, 20.7, 1.0], [90.0, 30.1, 1.0], [-5.0, 2.0, -1.0]], np.float32)
    assert _bounds(points, 64, 48, 1).tolist() == [10, 20, 64, 32]
