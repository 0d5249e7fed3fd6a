"""The panel: ground, shadow, people, always the same for the same moment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posecli.video.figure_panel import FigurePanel
from posecli.video.overlay import SIDE_COLOURS, person_colour
from posecli.video.stage import Stage, gap_for
from posecli.video.turntable import FRONT_RAD, SIDE_RAD, TurntableCamera, fit_camera

SIZE = (480, 270)


def _path(num_frames: int, x: float = 0.0, speed: float = 0.0) -> np.ndarray:
    return np.array([x, 900.0, 4000.0]) + np.arange(num_frames)[:, None] * np.array([speed, 0.0, 0.0])


@pytest.fixture
def one(person_3d, annotation_3d) -> FigurePanel:
    """Somebody who leaves after 20 of 40 frames."""
    return FigurePanel(Stage(annotation_3d(person_3d(20, path_mm=_path(20)), num_frames=40)), SIZE)


def _count(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image.astype(int) - colour).max(axis=2) < 40).sum())


def test_a_panel_has_its_size_and_shows_both_sides(one: FigurePanel) -> None:
    image = one.draw(0, 0.0)
    assert image.shape == (270, 480, 3)
    assert image.dtype == np.uint8
    assert _count(image, SIDE_COLOURS["left"]) > 100
    assert _count(image, SIDE_COLOURS["right"]) > 100


def test_the_same_moment_is_drawn_alike(one: FigurePanel, person_3d, annotation_3d) -> None:
    again = FigurePanel(Stage(annotation_3d(person_3d(20, path_mm=_path(20)), num_frames=40)), SIZE)
    image = one.draw(5, 0.7)
    one.draw(6, 0.9)
    assert np.array_equal(one.draw(5, 0.7), image)
    assert np.array_equal(again.draw(5, 0.7), image)
    assert not np.array_equal(one.draw(5, 0.8), image)
    assert not np.array_equal(one.draw(9, 0.7), image)


def test_nobody_there_leaves_the_ground(one: FigurePanel) -> None:
    image = one.draw(30, 0.0)
    assert image.max() < 160
    assert _count(image, SIDE_COLOURS["left"]) + _count(image, SIDE_COLOURS["right"]) == 0
    (_, y), _ = one.camera.project(np.zeros(3), 0.0)
    ground, sky = image[round(float(y)) - 3 : round(float(y)) + 4, :].max(), image[:10].max()
    assert ground > sky + 40


def test_a_shadow_lies_below_the_hands(one: FigurePanel) -> None:
    """The wrist swings away from everything else: what darkens the ground below it is its shadow."""
    wrist = one.stage.figures_at(6)[0].joints_mm[13].astype(float)
    assert abs(wrist[2]) > 350
    (x, y), _ = one.camera.project(wrist * (1, 0, 1), np.pi / 2)
    place = slice(round(float(y)) - 2, round(float(y)) + 3), slice(round(float(x)) - 2, round(float(x)) + 3)
    lit, shaded = (one.draw(k, np.pi / 2)[place].astype(int).mean() for k in (30, 6))
    assert 5 < shaded < 0.85 * lit


def test_the_ground_passes_below_somebody_who_walks(person_3d, annotation_3d) -> None:
    panel = FigurePanel(Stage(annotation_3d(person_3d(250, path_mm=_path(250, speed=10.0)))), SIZE)
    left = slice(0, 120)  # away from the person
    first, quarter, whole = (panel.draw(k, 0.0)[200:, left].astype(int) for k in (100, 112, 150))
    assert np.abs(quarter - first).max() > 8
    # 50 frames of 10 mm are one cell of the grid.
    assert np.abs(whole - first).max() <= 2


def test_several_people_have_a_ring_and_a_number_in_their_colour(person_3d, annotation_3d, one: FigurePanel) -> None:
    people = [person_3d(20, path_mm=_path(20, x=900.0 * k), track_id=k) for k in (1, 2)]
    panel = FigurePanel(Stage(annotation_3d(*people)), SIZE)
    image = panel.draw(3, 0.4)
    for track_id in (1, 2):
        assert _count(image, person_colour(track_id)) > 40
        assert _count(one.draw(3, 0.4), person_colour(track_id)) == 0


@pytest.fixture
def three(person_3d, annotation_3d):
    """Three people in a row of 8 m, for a panel of some size."""
    people = [person_3d(40, path_mm=_path(40, x=x), track_id=k) for k, x in enumerate((-5000.0, 0.0, 3000.0))]
    return lambda size: FigurePanel(Stage(annotation_3d(*people), gap_mm=gap_for(size)), size)


def _spans(panel: FigurePanel, frame_index: int, azimuth_rad: float, camera: TurntableCamera) -> list[float]:
    """How much of the panel's height each person takes from the top of the head to the soles; nobody may be outside."""
    spans = []
    for figure in panel.stage.figures_at(frame_index):
        head_top = figure.joints_mm[[10]] - np.array([0, 98, 0])
        outermost = np.concatenate([figure.joints_mm, head_top, figure.joints_mm + np.array([0, 28, 0])])
        points, _ = camera.project(outermost, azimuth_rad)
        assert (points >= 0).all()
        assert (points <= np.array(camera.size_wh) - 1).all()
        spans.append(float(np.ptp(points[:, 1])) / camera.size_wh[1])
    return spans


@pytest.mark.parametrize("size", [(960, 540), (540, 960), (136, 157), (239, 276)])
def test_each_of_three_people_spread_over_8_m_takes_a_third_of_the_height(size, three) -> None:
    panel = three(size)
    turning = [span for k in range(24) for span in _spans(panel, k, 2 * np.pi * k / 24, panel.camera)]
    assert len(turning) == 72
    assert min(turning) > 1 / 3
    for azimuth in (FRONT_RAD, SIDE_RAD):
        assert min(_spans(panel, 6, azimuth, panel.close_up(6, azimuth).camera)) > 1 / 3


def test_people_drawn_are_a_third_of_the_height(three) -> None:
    """The same in pixels: the columns around a person from the top of the head to the soles."""
    for size in ((960, 540), (540, 960)):
        panel = three(size)
        image = panel.draw(0, 0.0)
        for figure in panel.stage.figures_at(0):
            (x, _), _ = panel.camera.project(figure.joints_mm[10], 0.0)
            half = 200 * panel.camera.focal_px / panel.camera.distance_mm
            columns = image[:, round(float(x) - half) : round(float(x) + half) + 1]
            rows = np.flatnonzero((columns.max(axis=2) > 170).any(axis=1))
            assert np.ptp(rows) > size[1] / 3


def test_a_close_up_is_of_those_who_are_there(person_3d, annotation_3d) -> None:
    people = [person_3d(20, path_mm=_path(20)), person_3d(10, path_mm=_path(10, x=5000.0), track_id=2)]
    panel = FigurePanel(Stage(annotation_3d(*people, num_frames=30)), (239, 276))
    alone, together = (panel.close_up(k, FRONT_RAD) for k in (18, 2))
    (span,) = _spans(panel, 18, FRONT_RAD, alone.camera)
    assert span > 0.7
    assert max(_spans(panel, 2, FRONT_RAD, together.camera)) < 0.9 * span
    assert panel.close_up(25, FRONT_RAD) is panel  # nobody there
    assert not np.array_equal(alone.draw(18, FRONT_RAD), panel.draw(18, FRONT_RAD))


def test_one_person_is_framed_alike_in_all_cells(one: FigurePanel) -> None:
    assert one.camera == fit_camera(SIZE, one.stage.rings_mm)
    assert one.close_up(3, SIDE_RAD) is one


def test_far_corners_of_the_panel_do_not_pump(one: FigurePanel) -> None:
    """Camera and background are the same in all frames; only the grid, the shadow and the person move."""
    top = [one.draw(k, 0.3 * k)[:15, :60] for k in (0, 7, 19, 30)]
    assert all(np.array_equal(corner, top[0]) for corner in top)


def test_a_person_without_joints_is_not_drawn(person_3d, annotation_3d) -> None:
    person = person_3d(4, path_mm=_path(4))
    missing = replace(person, joints_mm=np.full_like(person.joints_mm, np.nan))
    image = FigurePanel(Stage(annotation_3d(missing)), SIZE).draw(0, 0.0)
    assert image.max() < 160
