"""What somebody wears: the colours of trunk and thighs, read at their keypoints.

A few dozen pixels of one frame say little; the median of several frames tells most people in a picture apart, except in uniform.
Colours are CIE L*a*b*, in which equal distances look about equally different.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray, ImageArray
from posecli.skeletons import POSECLI19

NUM_COLOURS = 6
"""L*, a*, b* of the trunk, then of the thighs."""

_MIN_SCORE = 0.3
# Shares of the way: away from the edges, where keypoints that are a little off meet the background.
_ACROSS_STEPS = (0.25, 0.5, 0.75)
_DOWN_STEPS = (0.15, 0.3, 0.5, 0.7, 0.85)
_THIGH_STEPS = (0.2, 0.35, 0.5, 0.65, 0.8)
_TRUNK = tuple(POSECLI19.index(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"))
_THIGHS = tuple(tuple(POSECLI19.index(f"{side}_{name}") for name in ("hip", "knee")) for side in ("left", "right"))
_WHITE = np.array([0.9505, 1.0, 1.089])
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def sample_colours(image: ImageArray, keypoints: NDArray[np.floating], scores: NDArray[np.floating]) -> FloatArray:
    """The colours of one person in one frame.

    Args:
        image: (H, W, 3) RGB.
        keypoints: (19, 2) px, in the order of POSECLI19.
        scores: (19,).

    Returns:
        (`NUM_COLOURS`,); NaN for a part that is unsure or outside the picture.
    """
    points = np.asarray(keypoints, np.float64)
    is_sure = np.isfinite(points).all(axis=1) & (np.nan_to_num(np.asarray(scores, np.float64)) >= _MIN_SCORE)
    parts = [_trunk_points(points, is_sure), _thigh_points(points, is_sure)]
    return np.concatenate([_median_colour(image, part) for part in parts]).astype(np.float32)


def _trunk_points(points: NDArray[np.float64], is_sure: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 2): a grid between shoulders and hips, away from the edges."""
    if not is_sure[list(_TRUNK)].all():
        return np.zeros((0, 2))
    left_shoulder, right_shoulder, left_hip, right_hip = points[list(_TRUNK)]
    across, down = (grid.reshape(-1, 1) for grid in np.meshgrid(_ACROSS_STEPS, _DOWN_STEPS))
    top = left_shoulder * (1.0 - across) + right_shoulder * across
    bottom = left_hip * (1.0 - across) + right_hip * across
    return np.asarray(top * (1.0 - down) + bottom * down, np.float64)


def _thigh_points(points: NDArray[np.float64], is_sure: NDArray[np.bool_]) -> NDArray[np.float64]:
    found = [_along(points, start, end, _THIGH_STEPS) for start, end in _THIGHS if is_sure[start] and is_sure[end]]
    return np.concatenate([np.zeros((0, 2)), *found])


def _along(points: NDArray[np.float64], start: int, end: int, steps: tuple[float, ...]) -> NDArray[np.float64]:
    share = np.array(steps)[:, None]
    return np.asarray(points[start] * (1.0 - share) + points[end] * share, np.float64)


def _median_colour(image: ImageArray, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) L*, a*, b*: the median over the points inside the picture; NaN when there are less than three."""
    at = np.rint(points).astype(np.int64)
    height, width = image.shape[:2]
    at = at[(at >= 0).all(axis=1) & (at[:, 0] < width) & (at[:, 1] < height)]
    if len(at) < 3:
        return np.full(3, np.nan)
    return np.asarray(np.median(_lab(image[at[:, 1], at[:, 0]]), axis=0), np.float64)


def _lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, 3) sRGB -> (N, 3) CIE L*a*b* under D65; computed, because OpenCV looks it up and is off by up to 0.5."""
    value = rgb.astype(np.float64) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    relative = linear @ _TO_XYZ.T / _WHITE
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=1)
