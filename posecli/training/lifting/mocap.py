"""Recorded motion: joint positions of people over time, brought to one definition of the joints and to the standard body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from posecli.errors import FormatError
from posecli.records import FloatArray
from posecli.skeletons import H36M17
from posecli.training.lifting.bones import GROUP_NAMES, bone_vectors, group_lengths, rebuild_trunk, standard_scale

_FPS = 30.0
_MIN_FRAMES = 16
_ANKLES_MM = 70.0  # of an ankle above the sole
_LOWEST_PERCENTILE = 5.0
_LICENSED_WALKS = "walk__CMU_walkcycles_"
_HEAD, _THORAX = H36M17.joint_names.index("head"), H36M17.joint_names.index("thorax")
_MIN_HEAD_RISE = 0.5
_MAX_LENGTH_CHANGE = 0.06
# Of the standard body, mm; avatars and the good recordings lie well inside.
_PLAUSIBLE_MM: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "hip": (65.0, 145.0),
        "knee": (330.0, 520.0),
        "ankle": (330.0, 540.0),
        "spine": (175.0, 320.0),
        "neck": (70.0, 150.0),
        "shoulder": (110.0, 240.0),
        "elbow": (220.0, 360.0),
        "wrist": (150.0, 320.0),
    }
)


@dataclass(frozen=True, slots=True)
class MotionSequence:
    """One person over time: ``joints_mm`` (T, 17, 3) of `H36M17`, y up, the floor at 0, the standard body; the path is kept."""

    name: str
    joints_mm: FloatArray
    fps: float

    def __len__(self) -> int:
        return len(self.joints_mm)


@dataclass(frozen=True, slots=True)
class Mocap:
    """What a file of recordings gives: ``sequences``, and ``left_out``: by name, why a recording is not among them."""

    sequences: tuple[MotionSequence, ...]
    left_out: Mapping[str, str]


def read_mocap(path: Path) -> Mocap:
    """Read a file of joint positions.

    Args:
        path: An ``.npz``: by name a (T, 17, 3) int16 array of mm, in the order of `H36M17`, y up, 30 fps. The trunk's joints are
            rebuilt, the head joint is taken for the middle of the ears: it lies as far above the shoulders.

    Raises:
        FormatError: The file cannot be read or an array has another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: not a file of motions: {error}", hint="an .npz of (T, 17, 3) arrays") from error
    sequences, left_out = [], {}
    for name, array in arrays.items():
        if array.ndim != 3 or array.shape[1:] != (len(H36M17), 3):
            raise FormatError(f"{path}: {name} has shape {array.shape}", hint="(T, 17, 3) is needed")
        reason = _unlicensed(name) or ("" if len(array) >= _MIN_FRAMES else f"only {len(array)} frames")
        if not reason:
            joints = standardise(rebuild_trunk(array.astype(np.float32)))
            reason = find_fault(joints)
        if reason:
            left_out[name] = reason
        else:
            sequences.append(MotionSequence(name, joints, _FPS))
    return Mocap(tuple(sequences), MappingProxyType(left_out))


def standardise(joints_mm: FloatArray) -> FloatArray:
    """Scale (T, 17, 3) to the standard body and put the floor under it.

    The floor is where the lowest joint of a frame (an ankle, mostly) is low: jumps and a foot that dips below do not move it.
    """
    joints = joints_mm * np.float32(standard_scale(joints_mm))
    lowest = np.percentile(joints[..., 1].min(axis=1), _LOWEST_PERCENTILE)
    joints[..., 1] -= np.float32(lowest - _ANKLES_MM)
    return joints.astype(np.float32)


def find_fault(joints_mm: FloatArray) -> str:
    """Why a recording (T, 17, 3) of the standard body is not to be trusted; empty where it is.

    Bones that change their length, proportions that nobody has, or a head that hangs before the chest all along.
    """
    lengths = np.linalg.norm(bone_vectors(joints_mm), axis=-1)
    rigid = [i for i, name in enumerate(H36M17.joint_names[1:]) if name.endswith(("knee", "ankle", "elbow", "wrist"))]
    change = (lengths[:, rigid].std(axis=0) / lengths[:, rigid].mean(axis=0)).max()
    if change > _MAX_LENGTH_CHANGE:
        return f"a limb changes its length by {change:.0%}"
    for name, length in zip(GROUP_NAMES, group_lengths(joints_mm), strict=True):
        low, high = _PLAUSIBLE_MM[name]
        if not low <= length <= high:
            return f"bones to the {name} are {length:.0f} mm in the standard body"
    trunk = joints_mm[:, _THORAX] - joints_mm[:, 0]
    head = joints_mm[:, _HEAD] - joints_mm[:, _THORAX]
    sizes = np.linalg.norm(trunk, axis=1) * np.linalg.norm(head, axis=1)
    if np.median((trunk * head).sum(axis=1) / sizes) < _MIN_HEAD_RISE:
        return "the head hangs before the chest throughout"
    return ""


def _unlicensed(name: str) -> str:
    is_known = not name.startswith("walk__") or name.startswith(_LICENSED_WALKS)
    return "" if is_known else "of unknown origin and licence"
