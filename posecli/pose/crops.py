"""Cutting a person out of frames. Legend: T frames, H x W crop px."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from posecli.geometry import CropTransform, union_box
from posecli.records import FloatArray, ImageArray

ENLARGE = 1.25


def window_transform(boxes: FloatArray, crop_hw: tuple[int, int]) -> CropTransform:
    """One crop for a whole window, so that motion inside it is motion in pixels.

    Args:
        boxes: (T, 4) xyxy px, the person's box in each frame; rows of NaN are ignored.
        crop_hw: Crop size, px.

    Returns:
        The crop around the union of the boxes, enlarged by a quarter (the habit of the paper's family for one frame's box).
    """
    known = boxes[np.isfinite(boxes).all(axis=1)]
    return CropTransform.from_box(union_box(known), (crop_hw[1], crop_hw[0]), enlarge=ENLARGE)


def cut_window(images: Sequence[ImageArray], transform: CropTransform, *, out: ImageArray | None = None) -> ImageArray:
    """Cut the same region out of T frames.

    Args:
        images: T upright RGB frames.
        transform: Where.
        out: (T, H, W, 3) uint8 to write into; made here when not given.

    Returns:
        (T, H, W, 3) uint8; black outside the frame. Identical consecutive frames are warped once.
    """
    width, height = transform.size_wh
    crops = np.empty((len(images), height, width, 3), np.uint8) if out is None else out
    # area averaging is not available in warpAffine; below half size, bilinear sampling would alias
    is_shrunk = transform.scale < 0.5
    for t, image in enumerate(images):
        if t and image is images[t - 1]:
            crops[t] = crops[t - 1]
        elif is_shrunk:
            crops[t] = _cut_shrunk(image, transform)
        else:
            # straight into its place; OpenCV writes into an array that fits
            cv2.warpAffine(image, transform.matrix, (width, height), dst=crops[t], flags=cv2.INTER_LINEAR)
    return crops


def _cut_shrunk(image: ImageArray, transform: CropTransform) -> ImageArray:
    """Warp at a multiple of the crop size, then average down by that whole factor."""
    factor = int(np.clip(np.floor(1.0 / transform.scale), 2, 8))
    width, height = transform.size_wh
    matrix = transform.matrix * factor
    matrix[:, 2] += (factor - 1) / 2  # centres of pixels: crop x sits at factor * x + (factor - 1) / 2
    large = cv2.warpAffine(image, matrix, (width * factor, height * factor), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
