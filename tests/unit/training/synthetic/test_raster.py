"""The rasteriser draws at pixel centres, the nearer thing wins, and light and shadow fall where they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecli.errors import FormatError
from posecli.training.synthetic.appearance import WHITE
from posecli.training.synthetic.assets import AssetPaths
from posecli.training.synthetic.camera import NEAR_M, Camera, look_at
from posecli.training.synthetic.lighting import read_environment
from posecli.training.synthetic.mesh import Mesh, ball_mesh, box_mesh
from posecli.training.synthetic.raster import FrameBuffer, project_vertices, rasterise, skin
from posecli.training.synthetic.shading import Light, Paint, Surface, shade_surface
from posecli.training.synthetic.shadow import ShadowMap, make_shadow_map, shade_ground
from posecli.training.synthetic.textures import stack_textures

GREY = stack_textures([np.full((8, 8, 4), 200, np.uint8)])


def camera(size_wh: tuple[int, int] = (100, 80)) -> Camera:
    centre = (np.array(size_wh) - 1) / 2
    return replace(look_at((0, 1, 4), (0, 1, 0)), focal_px=100.0, centre=centre, size_wh=size_wh)


def drawn(points: list[tuple[float, float, float]], size: int = 8) -> FrameBuffer:
    buffer = FrameBuffer.empty(size, size)
    rasterise(np.array(points, np.float32), np.array([[0, 1, 2]], np.int32), 3, *buffer)
    return buffer


def test_a_triangle_covers_the_pixel_centres_inside_it() -> None:
    owner = drawn([(0.5, 0.5, 1), (0.5, 3.4, 1), (3.4, 0.5, 1)]).owner
    assert np.argwhere(owner == 3).tolist() == [[1, 1], [1, 2], [2, 1]]
    assert drawn([(1.1, 1.1, 1), (1.1, 1.9, 1), (1.9, 1.1, 1)]).owner.max() == 0  # between the centres


def test_both_windings_are_drawn_and_the_border_cuts() -> None:
    forwards, backwards = drawn([(-9, -9, 1), (-9, 90, 1), (90, -9, 1)]), drawn([(-9, -9, 1), (90, -9, 1), (-9, 90, 1)])
    assert (forwards.owner == 3).all()
    assert (backwards.owner == 3).all()


def test_weights_and_nearness_are_linear_on_the_screen() -> None:
    buffer = drawn([(0, 0, 1.0), (0, 7, 2.0), (7, 0, 3.0)])
    assert buffer.nearness[2, 1] == pytest.approx(1 + 2 / 7 + 2 * 1 / 7, abs=1e-5)
    assert buffer.weights[2, 1] == pytest.approx([2 / 7, 1 / 7], abs=1e-5)


def test_behind_the_camera_nothing_is_drawn() -> None:
    vertices = np.array([[0, 1, 4.5], [1, 1, 4.5], [0, 2, 3.0]], np.float32)
    points = np.empty_like(vertices)
    project_vertices(vertices, camera().flat, NEAR_M, points)
    assert points[:2, 2].tolist() == [-1, -1]
    buffer = FrameBuffer.empty(100, 80)
    rasterise(points, np.array([[0, 1, 2]], np.int32), 1, *buffer)
    assert buffer.owner.max() == 0


def test_compiled_projection_agrees_with_the_camera() -> None:
    vertices = np.random.default_rng(0).normal(0, 0.5, (50, 3)).astype(np.float32)
    points = np.empty_like(vertices)
    project_vertices(vertices, camera().flat, NEAR_M, points)
    places, depth = camera().project(vertices.astype(np.float64))
    assert points[:, :2] == pytest.approx(places, abs=1e-3)
    assert 1 / points[:, 2] == pytest.approx(depth, rel=1e-5)


def test_the_nearer_body_hides_the_farther() -> None:
    buffer = FrameBuffer.empty(8, 8)
    triangle = np.array([[0, 1, 2]], np.int32)
    near = np.array([(-9, -9, 2), (-9, 90, 2), (90, -9, 2)], np.float32)
    rasterise(near, triangle, 1, *buffer)
    rasterise((near * [1, 1, 0.5]).astype(np.float32), triangle, 2, *buffer)
    assert (buffer.owner == 1).all()


def test_skinning_mixes_bones() -> None:
    mesh = box_mesh(np.ones(3, np.float32), GREY)
    weights = np.tile(np.array([0.25, 0.75, 0, 0], np.float32), (len(mesh.vertices), 1))
    bones = np.tile(np.array([0, 1, 0, 0], np.int32), (len(mesh.vertices), 1))
    matrices = np.tile(np.eye(3, 4, dtype=np.float32), (2, 1, 1))
    matrices[1, :, 3] = [4, 0, 0]
    vertices, normals = skin(mesh._replace(weights=weights, bones=bones), mesh.vertices, matrices)
    assert vertices == pytest.approx(mesh.vertices + np.array([3, 0, 0]))
    assert normals == pytest.approx(mesh.normals)


def light(sun: float = 0.0, direction: tuple[float, float, float] = (0, 1, 0)) -> Light:
    soft = np.zeros((9, 3), np.float32)
    soft[0] = 0.3
    return Light(soft, np.array(direction, np.float32), np.full(3, sun, np.float32), np.ones(1, np.float32))


def picture(
    mesh: Mesh, shine: Light, shadows: ShadowMap, factor: int = 1, styles: tuple[float, ...] = (0, 0, 1, 0)
) -> np.ndarray:
    view = camera().magnified(factor)
    paint = Paint(
        np.array([[0.8, 0, 0]], np.float32),
        np.array([[0, 0, 0.8]], np.float32),
        np.array([styles], np.float32),
        WHITE,
        np.ones(3, np.float32),
    )
    vertices = mesh.vertices + np.array([0, 1, 0], np.float32)
    points = np.empty_like(vertices)
    project_vertices(vertices, view.flat, NEAR_M, points)
    buffer = FrameBuffer.empty(*view.size_wh)
    rasterise(points, mesh.triangles, 1, *buffer)
    image = np.zeros((*buffer.owner.shape, 3), np.uint8)
    surface = Surface(mesh, paint, vertices, mesh.normals, points, np.array([1], np.int64))
    shade_surface(image, buffer, surface, shine, shadows, view.position.astype(np.float32), factor)
    return image


@pytest.fixture
def nothing_above() -> ShadowMap:
    return make_shadow_map([], np.array([0.0, 1.0, 0.0]), np.zeros(3), 2.0)


def test_even_light_shades_evenly_and_the_sun_adds_to_it(nothing_above: ShadowMap) -> None:
    mesh = box_mesh(np.ones(3, np.float32), GREY)
    even = picture(mesh, light(), nothing_above)
    front = even[40, 40:60]
    assert np.ptp(front[:, 0]) <= 1
    assert even[2, 2].tolist() == [0, 0, 0]
    lit = picture(mesh, light(1.0, (0, 0, 1)), nothing_above)
    assert lit[40, 50, 0] > even[40, 50, 0] + 20


def test_what_stands_before_the_sun_takes_it_away(nothing_above: ShadowMap) -> None:
    mesh = box_mesh(np.ones(3, np.float32), GREY)
    wall = box_mesh(np.array([4, 4, 0.1], np.float32), GREY)
    towards = np.array([0.0, 0.0, 1.0])
    blocked = make_shadow_map(
        [(wall.vertices + np.array([0, 1, 1.5], np.float32), wall.triangles)], towards, np.zeros(3), 3.0
    )
    lit, dark = (picture(mesh, light(1.0, (0, 0, 1)), shadows) for shadows in (nothing_above, blocked))
    assert dark[40, 50, 0] < lit[40, 50, 0] - 20
    assert dark[40, 50, 0] == pytest.approx(picture(mesh, light(), nothing_above)[40, 50, 0], abs=1)


def test_painting_one_sample_for_all_of_a_pixel_looks_the_same(nothing_above: ShadowMap) -> None:
    mesh = ball_mesh(np.full(3, 1.2, np.float32), GREY, rings=40, columns=60)
    fine = picture(mesh, light(0.7, (0.6, 0.64, 0.48)), nothing_above, factor=2)
    small = cv2.resize(fine, (100, 80), interpolation=cv2.INTER_AREA)
    single = picture(mesh, light(0.7, (0.6, 0.64, 0.48)), nothing_above)
    inside = np.zeros((80, 100), np.bool_)
    inside[35:45, 45:55] = True
    difference = small[inside].astype(float) - single[inside]
    assert np.abs(difference).mean() < 3


def test_outfits_colour_above_and_below_the_waist(nothing_above: ShadowMap) -> None:
    mesh = box_mesh(np.ones(3, np.float32), GREY)._replace(part_modes=np.array([2], np.int32))
    image = picture(mesh, light(), nothing_above, styles=(1, 0, 1, 0.0)).astype(int)
    upper, lower = image[33, 50], image[47, 50]
    assert upper[0] > upper[2] + 50
    assert lower[2] > lower[0] + 50


def test_the_ground_darkens_under_a_thing_and_beside_it_stays() -> None:
    box = box_mesh(np.array([0.6, 0.6, 0.6], np.float32), GREY)
    standing = box.vertices + np.array([0, 0.3, 0], np.float32)
    shadows = make_shadow_map([(standing, box.triangles)], np.array([0.0, 1.0, 0.0]), np.zeros(3), 1.5)
    image = np.full((80, 100, 3), 200, np.uint8)
    shade_ground(image, camera(), shadows, strength=0.9)
    below = camera().project(np.array([[0.0, 0.0, 0.1], [1.2, 0.0, 0.1], [0.0, 1.5, 0.0]]))[0].round().astype(int)
    assert image[below[0, 1], below[0, 0], 0] < 110
    assert image[below[1, 1], below[1, 0], 0] == 200
    assert (image[:39] == 200).all()  # above the horizon


def test_light_of_a_panorama(asset_paths: AssetPaths, tmp_path: Path) -> None:
    field = read_environment(asset_paths.environments / "field.jpg")
    assert field.sun_direction[0] > 0.3  # right of the middle, which looks to -z
    assert np.linalg.norm(field.sun_direction) == pytest.approx(1.0)
    assert field.sun_colour.min() > 0
    level = np.full((32, 64, 3), 128, np.uint8)
    cv2.imwrite(str(tmp_path / "level.jpg"), level)
    even = read_environment(tmp_path / "level.jpg")
    assert even.sun_colour.max() == 0
    assert even.irradiance[0] == pytest.approx(np.full(3, 128 / 127), rel=0.01)
    assert np.abs(even.irradiance[1:]).max() < 0.01


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(FormatError, match=r"text\.jpg: cannot be read"):
        read_environment(tmp_path / "text.jpg")
