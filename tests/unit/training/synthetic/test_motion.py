"""Recordings keep their directions, scale with the legs, and run at any rate."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from posecli.errors import FormatError
from posecli.training.synthetic.assets import AssetPaths
from posecli.training.synthetic.motion import BodyMotion, read_motions
from posecli.training.synthetic.rig import BONE_INDEX, BONES, PARENTS, UPPER_BODY, Rig
from posecli.training.synthetic.rotations import about_x, about_y


@pytest.fixture(scope="module")
def rig(factory: ModuleType) -> Rig:
    return Rig(factory.rest_joints())


def test_bones_follow_their_parents(rig: Rig) -> None:
    assert PARENTS[0] == -1
    assert all(parent < bone for bone, parent in enumerate(PARENTS))
    assert {BONES[i] for i in UPPER_BODY} & {"Hips", "LeftFoot", "RightUpLeg"} == set()
    still = np.tile(np.eye(3), (1, 24, 1, 1))
    assert rig.joint_positions(still, rig.joints[None, 0])[0] == pytest.approx(rig.joints)
    assert rig.hip_height == pytest.approx(0.87)
    bent = still.copy()
    for name in ("LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase"):
        bent[:, BONE_INDEX[name]] = about_x(-np.pi / 2)
    knee = rig.joint_positions(bent, rig.joints[None, 0])[0, BONE_INDEX["LeftLeg"]]
    assert knee == pytest.approx([0.09, 0.9, 0.4])


def test_bone_matrices_move_joints_where_joint_positions_say(rig: Rig) -> None:
    rng = np.random.default_rng(2)
    rotations = about_y(rng.normal(size=(3, 24))) @ about_x(rng.normal(size=(3, 24)))
    roots = rng.normal(size=(3, 3))
    matrices = rig.bone_matrices(rotations, roots)
    moved = np.einsum("tbij,bj->tbi", matrices[..., :3], rig.joints) + matrices[..., 3]
    assert moved == pytest.approx(rig.joint_positions(rotations, roots), abs=1e-5)


def test_recording_is_sampled_at_any_rate(rig: Rig, asset_paths: AssetPaths) -> None:
    walk, stand = read_motions(asset_paths.motions)
    assert (walk.name, stand.name) == ("walk", "stand")
    assert walk.duration_s == pytest.approx(39 / 30)
    motion = walk.sample(rig, np.array([0.1, 0.1 + 0.5 / 30, 4 / 30]))
    swing = np.sin(np.array([0.1, 0.1 + 0.5 / 30, 4 / 30]) * 6) * 0.5
    thigh = motion.rotations[:, BONE_INDEX["LeftUpLeg"]]
    assert thigh == pytest.approx(about_x(swing), abs=2e-3)
    assert motion.roots[:, 2] == pytest.approx([0.12, 0.14, 0.16], abs=2e-3)


def test_after_its_end_a_recording_runs_backwards(rig: Rig, asset_paths: AssetPaths) -> None:
    walk = read_motions(asset_paths.motions)[0]
    end = walk.duration_s
    motion = walk.sample(rig, np.array([end - 0.2, end + 0.2, 2 * end + 0.1, 0.1]))
    assert motion.roots[0] == pytest.approx(motion.roots[1], abs=1e-6)
    assert motion.roots[2] == pytest.approx(motion.roots[3], abs=1e-6)


def test_paths_scale_with_the_legs_and_limbs_keep_their_direction(rig: Rig, asset_paths: AssetPaths) -> None:
    walk = read_motions(asset_paths.motions)[0]
    joints = rig.joints * 0.5
    knee, hip = BONE_INDEX["LeftLeg"], BONE_INDEX["LeftUpLeg"]
    joints[knee] = joints[hip] + [0.1, -0.2, 0.0]  # a bow-legged rest pose
    small = Rig(joints)
    times = np.array([0.0, 1.0])
    motion = walk.sample(small, times)
    assert np.ptp(motion.roots[:, 2]) == pytest.approx(1.2 * small.hip_height / 0.87, rel=2e-3)
    positions = small.joint_positions(motion.rotations, motion.roots)
    thigh = positions[0, knee] - positions[0, hip]
    assert thigh / np.linalg.norm(thigh) == pytest.approx([0, -1, 0], abs=1e-3)


def test_a_head_turned_away_from_the_chest_is_repaired(rig: Rig, asset_paths: AssetPaths, tmp_path: Path) -> None:
    content = dict(np.load(asset_paths.motions))
    names = [str(name) for name in content["bones"]]
    content["quat_xyz"][:, names.index("Head")] = [32767, 0, 0]  # upside down
    np.savez(tmp_path / "broken.npz", **content)
    motion = read_motions(tmp_path / "broken.npz")[0].sample(rig, np.array([0.5]))
    head, neck = (motion.rotations[0, BONE_INDEX[name]] for name in ("Head", "Neck"))
    assert head == pytest.approx(neck)


def test_whole_motions_turn_and_move(rig: Rig, asset_paths: AssetPaths) -> None:
    motion: BodyMotion = read_motions(asset_paths.motions)[0].sample(rig, np.linspace(0, 1, 5))
    turned = motion.turned(about_y(np.pi / 2)).moved(np.array([0.0, 1.0, 0.0]))
    way = turned.roots[-1] - turned.roots[0]
    assert way == pytest.approx([1.2, 0.0, 0.0], abs=5e-3)
    assert turned.roots[0] == pytest.approx(motion.roots[0] + [0, 1, 0])
    assert turned.rotations[0, 0] @ [0, 0, 1] == pytest.approx([1, 0, 0], abs=1e-6)


def test_a_file_without_motions_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", fps=np.ones(1))
    with pytest.raises(FormatError, match=r"other\.npz: not a file of motions"):
        read_motions(tmp_path / "other.npz")
