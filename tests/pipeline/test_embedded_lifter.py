"""The embedded lifter on a walker whose 3D joints are known: nearer than a flat pose could be, legs where they are."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.evaluation.joints import p_mpjpe
from posecli.lifting.lifter import Lifter
from posecli.records import PoseSequence, PoseSequence3D
from posecli.skeletons import COCO17, H36M17

FRAMES, FPS, FOCAL_PX, SIZE = 60, 30.0, 1000.0, {"width_px": 1280, "height_px": 720}
JOINT = {name: index for index, name in enumerate(H36M17.joint_names)}


def walker(turn_deg: float) -> np.ndarray:
    """(T, 17, 3) mm of `COCO17`, x right, y down, z away: a person of 1.70 m walking on the spot, turned about the vertical."""
    phase = np.arange(FRAMES) / FPS * 2 * np.pi * 0.9
    points = np.zeros((FRAMES, len(COCO17), 3))

    def put(name: str, x: float, y: float | np.ndarray, z: float | np.ndarray) -> None:
        points[:, COCO17.index(name)] = np.stack(np.broadcast_arrays(x, y, z), axis=-1)

    for side, sign in (("left", 1.0), ("right", -1.0)):
        thigh, bend = 0.45 * sign * np.sin(phase), 0.6 * np.clip(sign * np.cos(phase), 0, 1)
        put(f"{side}_hip", 100 * sign, 0.0, 0.0)
        knee = 420 * np.cos(thigh), -420 * np.sin(thigh)
        put(f"{side}_knee", 100 * sign, *knee)
        put(f"{side}_ankle", 100 * sign, knee[0] + 420 * np.cos(thigh - bend), knee[1] - 420 * np.sin(thigh - bend))
        swing = -0.4 * sign * np.sin(phase)
        put(f"{side}_shoulder", 175 * sign, -490.0, 0.0)
        elbow = -490 + 260 * np.cos(swing), -260 * np.sin(swing)
        put(f"{side}_elbow", 190 * sign, *elbow)
        put(f"{side}_wrist", 190 * sign, elbow[0] + 240 * np.cos(swing + 0.3), elbow[1] - 240 * np.sin(swing + 0.3))
        put(f"{side}_ear", 75 * sign, -690.0, 0.0)
        put(f"{side}_eye", 35 * sign, -710.0, -80.0)
    put("nose", 0.0, -680.0, -100.0)
    angle = np.deg2rad(turn_deg)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return np.asarray(points @ turn.T)


def seen(points_mm: np.ndarray) -> PoseSequence:
    """From 4 m, by a camera at the height of the hips."""
    placed = np.add(points_mm, [0, 0, 4000])
    px = (placed[..., :2] / placed[..., 2:] * FOCAL_PX + [639.5, 359.5]).astype(np.float32)
    scores = np.full(px.shape[:2], 0.9, np.float32)
    boxes, nothing = np.zeros((FRAMES, 4), np.float32), np.zeros(FRAMES, np.bool_)
    return PoseSequence(1, COCO17.name, np.arange(FRAMES), px, px, scores, boxes, np.ones(FRAMES, np.float32), nothing)


def lifted(points_mm: np.ndarray) -> PoseSequence3D:
    return Lifter.load("posecli-lifter", fov_deg=65.2).lift(seen(points_mm), np.arange(FRAMES) / FPS, **SIZE)


def limbs(points_mm: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Which of `H36M17` are points of `COCO17` themselves, and where those are from the middle of the hips."""
    names = [name for name in H36M17.joint_names if name in COCO17.keypoint_names]
    root = points_mm[:, [COCO17.index("left_hip"), COCO17.index("right_hip")]].mean(axis=1, keepdims=True)
    return [JOINT[name] for name in names], points_mm[:, [COCO17.index(name) for name in names]] - root


@pytest.mark.weights
@pytest.mark.parametrize("turn_deg", [0.0, 60.0, 150.0, -90.0])
def test_a_walker_is_lifted_from_every_side(turn_deg: float) -> None:
    true = walker(turn_deg)
    joints, expected = limbs(true)
    found = lifted(true).joints_mm[:, joints]
    flat = expected * [1.0, 1.0, 0.0]
    error = p_mpjpe(found, expected).mean()
    assert error < 70.0
    assert error < 0.8 * p_mpjpe(flat, expected).mean()


@pytest.mark.weights
def test_the_foremost_foot_is_the_foremost_foot() -> None:
    """A walker who comes straight at the camera: only depth tells the stride."""
    true = walker(0.0)
    joints = lifted(true).joints_mm
    feet = true[:, COCO17.index("left_ankle"), 2] - true[:, COCO17.index("right_ankle"), 2]
    found = joints[:, JOINT["left_ankle"], 2] - joints[:, JOINT["right_ankle"], 2]
    is_clear = np.abs(feet) > 200
    assert (np.sign(found[is_clear]) == np.sign(feet[is_clear])).mean() > 0.9


@pytest.mark.weights
def test_the_person_is_about_where_he_is() -> None:
    root = np.median(lifted(walker(30.0)).root_mm, axis=0)
    assert abs(root[2] - 4000) < 600
    assert np.abs(root[:2]).max() < 100
