"""The camera that turns: everybody stays inside, whatever the angle."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.video.stage import Stage
from posecli.video.turntable import FRONT_RAD, SECONDS_PER_TURN, SIDE_RAD, fit_camera, fit_view, turn_rad


@pytest.mark.parametrize("size", [(320, 240), (960, 540), (200, 400)])
def test_everybody_is_inside_in_every_frame_from_every_side(size, person_3d, annotation_3d) -> None:
    steps = np.arange(60)[:, None]
    away = steps * np.array([20.0, 3.0, 60.0]) + [0.0, 900.0, 3000.0]
    across = steps * np.array([-40.0, 0.0, 0.0]) + [2500.0, 800.0, 5000.0]
    stage = Stage(annotation_3d(person_3d(60, path_mm=away), person_3d(60, path_mm=across, track_id=2)))
    camera = fit_camera(size, stage.rings_mm)
    joints = np.concatenate([[f.joints_mm for f in stage.figures_at(k)] for k in range(60)])
    assert joints.shape == (120, 17, 3)
    extent = []
    for azimuth in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        points, depth = camera.project(joints, azimuth)
        assert (points >= 0).all()
        assert (points <= np.array(size) - 1).all()
        assert (depth > 500).all()
        extent.append(np.abs(points - (np.array(size) - 1) / 2).max(axis=(0, 1)) / (np.array(size) / 2))
    # It is not farther away than it must be.
    assert np.max(extent) > 0.6


def test_fitted_rings_touch_the_margins() -> None:
    rings = np.array([[500.0, -1800.0], [500.0, 0.0]])
    angles = np.linspace(0, 2 * np.pi, 400)
    for size in ((400, 300), (100, 400)):
        camera = fit_camera(size, rings)
        points = np.concatenate(
            [
                camera.project(np.stack([r * np.cos(angles), y + 0 * angles, r * np.sin(angles)], -1), 0.0)[0]
                for r, y in rings
            ]
        )
        filled = np.ptp(points, axis=0) / size
        assert filled.max() == pytest.approx(0.88, abs=0.005)
        middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
        assert middle == pytest.approx((np.array(size) - 1) / 2, abs=0.5)


def test_the_framing_of_one_person_is_the_same_as_ever() -> None:
    """Numbers of the first release with figures: videos made again look as they did."""
    camera = fit_camera((960, 540), np.array([[600.0, -1700.0], [600.0, 50.0]]))
    assert camera.distance_mm == pytest.approx(4019.258065, rel=1e-9)
    assert camera.centre_px == pytest.approx((479.5, 463.519508), rel=1e-9)


@pytest.mark.parametrize("azimuth", [FRONT_RAD, SIDE_RAD, 4.0])
@pytest.mark.parametrize("size", [(400, 300), (100, 400)])
def test_a_view_is_filled_to_its_margins(size, azimuth) -> None:
    balls = np.array([[-1500.0, -1700.0, 300.0], [900.0, 0.0, -900.0], [1500.0, -100.0, 1200.0]])
    camera = fit_view(size, balls, np.full(3, 100.0), azimuth, filled=0.9)
    points, depth = camera.project(balls, azimuth)
    reach = (camera.focal_px * 100.0 / depth)[:, None]
    low, high = (points - reach).min(axis=0), (points + reach).max(axis=0)
    assert ((high - low) / size).max() == pytest.approx(0.9, abs=1e-6)
    assert 0.5 * (low + high) == pytest.approx((np.array(size) - 1) / 2, abs=1e-6)


def test_a_view_of_something_small_is_not_nearer_than_an_adult_needs() -> None:
    camera = fit_view((400, 300), np.array([[20.0, -200.0, 0.0]]), np.array([50.0]), 0.3)
    standing, _ = camera.project(np.array([[0.0, -1700.0, 0.0], [0.0, 0.0, 0.0]]), 0.3)
    assert 0.6 * 300 < np.ptp(standing[:, 1]) < 300


def test_the_camera_goes_to_its_right_and_looks_down() -> None:
    camera = fit_camera((400, 300), np.array([[600.0, -1800.0], [600.0, 0.0]]))
    corners = np.array([[500.0, 0, 0], [-500.0, 0, 0], [0, 0, 500.0], [0, 0, -500.0], [0, -1000.0, 0]])
    front, depth = camera.project(corners, FRONT_RAD)
    assert front[0, 0] > front[1, 0]
    assert depth[2] > depth[3]
    assert front[2, 1] < front[3, 1]  # far ground is higher in the picture
    assert front[4, 1] < front[2, 1]
    side, depth = camera.project(corners, SIDE_RAD)
    assert depth[0] < depth[1]  # what was right is near now
    assert side[2, 0] > side[3, 0]  # what was far is right
    centre, distance = camera.project(np.zeros(3), 1.0)
    assert centre == pytest.approx(camera.centre_px)
    assert distance == pytest.approx(camera.distance_mm)


def test_the_ground_map_is_the_inverse_of_the_projection() -> None:
    camera = fit_camera((400, 300), np.array([[900.0, -1800.0], [900.0, 0.0]]))
    radius = camera.ground_radius_mm()
    assert radius.shape == (300, 400)
    for x, z in ((0.0, 0.0), (400.0, -300.0), (-700.0, 200.0), (100.0, 800.0)):
        (u, v), _ = camera.project(np.array([x, 0.0, z]), 0.0)
        # A pixel of this picture spans some millimetres, most along the line of sight.
        assert radius[round(float(v)), round(float(u))] == pytest.approx(np.hypot(x, z), abs=35)


def test_nothing_but_sky_has_no_ground() -> None:
    camera = fit_camera((400, 900), np.array([[900.0, -1800.0], [900.0, 0.0]]))
    radius = camera.ground_radius_mm()
    assert np.isinf(radius[0]).all()
    assert np.isfinite(radius[-1]).all()


def test_a_turn_takes_its_time() -> None:
    assert turn_rad(0.0) == FRONT_RAD
    assert turn_rad(SECONDS_PER_TURN / 4) == pytest.approx(SIDE_RAD)
    assert turn_rad(1.0) == pytest.approx(turn_rad(1.0 + 3 * SECONDS_PER_TURN))
    steps = np.diff([turn_rad(t) for t in np.arange(0, SECONDS_PER_TURN, 0.04)])
    assert steps == pytest.approx(steps[0])
