"""Limbs in 3D: near ones hide far ones where they cross, colours tell the side, what is missing is not drawn."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.skeletons import H36M17
from posecli.video.figure import bones_of, draw_figures
from posecli.video.overlay import SIDE_COLOURS
from posecli.video.stage import Figure
from posecli.video.turntable import TurntableCamera, fit_camera

GREY = 50


def _camera(size: tuple[int, int] = (400, 300)) -> TurntableCamera:
    return fit_camera(size, np.array([[600.0, -1700.0], [600.0, 50.0]]))


def _figure(points: dict[str, tuple[float, float, float]], score: float = 1.0) -> Figure:
    joints = np.full((len(H36M17), 3), np.nan, np.float32)
    scores = np.zeros(len(H36M17), np.float32)
    for name, point in points.items():
        joints[H36M17.joint_names.index(name)] = point
        scores[H36M17.joint_names.index(name)] = score
    return Figure(1, joints, scores, H36M17)


def _draw(*figures: Figure, azimuth_rad: float = 0.0, camera: TurntableCamera | None = None) -> np.ndarray:
    camera = camera or _camera()
    canvas = np.full((*camera.size_wh[::-1], 3), GREY, np.uint8)
    draw_figures(canvas, figures, camera, azimuth_rad, haze=(GREY, GREY, GREY))
    return canvas


def _at(image: np.ndarray, point_mm: tuple[float, float, float], azimuth_rad: float = 0.0) -> np.ndarray:
    (x, y), _ = _camera().project(np.array(point_mm), azimuth_rad)
    return image[round(float(y)), round(float(x))].astype(int)


def _side(pixel: np.ndarray) -> str:
    """The side whose hue a pixel has, whatever its brightness."""
    shares = {side: np.dot(pixel, colour) / np.linalg.norm(colour) for side, colour in SIDE_COLOURS.items()}
    best = max(shares, key=lambda side: shares[side])
    assert shares[best] > 0.97 * np.linalg.norm(pixel), pixel
    return best


@pytest.mark.parametrize(("azimuth_rad", "nearest"), [(0.0, "left"), (np.pi, "right")])
def test_the_nearer_limb_hides_the_farther_where_they_cross(azimuth_rad: float, nearest: str) -> None:
    lying = {"left_elbow": (-300.0, -900.0, -150.0), "left_wrist": (300.0, -900.0, -150.0)}
    upright = {"right_elbow": (0.0, -1300.0, 150.0), "right_wrist": (0.0, -500.0, 150.0)}
    image = _draw(_figure(lying | upright), azimuth_rad=azimuth_rad)
    near_z = -150.0 if nearest == "left" else 150.0
    (x, y), _ = _camera().project(np.array([0.0, -900.0, near_z]), azimuth_rad)
    # Across the far limb there is nothing but the near one: on its axis and just inside its edges.
    for shift in (-4, 0, 4):
        place = (
            (round(float(y)), round(float(x)) + shift)
            if nearest == "left"
            else (round(float(y)) + shift, round(float(x)))
        )
        assert _side(image[place].astype(int)) == nearest


def test_limbs_that_pass_each_other_are_each_in_front_where_they_are_nearer() -> None:
    left = {"left_elbow": (-500.0, -900.0, -300.0), "left_wrist": (500.0, -900.0, 300.0)}
    right = {"right_elbow": (-500.0, -900.0, 300.0), "right_wrist": (500.0, -900.0, -300.0)}
    image = _draw(_figure(left | right))
    # Halfway out on either side both limbs are within a few pixels of each other.
    assert _side(_at(image, (-300.0, -900.0, -180.0))) == "left"
    assert _side(_at(image, (300.0, -900.0, -180.0))) == "right"


def test_two_people_hide_each_other_too() -> None:
    front = _figure({"left_hip": (-200.0, -900.0, -300.0), "left_knee": (200.0, -900.0, -300.0)})
    back = _figure({"right_hip": (0.0, -1300.0, 300.0), "right_knee": (0.0, -600.0, 300.0)})
    for order in ((front, back), (back, front)):
        assert _side(_at(_draw(*order), (0.0, -900.0, -300.0))) == "left"


def test_a_nearer_limb_is_thicker() -> None:
    def width(z: float) -> int:
        limb = {"left_hip": (-300.0, -800.0, z), "left_knee": (300.0, -800.0, z)}
        camera = _camera((800, 600))
        (x, _), _ = camera.project(np.array([0.0, -800.0, z]), 0.0)
        column = _draw(_figure(limb), camera=camera)[:, round(float(x))].astype(int)
        return int((np.abs(column - GREY).max(axis=1) > 12).sum())

    assert width(-500.0) > width(0.0) > width(500.0) >= 3


def test_limbs_are_round_a_dark_edge_and_a_light_core() -> None:
    camera = _camera((1200, 900))
    limb = {"left_hip": (0.0, -1300.0, 0.0), "left_knee": (0.0, -500.0, 0.0)}
    (x, y), _ = camera.project(np.array([0.0, -900.0, 0.0]), 0.0)
    middle = round(float(x))
    row = _draw(_figure(limb), camera=camera)[round(float(y)), middle - 30 : middle + 31].sum(axis=1).astype(int)
    drawn = np.flatnonzero(row != 3 * GREY)
    assert len(drawn) > 10
    edges = row[[drawn[1], drawn[-2]]]
    assert row.max() > 2.5 * edges.max()
    brightest = int(np.argmax(row))
    assert (np.diff(row[drawn[1] : brightest + 1]) >= 0).all()
    assert (np.diff(row[brightest : drawn[-2] + 1]) <= 0).all()
    assert brightest < 30  # the light comes from the left


def test_missing_joints_and_their_limbs_are_not_drawn() -> None:
    leg = {"left_hip": (100.0, -1000.0, 0.0), "left_knee": (100.0, -500.0, 0.0), "left_ankle": (100.0, 0.0, 0.0)}
    image = _draw(_figure(leg))
    assert _side(_at(image, (100.0, -250.0, 0.0))) == "left"
    del leg["left_ankle"]
    without = _draw(_figure(leg))
    assert _at(without, (100.0, -250.0, 0.0)).tolist() == [GREY] * 3
    assert _at(without, (100.0, 0.0, 0.0)).tolist() == [GREY] * 3
    assert _side(_at(without, (100.0, -750.0, 0.0))) == "left"
    assert (_draw(_figure({})) == GREY).all()
    assert (_draw() == GREY).all()


def test_a_limb_needs_both_ends() -> None:
    figure = _figure({"left_hip": (0, 0, 0), "left_ankle": (0, 0, 0), "right_hip": (0, 0, 0), "right_knee": (0, 1, 0)})
    assert bones_of([figure]).ends_mm.shape == (1, 2, 3)


def test_limbs_and_joints_have_the_colour_of_their_side() -> None:
    points = {
        "root": (0.0, -900.0, 0.0),
        "spine": (0.0, -1300.0, 0.0),
        "left_hip": (300.0, -900.0, 0.0),
        "left_knee": (300.0, -400.0, 0.0),
        "right_hip": (-300.0, -900.0, 0.0),
        "right_knee": (-300.0, -400.0, 0.0),
    }
    image = _draw(_figure(points))
    assert _side(_at(image, (0.0, -1100.0, 0.0))) == "middle"
    for x, side in ((300.0, "left"), (-300.0, "right")):
        assert _side(_at(image, (x, -650.0, 0.0))) == side
        assert _side(_at(image, (x / 2, -900.0, 0.0))) == side
        assert _side(_at(image, (x, -400.0, 0.0))) == side


def test_what_nobody_saw_is_faint() -> None:
    limb = {"left_hip": (0.0, -1200.0, 0.0), "left_knee": (0.0, -500.0, 0.0)}
    sure, unsure = (_at(_draw(_figure(limb, score)), (0.0, -850.0, 0.0)) for score in (0.9, 0.1))
    background = np.full(3, GREY)
    assert np.abs(unsure - background).max() > 15
    assert np.abs(unsure - background).max() < 0.6 * np.abs(sure - background).max()


def test_limbs_that_point_at_the_camera_and_people_far_away_are_drawn() -> None:
    camera = _camera()
    # Along the line of sight, 12 degrees down.
    tip = np.array([0.0, -900.0, 0.0]) + 300 * np.array([0.0, -np.sin(np.deg2rad(12)), -np.cos(np.deg2rad(12))])
    image = _draw(_figure({"left_elbow": (0.0, -900.0, 0.0), "left_wrist": tuple(tip)}))
    assert _side(_at(image, tuple(tip))) == "left"
    tiny = TurntableCamera(camera.size_wh, camera.focal_px, 80_000.0, (200.0, 150.0))
    far = _draw(_figure({"left_hip": (-500.0, 0.0, 0.0), "left_knee": (500.0, 0.0, 0.0)}), camera=tiny)
    assert (far[140:160, 200] != GREY).any()


def test_pixels_away_from_the_person_keep_their_value() -> None:
    camera = _camera()
    canvas = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    before = canvas.copy()
    limb = _figure({"left_hip": (0.0, -1000.0, 0.0), "left_knee": (0.0, -800.0, 0.0)})
    draw_figures(canvas, [limb], camera, 0.0, haze=(0, 0, 0))
    changed = np.argwhere((canvas != before).any(axis=2))
    ends, _ = camera.project(np.array([[0.0, -1000.0, 0.0], [0.0, -800.0, 0.0]]), 0.0)
    assert len(changed) > 50
    assert (changed.min(axis=0) > ends.min(axis=0)[::-1] - 15).all()
    assert (changed.max(axis=0) < ends.max(axis=0)[::-1] + 15).all()
