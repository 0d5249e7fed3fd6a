"""The 24 bones that avatars and motions share, and where they are when turned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from posecli.records import FloatArray
from posecli.training.synthetic.rotations import Reals

_LIMB_BONES = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")
_TRUNK = MappingProxyType(
    {"Hips": "", "Spine": "Hips", "Spine1": "Spine", "Spine2": "Spine1", "Neck": "Spine2", "Head": "Neck"}
)
_LIMB_PARENTS = MappingProxyType(
    {"Eye": "Head", "Shoulder": "Spine2", "Arm": "LShoulder", "ForeArm": "LArm", "Hand": "LForeArm", "UpLeg": "Hips"}
    | {"Leg": "LUpLeg", "Foot": "LLeg", "ToeBase": "LFoot"}
)
SIDES = ("Left", "Right")

BONES: tuple[str, ...] = (*_TRUNK, *(side + bone for side in SIDES for bone in ("Eye", *_LIMB_BONES)))
BONE_INDEX = MappingProxyType({name: i for i, name in enumerate(BONES)})


def _parent(name: str) -> int:
    if name in _TRUNK:
        return BONE_INDEX.get(_TRUNK[name], -1)
    side = next(side for side in SIDES if name.startswith(side))
    parent = _LIMB_PARENTS[name.removeprefix(side)]
    return BONE_INDEX[side + parent[1:] if parent.startswith("L") else parent]


PARENTS: tuple[int, ...] = tuple(_parent(name) for name in BONES)
UPPER_BODY: tuple[int, ...] = tuple(
    i for i, name in enumerate(BONES) if name != "Hips" and not name.endswith(("Leg", "Foot", "ToeBase"))
)


def limb(side: str, *bones: str) -> tuple[int, ...]:
    """Indices of some bones of one side."""
    return tuple(BONE_INDEX[side + bone] for bone in bones)


ARMS = MappingProxyType({side: limb(side, "Arm", "ForeArm", "Hand") for side in SIDES})
LEGS = MappingProxyType({side: limb(side, "UpLeg", "Leg", "Foot", "ToeBase") for side in SIDES})


@dataclass(frozen=True)
class Rig:
    """The bones of one person at rest: ``joints`` (24, 3) metres."""

    joints: Reals

    @cached_property
    def hip_height(self) -> float:
        """From the ankles to the hips, metres."""
        ankles = self.joints[[BONE_INDEX["LeftFoot"], BONE_INDEX["RightFoot"]], 1]
        return float(self.joints[0, 1] - ankles.min())

    def joint_positions(self, rotations: Reals, roots: Reals) -> Reals:
        """Where the joints are.

        Args:
            rotations: (T, 24, 3, 3) of the bones, against the rest pose.
            roots: (T, 3) of the hips, metres.

        Returns:
            (T, 24, 3) metres.
        """
        positions = np.empty((len(rotations), len(BONES), 3))
        positions[:, 0] = roots
        for bone, parent in enumerate(PARENTS):
            if parent >= 0:
                offset = self.joints[bone] - self.joints[parent]
                positions[:, bone] = positions[:, parent] + rotations[:, parent] @ offset
        return positions

    def bone_matrices(self, rotations: Reals, roots: Reals) -> FloatArray:
        """(T, 24, 3, 4): what moves points of the rest pose with each bone."""
        positions = self.joint_positions(rotations, roots)
        shift = positions - np.einsum("tbij,bj->tbi", rotations, self.joints)
        return np.concatenate([rotations, shift[..., None]], axis=-1).astype(np.float32)
