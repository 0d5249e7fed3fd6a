"""Training pictures: one picture or a mosaic of four, moved, scaled, stretched, turned, mirrored, recoloured.

Legend: S side of the square training picture, px; N boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.geometry import affine_apply, box_area
from posecli.people.letterbox import GREY
from posecli.records import BoolArray, FloatArray, ImageArray
from posecli.training.damage import blur_kernel, colour_table
from posecli.training.detector.data import Picture
from posecli.training.detector.recipe import BoxAugmentConfig

_BARELY = 0.05  # a smaller visible part is not even worth ignoring
_JOINT = (0.3, 0.7)  # where the four parts of a mosaic meet, parts of the side


@dataclass(frozen=True, slots=True)
class Example:
    """One training picture.

    Attributes:
        image: (S, S, 3) RGB.
        boxes: (N, 4) xyxy px, cut to the picture.
        box_weights: (N,) weights of the box loss.
        is_ignored: (N,) regions to learn nothing from.
        unlabelled: (M, 4) xyxy px, regions to learn nothing from outside the boxes.
    """

    image: ImageArray
    boxes: FloatArray
    box_weights: FloatArray
    is_ignored: BoolArray
    unlabelled: FloatArray


@dataclass(frozen=True, slots=True)
class _Placed:
    boxes: FloatArray
    weights: FloatArray
    is_ignored: BoolArray
    unlabelled: FloatArray


def make_example(
    pictures: list[Picture], config: BoxAugmentConfig, *, side_px: int, rng: np.random.Generator
) -> Example:
    """One training picture.

    Args:
        pictures: One, or four for a mosaic.
        config: Strengths.
        side_px: S.
        rng: All randomness comes from here.
    """
    canvas = np.full((side_px, side_px, 3), GREY, np.uint8)
    windows = _windows(len(pictures), side_px, rng)
    is_mosaic = len(pictures) > 1
    placed = [_place(p, canvas, window, is_mosaic, config, rng) for p, window in zip(pictures, windows, strict=True)]
    for part in placed:
        _erase(canvas, part.boxes, config, rng)
    return Example(
        _recolour(canvas, config, rng),
        np.concatenate([p.boxes for p in placed]),
        np.concatenate([p.weights for p in placed]),
        np.concatenate([p.is_ignored for p in placed]),
        np.concatenate([p.unlabelled for p in placed]),
    )


def _windows(count: int, side: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """x0, y0, x1, y1 of the places: the whole, or four around a joint."""
    if count == 1:
        return [(0, 0, side, side)]
    x, y = (int(side * rng.uniform(*_JOINT)) for _ in range(2))
    return [(0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side)]


def _place(
    picture: Picture,
    canvas: ImageArray,
    window: tuple[int, int, int, int],
    is_mosaic: bool,
    config: BoxAugmentConfig,
    rng: np.random.Generator,
) -> _Placed:
    """Draw a picture into its window of the canvas; its boxes in canvas px."""
    x0, y0, x1, y1 = window
    size = np.array([x1 - x0, y1 - y0], np.float64)
    matrix = _matrix(picture, size, is_mosaic, config, rng)
    image, image_matrix = picture.images[0], matrix
    if np.abs(matrix[:, :2]).sum(axis=1).max() < 0.5:
        image = picture.images[1]
        factor = np.array(picture.images[0].shape[1::-1]) / np.array(image.shape[1::-1])
        image_matrix = np.column_stack([matrix[:, :2] * factor, matrix[:, 2] + matrix[:, :2] @ (0.5 * (factor - 1.0))])
    canvas[y0:y1, x0:x1] = cv2.warpAffine(
        image, image_matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderValue=(GREY, GREY, GREY)
    )
    height, width = picture.images[0].shape[:2]
    extent = np.array([[-0.5, -0.5, width - 0.5, height - 0.5]], np.float32)
    corner = np.tile(np.array([x0, y0], np.float32), 2)
    boxes, visible = _cut(_transform(matrix, picture.boxes), size)
    keep = visible > _BARELY
    boxes, visible = boxes[keep] + corner, visible[keep]
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
    is_ignored = picture.is_ignored[keep] | (visible < config.min_visible) | (longer < config.min_side_px)
    unlabelled = np.zeros((0, 4), np.float32)
    if not picture.has_all_people:
        unlabelled = _cut(_transform(matrix, extent, is_full=True), size)[0] + corner
    return _Placed(boxes, np.full(len(boxes), picture.box_weight, np.float32), is_ignored, unlabelled)


def _matrix(
    picture: Picture, size: NDArray[np.float64], is_mosaic: bool, config: BoxAugmentConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(2, 3) picture px -> window px: scale, stretch, turn, place, mirror."""
    height, width = picture.images[0].shape[:2]
    wh = np.array([width, height], np.float64)
    stretch = np.exp(rng.uniform(-0.5, 0.5) * np.log(config.max_aspect))
    linear = _turn(config, rng) @ np.diag([stretch, 1.0 / stretch])
    reach = np.abs(linear) @ wh  # sides of the turned picture's box
    scale = (size / reach).max() if is_mosaic else (size / reach).min()
    scale *= np.exp(rng.uniform(*np.log(config.mosaic_scale if is_mosaic else config.scale)))
    linear, reach = linear * scale, reach * scale
    free = size - reach  # negative where the picture is larger than its window
    centre = free * rng.uniform(0.0, 1.0, 2) + reach / 2 - 0.5
    if rng.random() < config.flip:
        linear = linear @ np.diag([-1.0, 1.0])
    return np.column_stack([linear, centre - linear @ ((wh - 1) / 2)])


def _turn(config: BoxAugmentConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 2) rotation."""
    angle = rng.uniform(-1.0, 1.0) * config.rotation_deg if rng.random() < config.rotation else 0.0
    angle += rng.choice([-90.0, 90.0]) if rng.random() < config.quarter_turn else 0.0
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[cosine, -sine], [sine, cosine]])


def _transform(matrix: NDArray[np.float64], boxes: FloatArray, *, is_full: bool = False) -> FloatArray:
    """(N, 4) boxes through an affine; unless boxes are full, that around the ellipse inside: people do not fill the corners."""
    centres = affine_apply(matrix, (boxes[:, :2] + boxes[:, 2:]) / 2)
    half, linear = (boxes[:, 2:] - boxes[:, :2]) / 2, matrix[:, :2]
    half = half @ np.abs(linear).T if is_full else np.sqrt(half**2 @ (linear**2).T)
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def _cut(boxes: FloatArray, size: NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
    """Boxes cut to a window of this size, and the parts of their areas that are left."""
    limit = np.tile(size, 2) - 0.5
    cut = np.clip(boxes, -0.5, limit).astype(np.float32)
    return cut, np.asarray(box_area(cut) / np.maximum(box_area(boxes), 1e-6), np.float32)


def _recolour(image: ImageArray, config: BoxAugmentConfig, rng: np.random.Generator) -> ImageArray:
    table = colour_table(config.colour, rng)
    image = np.asarray(cv2.LUT(image, table[None]), np.uint8)
    if rng.random() < config.greyscale:
        image = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    if rng.random() < config.blur:
        image = np.asarray(cv2.filter2D(image, -1, blur_kernel(image.shape[0] // 2, rng)), np.uint8)
    if rng.random() < config.jpeg:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)  # the order of the colours cancels out
    return image


def _erase(image: ImageArray, boxes: FloatArray, config: BoxAugmentConfig, rng: np.random.Generator) -> None:
    """Cover parts of people, in place, as passers-by and furniture do; their boxes stay."""
    for box in boxes:
        if rng.random() >= config.erase:
            continue
        sides = box[2:] - box[:2]
        low = box[:2] + sides * rng.uniform(0.0, 0.6, 2)
        high = low + sides * rng.uniform(0.2, 0.4, 2)
        x0, y0, x1, y1 = np.rint(np.concatenate([low, high])).astype(int).clip(0)
        image[y0:y1, x0:x1] = rng.integers(0, 256, 3)
