"""Invented poses are rotations, move smoothly, and look like what they are called."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from posecli.training.synthetic.assets import AssetPaths
from posecli.training.synthetic.motion import BodyMotion, MotionClip, read_motions
from posecli.training.synthetic.perturb import POSE_KINDS, lie, seat, stand_on_hands, take_bones, turn_head, vary_pose
from posecli.training.synthetic.rig import ARMS, BONE_INDEX, Rig
from posecli.training.synthetic.rotations import about_z

TIMES = np.arange(5) / 30


@pytest.fixture(scope="module")
def rig(factory: ModuleType) -> Rig:
    return Rig(factory.rest_joints())


@pytest.fixture(scope="module")
def clips(asset_paths: AssetPaths) -> list[MotionClip]:
    return read_motions(asset_paths.motions)


@pytest.fixture
def motion(rig: Rig, clips: list[MotionClip]) -> BodyMotion:
    return clips[0].sample(rig, TIMES)


def positions(rig: Rig, motion: BodyMotion) -> dict[str, np.ndarray]:
    joints = rig.joint_positions(motion.rotations, motion.roots)
    return {name: joints[:, i] for name, i in BONE_INDEX.items()}


@pytest.mark.parametrize("kind", POSE_KINDS)
def test_every_kind_gives_rotations_that_move_smoothly(
    kind: str, rig: Rig, clips: list[MotionClip], motion: BodyMotion
) -> None:
    for seed in range(6):
        varied, said, _ = vary_pose(motion, clips, rig, TIMES, np.random.default_rng(seed), kind=kind)
        assert said == kind
        product = varied.rotations @ np.swapaxes(varied.rotations, -1, -2)
        assert product == pytest.approx(np.broadcast_to(np.eye(3), product.shape), abs=1e-6)
        assert np.linalg.det(varied.rotations).min() > 0.99
        steps = np.abs(np.diff(rig.joint_positions(varied.rotations, varied.roots), axis=0))
        assert steps.max() < 0.5  # metres in a thirtieth of a second


def test_kinds_are_drawn_by_chance(rig: Rig, clips: list[MotionClip], motion: BodyMotion) -> None:
    drawn = {vary_pose(motion, clips, rig, TIMES, np.random.default_rng(seed))[1] for seed in range(80)}
    assert len(drawn) >= 8
    assert drawn <= set(POSE_KINDS)


def test_the_same_seed_gives_the_same_pose(rig: Rig, clips: list[MotionClip], motion: BodyMotion) -> None:
    first, second = (vary_pose(motion, clips, rig, TIMES, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first[0].rotations, second[0].rotations)


def test_seated_people_have_their_knees_in_front(rig: Rig, motion: BodyMotion) -> None:
    for seed in range(8):
        places = positions(rig, seat(motion, np.random.default_rng(seed)))
        for side in ("Left", "Right"):
            assert (places[side + "Leg"][:, 2] > places[side + "UpLeg"][:, 2] + 0.1).all()
            assert (places[side + "Foot"][:, 1] < places[side + "Leg"][:, 1] + 0.3).all()


def test_lying_people_are_level_and_those_on_hands_upside_down(rig: Rig, motion: BodyMotion) -> None:
    lying = positions(rig, lie(motion, np.random.default_rng(1)))
    assert np.abs(lying["Neck"][:, 1] - lying["Hips"][:, 1]).max() < 0.35
    inverted = positions(rig, stand_on_hands(motion, np.random.default_rng(1)))
    assert (inverted["Head"][:, 1] < inverted["Hips"][:, 1] - 0.3).all()


def test_taken_bones_hang_on_their_new_anchor(rig: Rig, motion: BodyMotion) -> None:
    other = motion.turned(about_z(1.0))
    rotations = other.rotations.copy()
    rotations[:, ARMS["Left"]] = about_z(-1.2) @ rotations[:, ARMS["Left"]]
    mixed = take_bones(motion, BodyMotion(rotations, other.roots), ARMS["Left"], anchor=BONE_INDEX["Spine2"])
    arm = mixed.rotations[:, BONE_INDEX["LeftArm"]] @ [1, 0, 0]
    lowered = about_z(-1.0) @ about_z(-1.2) @ about_z(1.0) @ [1, 0, 0]
    assert arm == pytest.approx(np.tile(lowered, (5, 1)), abs=2e-3)
    assert np.array_equal(mixed.rotations[:, BONE_INDEX["RightArm"]], motion.rotations[:, BONE_INDEX["RightArm"]])


def test_turned_heads_leave_the_body_alone_and_keep_their_eyes(rig: Rig, motion: BodyMotion) -> None:
    head = [BONE_INDEX[name] for name in ("Neck", "Head", "LeftEye", "RightEye")]
    body = np.setdiff1d(np.arange(len(BONE_INDEX)), head)
    turns = []
    for seed in range(60):
        turned = turn_head(motion, np.random.default_rng(seed))
        np.testing.assert_array_equal(turned.rotations[:, body], motion.rotations[:, body])
        np.testing.assert_array_equal(turned.roots, motion.roots)
        change = np.swapaxes(motion.rotations[:, head], -1, -2) @ turned.rotations[:, head]
        np.testing.assert_allclose(
            change[:, 2:], change[:, 1:2].repeat(2, axis=1), atol=1e-6
        )  # eyes turn with the head
        turns.append(np.degrees(np.arccos(np.clip((np.trace(change[0, 1]) - 1) / 2, -1, 1))))
    assert 15 < np.median(turns) < 45
    assert max(turns) < 95


def test_heads_look_down_more_than_up(rig: Rig, motion: BodyMotion) -> None:
    def pitch(some: BodyMotion) -> float:
        return float(-some.rotations[:, BONE_INDEX["Head"], 1, 2].mean())  # of the direction the face looks in

    before = pitch(motion)
    assert np.mean([pitch(turn_head(motion, np.random.default_rng(seed))) > before for seed in range(200)]) > 0.55
