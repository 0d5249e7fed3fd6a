"""Crops keep the pixel-centre convention at any scale, and one window shares one crop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from posecli.geometry import CropTransform
from posecli.pose.crops import cut_window, window_transform


@pytest.mark.parametrize("box_px", [40.0, 150.0, 460.0, 900.0])
def test_a_lit_spot_is_found_at_its_own_coordinate(box_px: float) -> None:
    """Both the bilinear path and the averaging one for large people."""
    image = np.zeros((1000, 1000, 3), np.uint8)
    x, y = 500 + round(0.1 * box_px), 500 - round(0.15 * box_px)
    radius = max(2, int(box_px / 40))
    image[y - radius : y + radius + 1, x - radius : x + radius + 1] = 255
    box = np.array([500 - box_px / 2, 500 - box_px / 2, 500 + box_px / 2, 500 + box_px / 2], np.float32)
    transform = window_transform(np.tile(box, (3, 1)), (192, 160))
    crop = cut_window([image], transform)[0].astype(np.float64).sum(axis=-1)
    ys, xs = np.mgrid[: crop.shape[0], : crop.shape[1]]
    centre = np.array([(xs * crop).sum(), (ys * crop).sum()]) / crop.sum()
    assert np.allclose(transform.to_frame(centre), [x, y], atol=0.15 / transform.scale + 0.05)


def test_to_frame_inverts_to_crop_with_rotation() -> None:
    transform = CropTransform.from_box(np.array([10.0, 20, 110, 220]), (160, 192), rotation_deg=33.0)
    points = np.random.default_rng(0).uniform(0, 200, (30, 2)).astype(np.float32)
    assert np.allclose(transform.to_frame(transform.to_crop(points)), points, atol=1e-3)


def test_the_crop_covers_the_union_of_the_boxes_enlarged() -> None:
    boxes = np.array([[0, 0, 50, 100], [30, 10, 80, 110], [np.nan] * 4], np.float32)
    transform = window_transform(boxes, (192, 160))
    corners = transform.to_crop(np.array([[0.0, 0.0], [80.0, 110.0]], np.float32))
    assert (corners >= 0).all() and (corners <= [160, 192]).all()
    height_share = (corners[1, 1] - corners[0, 1]) / 192
    assert height_share == pytest.approx(1 / 1.25, abs=0.01)


def test_a_repeated_frame_gives_the_same_crop() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    crops = cut_window([image] * 3, CropTransform.from_box(np.array([5.0, 5, 50, 50]), (32, 32)))
    assert (crops[0] == crops[2]).all()


@pytest.mark.parametrize("box_px", [420.0, 560.0, 900.0, 2500.0])
@pytest.mark.parametrize("centre", [(500, 500), (40, 70), (980, 960), (1400, 500)])
def test_shrunk_crops_are_the_mean_of_what_they_cover(box_px: float, centre: tuple[int, int]) -> None:
    """Against a warp at eight times the size, averaged; at the frame's edges and outside it, too."""
    ys, xs = np.mgrid[:1000, :1000] * (2 * np.pi / (box_px / 6))
    waves = np.stack([np.sin(xs), np.sin(ys), np.sin(xs + ys)], axis=-1)
    image = (128 + 100 * waves).astype(np.uint8)
    box = np.array([[centre[0], centre[1], centre[0], centre[1]]], np.float32) + box_px / 2 * np.array([-1, -1, 1, 1])
    transform = window_transform(box.astype(np.float32), (192, 160))
    assert transform.scale < 0.5
    matrix = transform.matrix * 8
    matrix[:, 2] += 3.5
    fine = cv2.warpAffine(image, matrix, (160 * 8, 192 * 8), flags=cv2.INTER_LINEAR)
    expected = cv2.resize(fine, (160, 192), interpolation=cv2.INTER_AREA).astype(int)
    crop = cut_window([image], transform)[0].astype(int)
    inside = cv2.erode((expected.sum(axis=-1) > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert np.abs(crop - expected)[inside].max(initial=0) < 12
    assert np.abs(crop - expected)[inside].mean() < 1.5 if inside.any() else (crop == 0).all()
