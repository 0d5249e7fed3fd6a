"""Textures with all their smaller versions in one flat array, as the shading loop reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from posecli.records import ImageArray, IntArray

_SMALLEST = 4
MAX_LEVELS = 12


class TextureStack(NamedTuple):
    """M square textures, sides powers of two.

    ``texels`` (N, 4) RGBA; ``starts`` (M, MAX_LEVELS) of every level; ``sides`` (M,); ``num_levels`` (M,).
    """

    texels: ImageArray
    starts: IntArray
    sides: IntArray
    num_levels: IntArray


def stack_textures(pictures: Sequence[ImageArray]) -> TextureStack:
    """Stack (H, W, 4) pictures; sides that are no equal powers of two are scaled to the next one below the longer."""
    texels: list[ImageArray] = []
    starts = np.zeros((len(pictures), MAX_LEVELS), np.int64)
    sides, counts, total = [], [], 0
    for row, picture in enumerate(pictures):
        level = _square(picture)
        sides.append(len(level))
        count = 0
        while len(level) >= _SMALLEST and count < MAX_LEVELS:
            starts[row, count] = total
            texels.append(level.reshape(-1, 4))
            total += len(texels[-1])
            level = np.asarray(cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
            count += 1
        counts.append(count)
    return TextureStack(np.concatenate(texels), starts, np.array(sides, np.int64), np.array(counts, np.int64))


def _square(picture: ImageArray) -> ImageArray:
    side = max(1 << (max(picture.shape[:2]).bit_length() - 1), _SMALLEST)
    if picture.shape[:2] == (side, side):
        return np.ascontiguousarray(picture)
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def opaque(rgb: ImageArray) -> ImageArray:
    """(H, W, 3) -> (H, W, 4) with full alpha."""
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
