"""Backgrounds, covers and things of the room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from posecli.errors import FormatError
from posecli.training.synthetic.assets import AssetPaths
from posecli.training.synthetic.background import Place, add_things, clutter_wall, photograph_wall
from posecli.training.synthetic.camera import Camera, look_at
from posecli.training.synthetic.lighting import read_environment
from posecli.training.synthetic.occluders import Cover, held_prop, random_cover, seat_prop, table_prop
from posecli.training.synthetic.photographs import Photographs, find_photographs
from posecli.training.synthetic.rotations import about_y

NONE = Photographs(())


def camera(towards: tuple[float, float, float] = (0, 1.5, -4)) -> Camera:
    view = look_at((0, 1.5, 0), towards)
    return replace(view, focal_px=60.0, centre=np.array([49.5, 39.5]), size_wh=(100, 80))


def test_people_free_parts_of_photographs_are_found(asset_paths: AssetPaths) -> None:
    found = find_photographs(asset_paths.photographs)
    assert [place[1] for place in found.places] == [(0, 0, 300, 200), (73, 0, 300, 200)]
    shapes = {found.pick(np.random.default_rng(seed)).shape for seed in range(20)}  # type: ignore[union-attr]
    assert shapes == {(200, 300, 3), (200, 227, 3)}
    kept = find_photographs(asset_paths.photographs, leave_out_modulo=2)
    assert len(kept.places) == 1
    assert NONE.pick(np.random.default_rng(0)) is None


def test_a_missing_photograph_is_named(tmp_path: Path) -> None:
    gone = Photographs(((tmp_path / "gone.png", (0, 0, 10, 10)),))
    with pytest.raises(FormatError, match=r"gone\.png"):
        gone.pick(np.random.default_rng(0))


def test_a_place_has_its_sky_above_and_its_ground_below(asset_paths: AssetPaths) -> None:
    field = read_environment(asset_paths.environments / "field.jpg")
    image = Place(field, field.exposure).picture(camera()).astype(int)
    sky, ground = image[5, 50], image[75, 50]
    assert sky[2] > sky[1] > sky[0]
    assert ground[1] > ground[2]
    assert image.shape == (80, 100, 3)


def test_the_sun_is_where_the_light_comes_from(asset_paths: AssetPaths) -> None:
    field = read_environment(asset_paths.environments / "field.jpg")
    view = camera(tuple(np.array([0, 1.5, 0]) + field.sun_direction))
    image = Place(field, field.exposure).picture(view)
    assert image[36:44, 46:54].min() > 200
    assert image[39:41, :10, 0].max() < image[39:41, 46:54, 0].min()


def test_walls_turn_with_the_camera() -> None:
    wide = camera().widened(20)
    photograph = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    wall = photograph_wall(photograph, wide, np.random.default_rng(1))
    assert wall.has_ground is False
    straight = wall.picture(camera())
    assert np.array_equal(straight, wall.image[20:100, 20:120])
    turned = wall.picture(camera().turned(about_y(np.arctan(5 / 60))))
    middle = straight[35:45, 40:60].astype(float)
    gains = [np.abs(turned[35:45, 40 + d : 60 + d] - middle).mean() for d in range(-8, 9)]
    assert abs(int(np.argmin(gains)) - 8) == 5


def test_clutter_is_repeatable() -> None:
    walls = [clutter_wall(camera(), np.random.default_rng(seed), NONE).image for seed in (3, 3, 4)]
    assert np.array_equal(walls[0], walls[1])
    assert not np.array_equal(walls[0], walls[2])
    empty = np.full((60, 80, 3), 9, np.uint8)
    add_things(empty, np.random.default_rng(0), NONE, count=60)
    assert len(np.unique(empty.reshape(-1, 3), axis=0)) > 20


def test_a_cover_hides_what_is_under_it() -> None:
    outline = np.array([[9.5, 9.5], [19.5, 9.5], [19.5, 29.5], [9.5, 29.5]])
    cover = Cover(outline, np.array([2.0, 0.0]), np.full((40, 40, 3), 200, np.uint8))
    image, covered = cover.apply(np.zeros((40, 40, 3), np.uint8), 0)
    assert covered[12:28, 12:18].all()
    assert covered.sum() == pytest.approx(200, abs=60)
    assert (image[15, 15] == 200).all()
    assert (image[35, 35] == 0).all()
    assert cover.apply(image, 2)[1][12:28, 16:22].all()
    away = Cover(outline + 100, np.zeros(2), cover.texture)
    assert away.apply(image, 0)[0] is image


def test_random_covers_touch_the_person() -> None:
    box = np.array([30, 20, 70, 100], np.float32)
    touching = 0
    for seed in range(40):
        cover = random_cover(box, (100, 120), np.random.default_rng(seed), NONE)
        assert cover.texture.shape == (120, 100, 3)
        touching += bool(cover.apply(np.zeros((120, 100, 3), np.uint8), 0)[1][20:100, 30:70].any())
    assert touching >= 36


def test_things_stand_on_the_ground_and_hang_on_hands() -> None:
    rng = np.random.default_rng(0)
    hips = np.tile([0.2, 0.6, 0.1], (3, 1))
    seat = seat_prop(hips, 0.4, rng, NONE)
    assert seat.matrices.shape == (3, 1, 3, 4)
    corners = seat.mesh.vertices @ seat.matrices[0, 0, :, :3].T + seat.matrices[0, 0, :, 3]
    assert corners[:, 1].min() == pytest.approx(0.0, abs=1e-5)
    assert 0.4 < corners[:, 1].max() < 0.6
    table = table_prop(np.array([0.0, 1.0, 3.0]), rng, 3, NONE)
    assert table.matrices[0, 0, 2, 3] > 0.2
    hand = np.tile(np.eye(3, 4, dtype=np.float32), (4, 1, 1))
    hand[:, 0, 3] = [0, 1, 2, 3]
    for seed in range(6):
        held = held_prop(hand, np.array([0.7, 1.4, 0.0]), 1.0, np.random.default_rng(seed), NONE)
        assert np.diff(held.matrices[:, 0, 0, 3]) == pytest.approx(np.ones(3))
        assert held.matrices[0, 0, 0, 3] == pytest.approx(0.79, abs=0.01)
