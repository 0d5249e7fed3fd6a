"""Avatars are read with their cloth, keypoints and sides; fewer triangles show the same body."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from posecli.errors import FormatError
from posecli.skeletons import POSECLI19
from posecli.training.synthetic.appearance import random_colour, random_look, random_pattern
from posecli.training.synthetic.avatar import Avatar, read_avatar
from posecli.training.synthetic.garments import backpack_mesh, hat_meshes, skirt_mesh
from posecli.training.synthetic.mesh import ball_mesh, box_mesh, coarse_mesh
from posecli.training.synthetic.rig import BONE_INDEX
from posecli.training.synthetic.textures import opaque, stack_textures


def point(avatar: Avatar, name: str) -> np.ndarray:
    return avatar.points.places[POSECLI19.index(name)]


def test_keypoints_sit_where_they_belong(avatar: Avatar) -> None:
    assert avatar.points.places.shape == (19, 3)
    assert point(avatar, "left_shoulder") == pytest.approx([0.16, 1.42, 0.0])
    assert point(avatar, "right_ankle") == pytest.approx([-0.09, 0.08, -0.02])
    assert point(avatar, "nose")[2] > point(avatar, "left_eye")[2] - 0.02
    assert point(avatar, "left_ear")[0] > 0.05 > -0.05 > point(avatar, "right_ear")[0]
    assert point(avatar, "left_ear")[2] < point(avatar, "left_eye")[2]
    assert point(avatar, "head_top")[1] == pytest.approx(1.74, abs=0.01)
    shoulders, neck = point(avatar, "left_shoulder")[1], point(avatar, "neck")
    assert shoulders < neck[1] < 1.5
    assert neck[0] == pytest.approx(0.0, abs=1e-9)
    hips = point(avatar, "left_hip")
    assert hips[0] > 0.09
    assert hips[1] > 0.9


def test_keypoints_move_with_their_bones(avatar: Avatar) -> None:
    still = np.tile(np.eye(3), (1, 24, 1, 1))
    shift = np.array([[0.5, 0.0, 0.2]])
    matrices = avatar.rig.bone_matrices(still, avatar.rig.joints[None, 0] + shift)
    assert avatar.points.positions(matrices)[0] == pytest.approx(avatar.points.places + shift, abs=1e-5)


def test_cloth_is_found_by_its_colour(avatar: Avatar) -> None:
    mesh = avatar.mesh
    main = mesh.bones[np.arange(len(mesh.bones)), mesh.weights.argmax(axis=1)]
    body = np.unique(mesh.triangles[mesh.parts == 0])
    is_leg = np.isin(main[body], [BONE_INDEX["LeftUpLeg"], BONE_INDEX["RightLeg"]])
    is_bare = np.isin(main[body], [BONE_INDEX["Head"], BONE_INDEX["LeftHand"]])
    assert mesh.clothing[body][is_leg].min() > 0.9
    assert mesh.clothing[body][is_bare].max() < 0.1
    assert avatar.hair_part == 1


@pytest.mark.parametrize("key", ["J", "V0", "tex1"])
def test_a_damaged_avatar_is_named(key: str, avatar: Avatar, factory: ModuleType, tmp_path: Path) -> None:
    factory.write_avatar(tmp_path / "whole.npz")
    content = dict(np.load(tmp_path / "whole.npz"))
    del content[key]
    np.savez(tmp_path / "damaged.npz", **content)
    with pytest.raises(FormatError, match=r"damaged\.npz"):
        read_avatar(tmp_path / "damaged.npz")


def test_other_bones_are_refused(factory: ModuleType, tmp_path: Path) -> None:
    factory.write_avatar(tmp_path / "whole.npz")
    content = dict(np.load(tmp_path / "whole.npz"))
    content["jn"] = content["jn"][::-1]
    np.savez(tmp_path / "other.npz", **content)
    with pytest.raises(FormatError, match="its bones are not Hips"):
        read_avatar(tmp_path / "other.npz")


def test_a_coarse_mesh_has_fewer_triangles_and_no_cracks() -> None:
    textures = stack_textures([np.full((8, 8, 4), 255, np.uint8)])
    fine = ball_mesh(np.array([1.0, 1.6, 0.8], np.float32), textures, rings=60, columns=90)
    fine = fine._replace(vertices=np.round(fine.vertices, 6))  # the seam's two sides at one place, as avatars have it
    coarse = coarse_mesh(fine, 0.1)
    assert len(coarse.triangles) < len(fine.triangles) / 5
    places = np.unique(coarse.vertices, axis=0, return_inverse=True)[1].reshape(-1)[coarse.triangles]
    edges = Counter(frozenset((int(t[i]), int(t[i - 1]))) for t in places for i in range(3))
    assert min(edges.values()) >= 2  # nothing has a border
    assert np.ptp(coarse.vertices, axis=0) == pytest.approx([1.0, 1.6, 0.8], abs=0.1)
    radius = np.linalg.norm(coarse.vertices / [0.5, 0.8, 0.4], axis=1)
    assert radius.min() > 0.8
    assert radius.max() <= 1.001


def test_detail_follows_the_size_in_the_picture(avatar: Avatar) -> None:
    assert avatar.mesh_for(0.001) is avatar.mesh
    assert len(avatar.mesh_for(0.02).triangles) <= len(avatar.mesh_for(0.008).triangles) <= len(avatar.mesh.triangles)
    assert avatar.mesh_for(0.02) is avatar.mesh_for(0.03)


def test_textures_have_all_their_sizes() -> None:
    picture = opaque(np.full((50, 40, 3), 7, np.uint8))
    stack = stack_textures([picture, np.full((8, 8, 4), 9, np.uint8)])
    assert stack.sides.tolist() == [32, 8]
    assert stack.num_levels.tolist() == [4, 2]
    assert (stack.texels[stack.starts[1, 1] :, 0] == 9).all()
    assert (stack.texels[: stack.starts[1, 0], 0] == 7).all()


def test_looks_are_drawn_by_chance_and_repeatable(avatar: Avatar) -> None:
    photograph = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    looks = [random_look(avatar, np.random.default_rng(seed), photograph=photograph) for seed in (1, 1, 2)]
    assert np.array_equal(looks[0].paint.above, looks[1].paint.above)
    assert not np.array_equal(looks[0].paint.above, looks[2].paint.above)
    stand_off = [np.linalg.norm(look.rest(avatar.mesh) - avatar.mesh.vertices, axis=1) for look in looks]
    assert np.array_equal(stand_off[0], stand_off[1])
    assert max(distance.max() for distance in stand_off) < 0.06
    assert max(distance[avatar.mesh.clothing < 0.01].max() for distance in stand_off) == pytest.approx(0.0, abs=1e-6)


def test_patterns_and_colours_are_in_range() -> None:
    photograph = np.zeros((40, 60, 3), np.uint8)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        assert random_pattern(rng, photograph=photograph).shape == (128, 128, 3)
        colour = random_colour(rng)
        assert colour.min() >= 0.01
        assert colour.max() <= 0.9


def test_garments_move_with_the_body(avatar: Avatar) -> None:
    textures = stack_textures([np.full((8, 8, 4), 255, np.uint8)])
    rng = np.random.default_rng(4)
    skirt = skirt_mesh(avatar, textures, rng)
    assert skirt.weights.sum(axis=1) == pytest.approx(np.ones(len(skirt.weights)), abs=1e-5)
    top, hem = skirt.vertices[:, 1].argmax(), skirt.vertices[:, 1].argmin()
    assert skirt.bones[top][skirt.weights[top].argmax()] == BONE_INDEX["Hips"]
    assert skirt.bones[hem][skirt.weights[hem].argmax()] != BONE_INDEX["Hips"]
    left = skirt.vertices[:, 0].argmax()
    assert skirt.bones[left][np.argsort(skirt.weights[left])[-2:]].max() <= BONE_INDEX["LeftToeBase"]
    for mesh in hat_meshes(avatar, textures, rng):
        assert (mesh.bones[:, 0] == BONE_INDEX["Head"]).all()
        assert mesh.vertices[:, 1].mean() > 1.62
    pack = backpack_mesh(avatar, textures, rng)
    assert pack.vertices[:, 2].max() < 0.0


def test_boxes_and_balls_face_outwards() -> None:
    textures = stack_textures([np.full((8, 8, 4), 255, np.uint8)])
    box = box_mesh(np.array([1, 2, 3], np.float32), textures)
    assert np.ptp(box.vertices, axis=0) == pytest.approx([1, 2, 3])
    assert (np.einsum("vi,vi->v", box.vertices, box.normals) > 0).all()
    ball = ball_mesh(np.array([2, 2, 2], np.float32), textures)
    assert np.linalg.norm(ball.vertices, axis=1) == pytest.approx(np.ones(len(ball.vertices)), abs=1e-5)
