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
    # warpAffine cannot average; below half size, bilinear sampling would alias
    is_shrunk = transform.scale < 0.5
    for t, image in enumerate(images):
        if t and image is images[t - 1]:
            crops[t] = crops[t - 1]
        elif is_shrunk:
            _cut_shrunk(image, transform, crops[t])
        else:
            # straight into its place; OpenCV writes into an array that fits
            cv2.warpAffine(image, transform.matrix, (width, height), dst=crops[t], flags=cv2.INTER_LINEAR)
    return crops


def _cut_shrunk(image: ImageArray, transform: CropTransform, out: ImageArray) -> None:
    """Average the person's part of the frame down by a whole factor, which is quick, then warp by what is left of the scale."""
    factor = int(np.floor(1.0 / transform.scale))
    (left, right), (top, bottom) = (
        _whole_blocks(low, high, size, factor)
        for low, high, size in zip(*_source_region(transform), image.shape[1::-1], strict=True)
    )
    if right <= left or bottom <= top:
        out[:] = 0  # the crop lies outside the frame
        return
    small_wh = ((right - left) // factor, (bottom - top) // factor)
    small = cv2.resize(image[top:bottom, left:right], small_wh, interpolation=cv2.INTER_AREA)
    # pixel x of the small picture is the mean of ``factor`` pixels of the frame, the first at left + factor * x
    matrix = transform.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ (np.array([left, top]) + (factor - 1) / 2)
    matrix[:, :2] *= factor
    cv2.warpAffine(small, matrix, transform.size_wh, dst=out, flags=cv2.INTER_LINEAR)


def _source_region(transform: CropTransform) -> tuple[FloatArray, FloatArray]:
    """Left and top, right and bottom of the part of the frame that a crop shows, px; a pixel of the crop more on all sides."""
    width, height = transform.size_wh
    corners = transform.to_frame(np.array([[-1, -1], [width, -1], [-1, height], [width, height]], np.float32))
    return corners.min(axis=0), corners.max(axis=0)


def _whole_blocks(low: float, high: float, size: int, factor: int) -> tuple[int, int]:
    """First pixel and one past the last of whole blocks of ``factor`` pixels that cover low to high, inside 0 to ``size``."""
    first = max(0, int(np.floor(low)))
    count = -(-(min(size, int(np.ceil(high)) + 1) - first) // factor)
    if first + count * factor > size:
        first = max(0, size - count * factor)
        count = (size - first) // factor
    return first, first + count * factor
