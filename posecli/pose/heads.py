"""Where the head is: what a network that looks at heads alone is shown.

Legend: T frames, K keypoints. Crop sizes are (height, width) px.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from posecli.geometry import CropTransform
from posecli.records import FloatArray, IntArray
from posecli.skeletons import POSECLI19

HEAD_POINTS: Final[IntArray] = np.array(
    [i for i, name in enumerate(POSECLI19.keypoint_names) if name.endswith(("nose", "eye", "ear", "neck", "head_top"))]
)
_NECK, _TOP = (POSECLI19.index(name) for name in ("neck", "head_top"))
_SIDE_IN_REACHES = 5.4  # an upright head fills two fifths of the crop's height
_FEWEST_POINTS = 3
_LEAST_SIDE_PX = 8.0
_LEAST_SCORE = 0.1
_SHARE_OF_CLOSER = 0.6  # measured: the mean of both looks is better than either
_FAR_IN_SIDES = 0.13  # about a third of a head


def head_transform(
    keypoints: FloatArray,
    scores: FloatArray,
    crop_hw: tuple[int, int],
    *,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    rotation_deg: float = 0.0,
) -> CropTransform | None:
    """One crop around a head for a whole window, turned so that the head's top is up, as large as the head in most frames wants.

    Args:
        keypoints: (T, K, 2) px.
        scores: (T, K); points with little are as good as unknown.
        crop_hw: Size of the crop, px.
        scale: How much larger the head is shown than usual.
        shift: Of the crop, in its sides.
        rotation_deg: Turn beside the one that puts the head upright.

    Returns:
        The crop; ``None`` where too few points of the head are known in every frame.
    """
    points = keypoints[:, HEAD_POINTS].astype(np.float64)
    is_known = scores[:, HEAD_POINTS] >= _LEAST_SCORE
    usable = is_known.sum(axis=1) >= _FEWEST_POINTS
    if not usable.any():
        return None
    points, is_known = points[usable], is_known[usable]
    weights = is_known[..., None] / is_known.sum(axis=1)[:, None, None]
    points = np.where(is_known[..., None], points, 0.0)
    middles = (points * weights).sum(axis=1)
    reaches = np.sqrt((np.square(points - middles[:, None]) * weights).sum(axis=(1, 2)))
    low, high = middles.min(axis=0), middles.max(axis=0)
    side = max(_SIDE_IN_REACHES * float(np.median(reaches)) + float((high - low).max()), _LEAST_SIDE_PX) / scale
    middle = (low + high) / 2 + np.array(shift) * side
    box = np.concatenate([middle - side / 2, middle + side / 2])
    return CropTransform.from_box(
        box, crop_hw[::-1], enlarge=1.0, rotation_deg=rotation_deg - _lean_deg(keypoints, scores)
    )


def _lean_deg(keypoints: FloatArray, scores: FloatArray) -> float:
    """How far the line from neck to top leans to the right of upright; 0 where it is not known."""
    is_known = (scores[:, [_NECK, _TOP]] >= _LEAST_SCORE).all(axis=1)
    if not is_known.any():
        return 0.0
    across, down = (keypoints[is_known, _TOP] - keypoints[is_known, _NECK]).mean(axis=0).tolist()
    return float(np.degrees(np.arctan2(across, -down)))


def put_heads(rows: FloatArray, closer: FloatArray, sides_px: FloatArray) -> FloatArray:
    """The points of heads from both looks: where each sees them, averaged.

    Where the two see a point far apart one of them sees somebody else's, and the first look's stays, which goes with the rest of its
    person (`posecli.pose.crossings` mends that over time).

    Args:
        rows: (N, F, K, 3) people, x, y and score, from the first look.
        closer: (N, F, K, 3) the same from the second.
        sides_px: (N,) of the crops that the second look saw.

    Returns:
        (N, F, K, 3); scores stay those of the first look, which what comes later was adjusted to.
    """
    merged = rows.copy()
    moves = (closer - rows)[:, :, HEAD_POINTS, :2]
    is_near = np.linalg.norm(moves, axis=-1) < _FAR_IN_SIDES * sides_px[:, None, None]
    merged[:, :, HEAD_POINTS, :2] += _SHARE_OF_CLOSER * moves * is_near[..., None]
    return merged
