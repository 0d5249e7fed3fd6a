"""Where posecli's 19 keypoints sit in a body at rest: the rig's joints, and places on the head that its shape tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.records import FloatArray
from posecli.skeletons import POSECLI19
from posecli.training.synthetic.rig import BONE_INDEX, Rig
from posecli.training.synthetic.rotations import Reals

_JOINTS = {
    "shoulder": "Arm",
    "elbow": "ForeArm",
    "wrist": "Hand",
    "hip": "UpLeg",
    "knee": "Leg",
    "ankle": "Foot",
}
# Annotators click hips higher and further out than the centres of the hip joints.
_HIP_UP_M, _HIP_OUT_M = 0.018, 0.02
_EYE_FORWARD_M = 0.012
# The base of the neck lies a seventh of the way from the shoulders to the head top (median of labelled stills):
# here a little below the joint of the rig.
_NECK_UP = 0.9
_NECK_FORWARD_M = 0.01

# Half the thickness of the body at each point: a surface nearer than this in front of the point is the body part itself.
HALF_THICKNESS_M: FloatArray = np.array(
    [
        0.05,
        0.04,
        0.04,
        0.05,
        0.05,
        *[0.13] * 2,
        *[0.08] * 2,
        *[0.07] * 2,
        *[0.20] * 2,
        *[0.11] * 2,
        *[0.12] * 2,
        0.13,
        0.10,
    ],
    np.float32,
)


@dataclass(frozen=True, slots=True)
class BodyPoints:
    """``bones`` (19,) that carry the points, ``places`` (19, 3) at rest, metres."""

    bones: np.ndarray
    places: Reals

    def positions(self, bone_matrices: FloatArray) -> Reals:
        """(..., 24, 3, 4) -> (..., 19, 3)."""
        matrices = bone_matrices[..., self.bones, :, :].astype(np.float64)
        return np.einsum("...kij,kj->...ki", matrices[..., :3], self.places) + matrices[..., 3]


def find_body_points(rig: Rig, vertices: FloatArray, main_bones: np.ndarray) -> BodyPoints:
    """Find the keypoints of a body.

    Args:
        rig: Its bones.
        vertices: (V, 3) of the body's skin, without hair, at rest, metres.
        main_bones: (V,) the bone that moves a vertex most.
    """
    head = vertices[main_bones == BONE_INDEX["Head"]].astype(np.float64)
    found = {
        "neck": ("Spine2", _neck(rig)),
        "head_top": ("Head", _head_top(rig, head)),
        "nose": ("Head", _nose(rig, head)),
    }
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        name = side.lower()
        eye = rig.joints[BONE_INDEX[side + "Eye"]]
        found[f"{name}_eye"] = (side + "Eye", eye + np.array([0.0, 0.0, _EYE_FORWARD_M]))
        found[f"{name}_ear"] = ("Head", _ear(rig, head, sign))
        for joint, bone in _JOINTS.items():
            found[f"{name}_{joint}"] = (side + bone, rig.joints[BONE_INDEX[side + bone]])
        hip = rig.joints[BONE_INDEX[side + "UpLeg"]] + [sign * _HIP_OUT_M, _HIP_UP_M, 0.0]
        found[f"{name}_hip"] = ("Hips", hip)
    rows = [found[name] for name in POSECLI19.keypoint_names]
    return BodyPoints(np.array([BONE_INDEX[bone] for bone, _ in rows]), np.array([place for _, place in rows]))


def _neck(rig: Rig) -> Reals:
    shoulders = (rig.joints[BONE_INDEX["LeftArm"]] + rig.joints[BONE_INDEX["RightArm"]]) / 2
    base = rig.joints[BONE_INDEX["Neck"]]
    return np.asarray(shoulders + _NECK_UP * (base - shoulders) + [0.0, 0.0, _NECK_FORWARD_M])


def _head_top(rig: Rig, head: Reals) -> Reals:
    middle = head[np.abs(head[:, 0]) < 0.03] if len(head) else head
    return np.asarray(middle[middle[:, 1].argmax()] if len(middle) else rig.joints[BONE_INDEX["Head"]] + [0, 0.2, 0])


def _nose(rig: Rig, head: Reals) -> Reals:
    eyes = rig.joints[BONE_INDEX["LeftEye"]]
    is_near = (np.abs(head[:, 0]) < 0.012) & (head[:, 1] < eyes[1] - 0.005) & (head[:, 1] > eyes[1] - 0.075)
    near = head[is_near]
    return np.asarray(near[near[:, 2].argmax()] if len(near) else eyes * [0, 1, 1] + [0, -0.04, 0.03])


def _ear(rig: Rig, head: Reals, sign: float) -> Reals:
    eye = rig.joints[BONE_INDEX["LeftEye"]]
    behind = eye[2] - head[:, 2]
    is_near = (
        (head[:, 0] * sign > 0.05) & (np.abs(head[:, 1] - eye[1] + 0.018) < 0.028) & (behind > 0.045) & (behind < 0.125)
    )
    near = head[is_near]
    if len(near):
        return np.asarray(near[(near[:, 0] * sign).argmax()])
    return np.asarray(rig.joints[BONE_INDEX["Head"]] + [sign * 0.075, 0.05, 0.0])
