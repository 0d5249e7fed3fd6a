"""Limbs that move on their own, in windows made of one still: the picture around a few keypoints is pulled along from frame to frame.

The displacement is a sum of Gaussian bumps centred on keypoints, zero in the middle frame and growing evenly towards both ends. Pulls
are kept short beside the width of their bumps, so the map never folds.

Legend: T frames, K keypoints, H x W crop px, n bumps.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray, ImageArray

_MAX_BUMPS = 4
# the slope of a Gaussian bump is at most 0.61 of pull / width; the map is one-to-one while that stays below 1
_MIN_WIDTH_PER_PULL = 2.0
_WIDTHS = (0.06, 0.15)
_INVERSION_STEPS = 6


def pull_limbs(images: ImageArray, keypoints: FloatArray, strength: float, rng: np.random.Generator) -> None:
    """Move up to four keypoints and their surroundings, in place.

    Args:
        images: (T, H, W, 3).
        keypoints: (T, K, 2) crop px; NaN where unlabelled.
        strength: Standard deviation of the motion per frame, in crop heights.
        rng: All randomness comes from here.
    """
    frames, height, width = images.shape[:3]
    middle = (frames - 1) / 2
    points = keypoints[frames // 2]
    inside = np.flatnonzero((np.nan_to_num(points, nan=-1.0) >= 0).all(axis=1) & (points < [width, height]).all(axis=1))
    if not len(inside):
        return
    chosen = rng.choice(inside, size=min(len(inside), int(rng.integers(1, _MAX_BUMPS + 1))), replace=False)
    pulls = rng.normal(0.0, strength * height, (len(chosen), 2))
    widths = rng.uniform(*_WIDTHS, len(chosen)) * height
    longest = widths / (_MIN_WIDTH_PER_PULL * np.sqrt(len(chosen)) * middle)
    pulls *= np.minimum(1.0, longest / np.maximum(np.linalg.norm(pulls, axis=1), 1e-9))[:, None]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    for t in range(frames):
        if t == middle:
            continue
        centres = keypoints[t, chosen].astype(np.float64)
        moved = pulls * (t - middle)
        source = (grid - _displacement(grid, centres, widths, moved)).astype(np.float32)
        xs, ys = source[..., 0], source[..., 1]
        images[t] = cv2.remap(images[t], xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        keypoints[t] = _follow(keypoints[t], centres, widths, moved)


def _displacement(
    at: NDArray[np.floating], centres: NDArray[np.float64], widths: NDArray[np.float64], pulls: NDArray[np.float64]
) -> FloatArray:
    """(..., 2) px: what the bumps add at the positions ``at`` (..., 2) of the moved picture."""
    total = np.zeros(at.shape, np.float32)
    for centre, width, pull in zip(centres, widths, pulls, strict=True):
        # centred half way, so that the bump acts alike on where the limb was and where it is now
        squared = ((at - (centre + pull / 2).astype(np.float32)) ** 2).sum(axis=-1, keepdims=True)
        total += np.exp(squared * np.float32(-0.5 / width**2)) * pull.astype(np.float32)
    return total


def _follow(
    points: FloatArray, centres: NDArray[np.float64], widths: NDArray[np.float64], pulls: NDArray[np.float64]
) -> FloatArray:
    """Where points of the unmoved picture are in the moved one: p' = p + d(p'), by iteration; NaN stays NaN."""
    moved = points.copy()
    for _ in range(_INVERSION_STEPS):
        moved = points + _displacement(moved, centres, widths, pulls)
    return moved.astype(np.float32)
