"""Colours read from a painted figure."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.people.appearance import NUM_COLOURS, sample_colours
from posecli.records import FloatArray, ImageArray
from posecli.skeletons import POSECLI19

_RED, _BLUE = (255, 0, 0), (0, 0, 255)
_RED_LAB, _BLUE_LAB = (53.24, 80.09, 67.20), (32.30, 79.19, -107.86)


def figure() -> tuple[ImageArray, FloatArray]:
    """A red trunk and blue legs on grey."""
    image = np.full((200, 120, 3), 128, np.uint8)
    image[40:100, 40:80], image[100:180, 40:80] = _RED, _BLUE
    points = np.full((19, 2), 5.0, np.float32)
    for name, place in {"shoulder": (42, 42), "hip": (46, 100), "knee": (46, 140)}.items():
        points[POSECLI19.index(f"left_{name}")] = (120 - place[0], place[1])
        points[POSECLI19.index(f"right_{name}")] = place
    return image, points


def test_trunk_and_thighs_are_told_apart() -> None:
    image, points = figure()
    colours = sample_colours(image, points, np.ones(19))
    assert colours.shape == (NUM_COLOURS,)
    np.testing.assert_allclose(colours, [*_RED_LAB, *_BLUE_LAB], atol=0.1)


def test_grey_has_no_hue() -> None:
    image, points = figure()
    np.testing.assert_allclose(
        sample_colours(np.full_like(image, 255), points, np.ones(19))[:3], [100, 0, 0], atol=0.02
    )


@pytest.mark.parametrize("name", ["left_shoulder", "right_hip"])
def test_a_trunk_with_an_unsure_corner_is_not_known(name: str) -> None:
    image, points = figure()
    scores = np.ones(19)
    scores[POSECLI19.index(name)] = 0.1
    assert np.isnan(sample_colours(image, points, scores)[:3]).all()


def test_one_thigh_is_enough() -> None:
    image, points = figure()
    points[POSECLI19.index("left_knee")] = np.nan
    colours = sample_colours(image, points, np.ones(19))
    np.testing.assert_allclose(colours[3:], _BLUE_LAB, atol=0.1)


def test_outside_the_picture_nothing_is_known() -> None:
    image, points = figure()
    assert np.isnan(sample_colours(image, points + 300.0, np.ones(19))).all()
    assert np.isnan(sample_colours(image, points - 300.0, np.ones(19))).all()
