"""Recorded motions: global rotations of the bones over time, sampled at any rate and carried over to any rig."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posecli.errors import FormatError
from posecli.records import FloatArray
from posecli.training.synthetic.rig import BONE_INDEX, BONES, SIDES, Rig
from posecli.training.synthetic.rotations import Reals, between, blend_quaternions, from_quaternion

_UNIT = 32767.0
_MIN_FRAMES = 20
_LIMB_CHILDREN = {"Arm": "ForeArm", "ForeArm": "Hand", "UpLeg": "Leg", "Leg": "Foot"}
_HEAD, _NECK, _CHEST = BONE_INDEX["Head"], BONE_INDEX["Neck"], BONE_INDEX["Spine2"]
_KEYS = ("quat_xyz", "root_mm", "offsets", "names", "source", "fps", "hip_height_m", "bones", "rest_bones", "rest_dirs")


@dataclass(frozen=True, slots=True)
class BodyMotion:
    """One person over time: ``rotations`` (T, 24, 3, 3) of the bones against the rest pose, ``roots`` (T, 3) of the hips, metres."""

    rotations: Reals
    roots: Reals

    def turned(self, rotation: Reals) -> BodyMotion:
        """The same, turned as a whole about the first position of the hips; ``rotation`` (3, 3) or (T, 3, 3)."""
        pivot = self.roots[:1]
        roots = pivot + np.einsum("...ij,...j->...i", rotation, self.roots - pivot)
        return BodyMotion(rotation[..., None, :, :] @ self.rotations, roots)

    def moved(self, shift: Reals) -> BodyMotion:
        """The same, shifted by (3,) or (T, 3) metres."""
        return replace(self, roots=self.roots + shift)


@dataclass(frozen=True, slots=True)
class MotionClip:
    """A recording.

    ``quaternions`` (F, 24, 4) w, x, y, z; ``roots`` (F, 3) metres; ``rest_directions``: by bone index, where the bone pointed in the
    recorded skeleton's rest pose.
    """

    name: str
    quaternions: FloatArray
    roots: FloatArray
    fps: float
    hip_height: float
    rest_directions: dict[int, FloatArray]

    @property
    def duration_s(self) -> float:
        """From the first to the last frame."""
        return (len(self.roots) - 1) / self.fps

    def sample(self, rig: Rig, times_s: Reals) -> BodyMotion:
        """The motion of a person of this build.

        Bones keep the direction they have in the recording, whatever the rest poses; the path scales with the height of the hips.

        Args:
            rig: Whose bones.
            times_s: (T,) seconds from the start; beyond the end the motion runs backwards, like a pendulum.
        """
        last = len(self.roots) - 1
        position = np.abs((times_s * self.fps + last) % (2 * last) - last)
        before = np.minimum(position.astype(np.int64), last - 1)
        part = position - before
        mixed = blend_quaternions(self.quaternions[before], self.quaternions[before + 1], part[:, None])
        roots = self.roots[before] * (1 - part[:, None]) + self.roots[before + 1] * part[:, None]
        rotations = from_quaternion(mixed) @ self._alignment(rig)
        return BodyMotion(rotations, roots.astype(np.float64) * (rig.hip_height / self.hip_height))

    def _alignment(self, rig: Rig) -> Reals:
        """(24, 3, 3): from the rig's rest directions of the limbs to the recorded ones."""
        turns = np.tile(np.eye(3), (len(BONES), 1, 1))
        for side in SIDES:
            for bone, child in _LIMB_CHILDREN.items():
                i = BONE_INDEX[side + bone]
                if i in self.rest_directions:
                    turns[i] = between(rig.joints[BONE_INDEX[side + child]] - rig.joints[i], self.rest_directions[i])
            turns[BONE_INDEX[side + "Hand"]] = turns[BONE_INDEX[side + "ForeArm"]]
        return turns


def read_motions(path: Path) -> list[MotionClip]:
    """Read a file of recordings; those shorter than twenty frames are left out.

    Raises:
        FormatError: The file cannot be read, or lacks a key.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in _KEYS}
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path}: not a file of motions: {error}", hint=f"an .npz with {', '.join(_KEYS)}") from error
    offsets = content["offsets"]
    long_enough = np.flatnonzero(np.diff(offsets) >= _MIN_FRAMES)
    return [_read_clip(content, int(i), slice(offsets[i], offsets[i + 1])) for i in long_enough]


def _read_clip(content: dict[str, np.ndarray], i: int, rows: slice) -> MotionClip:
    xyz = content["quat_xyz"][rows].astype(np.float32) / np.float32(_UNIT)
    w = np.sqrt(np.maximum(1.0 - (xyz * xyz).sum(axis=-1, keepdims=True), 0.0))
    quaternions = np.zeros((len(xyz), len(BONES), 4), np.float32)
    quaternions[:, [BONE_INDEX[str(name)] for name in content["bones"]]] = np.concatenate([w, xyz], axis=-1)
    _repair_head(quaternions)
    for side in SIDES:
        quaternions[:, BONE_INDEX[side + "Eye"]] = quaternions[:, _HEAD]
    directions = zip(content["rest_bones"], content["rest_dirs"][i].astype(np.float32), strict=True)
    return MotionClip(
        name=f"{content['names'][i]}",
        quaternions=quaternions,
        roots=content["root_mm"][rows].astype(np.float32) / np.float32(1000),
        fps=float(content["fps"][i]),
        hip_height=float(content["hip_height_m"][i]),
        rest_directions={BONE_INDEX[str(bone)]: v for bone, v in directions if np.isfinite(v).all()},
    )


def _repair_head(quaternions: FloatArray) -> None:
    """A head that points away from the chest is a recording error; it then follows the neck."""
    up = from_quaternion(quaternions[:, [_HEAD, _CHEST]])[..., 1]
    is_wrong = (up[:, 0] * up[:, 1]).sum(axis=-1) < 0.1
    quaternions[is_wrong, _HEAD] = quaternions[is_wrong, _NECK]
