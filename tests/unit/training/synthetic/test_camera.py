"""The camera keeps posecli's pixels: the centre of the top-left one is (0, 0)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posecli.training.synthetic.camera import Camera, framed, look_at
from posecli.training.synthetic.rotations import about_y


def camera() -> Camera:
    return replace(look_at((0, 1, 4), (0, 1, 0)), focal_px=100.0, centre=np.array([49.5, 39.5]), size_wh=(100, 80))


def test_what_is_right_of_the_axis_is_right_in_the_picture() -> None:
    places, depth = camera().project(np.array([[0.0, 1, 0], [1, 1, 0], [0, 2, 0], [0, 1, 5]]))
    assert places[0] == pytest.approx([49.5, 39.5])
    assert places[1] == pytest.approx([74.5, 39.5])
    assert places[2] == pytest.approx([49.5, 14.5])
    assert depth == pytest.approx([4, 4, 4, -1])


def test_straight_up_and_down_are_no_trouble() -> None:
    for height in (-3.0, 3.0):
        view = look_at((0, height, 0), (0, 0, 0))
        assert view.rotation @ view.rotation.T == pytest.approx(np.eye(3))
        assert view.project(np.zeros(3))[1] == pytest.approx(3.0)


def test_magnifying_keeps_edges_of_pixels_on_edges() -> None:
    point = np.array([[0.3, 1.2, 0.1]])
    small, large = camera().project(point)[0], camera().magnified(2).project(point)[0]
    assert (large + 0.5) / 2 - 0.5 == pytest.approx(small)
    assert camera().magnified(2).size_wh == (200, 160)


def test_widening_and_shifting_move_the_picture() -> None:
    point = np.array([[0.3, 1.2, 0.1]])
    place = camera().project(point)[0]
    assert camera().widened(7).project(point)[0] == pytest.approx(place + 7)
    assert camera().shifted(np.array([1.0, -2.0])).project(point)[0] == pytest.approx(place + np.array([1, -2]))


def test_homography_carries_far_points() -> None:
    first = camera()
    second = replace(first.turned(about_y(0.05)), focal_px=130.0)
    far = first.position + np.array([[10.0, 20.0, -300.0], [-20.0, 3.0, -200.0]])
    place, expected = first.project(far)[0], second.project(far)[0]
    carried = np.column_stack([place, np.ones(2)]) @ second.homography_from(first).T
    assert carried[:, :2] / carried[:, 2:] == pytest.approx(expected)


def test_framing_puts_the_box_where_it_is_wanted() -> None:
    view = look_at((0, 1, 4), (0, 1, 0))
    box = np.array([-0.2, -0.4, 0.3, 0.2])
    crop = framed(view, box, focal_px=200.0, centre_px=np.array([60.0, 70.0]), size_wh=(120, 140))
    corners = np.stack([box[:2], box[2:]]) * 200.0 + crop.centre
    assert corners.mean(axis=0) == pytest.approx([60, 70])
    assert corners[1] - corners[0] == pytest.approx([100, 120])


def test_the_flat_form_holds_everything() -> None:
    flat = camera().flat
    assert flat.shape == (15,)
    assert flat[:9].reshape(3, 3) == pytest.approx(camera().rotation, abs=1e-6)
    assert flat[9:].tolist() == pytest.approx([0, 1, 4, 100, 49.5, 39.5])
