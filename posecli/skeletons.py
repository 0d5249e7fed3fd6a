"""Skeletons: keypoint names, limbs, left/right pairs, OKS sigmas, and mappings between them; and the tree of joints in 3D.

posecli predicts 19 points: the 17 of COCO, then neck (the upper end of the sternum; PoseTrack calls it head_bottom) and head_top.
COCO output takes the first 17; PoseTrack output takes its 15 natively, nothing is extrapolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from posecli.errors import ConfigError
from posecli.records import FloatArray, IntArray


@dataclass(frozen=True)
class Skeleton:
    """The points of a pose and how they belong together.

    ``limbs`` are pairs of keypoint indices to draw. ``sigmas`` (K,) are the per-keypoint constants of the OKS metric
    (COCO's published values; neck and head_top as PoseTrack training code uses them).
    """

    name: str
    keypoint_names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.keypoint_names)
        if len(self.sigmas) != count or any(not 0 <= i < count for limb in self.limbs for i in limb):
            raise ValueError(f"skeleton {self.name}: {count} names do not fit its sigmas or limbs")

    def __len__(self) -> int:
        return len(self.keypoint_names)

    def index(self, keypoint_name: str) -> int:
        """The position of a keypoint.

        Raises:
            ValueError: This skeleton has no such keypoint.
        """
        return self.keypoint_names.index(keypoint_name)

    @cached_property
    def flip_indices(self) -> IntArray:
        """(K,): where each keypoint is found in the mirrored picture (left and right exchanged)."""
        return np.array([self.index(_mirror(name)) for name in self.keypoint_names], np.int64)

    @cached_property
    def sigma_array(self) -> FloatArray:
        """(K,) OKS sigmas."""
        return np.array(self.sigmas, np.float32)

    def side(self, keypoint_index: int) -> str:
        """``left``, ``right`` or ``middle``: the body side a keypoint is on."""
        name = self.keypoint_names[keypoint_index]
        return next((side for side in ("left", "right") if name.startswith(side)), "middle")


def _mirror(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return name


_COCO_NAMES = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()
_COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
_POSETRACK_NAMES = (
    "nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()


def _from_one(*pairs: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """COCO and PoseTrack publish their limbs counting from 1."""
    return tuple((a - 1, b - 1) for a, b in pairs)


_BODY_LIMBS = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7)),
    *((6, 8), (7, 9), (8, 10), (9, 11)),
)

COCO17 = Skeleton(
    "coco17",
    tuple(_COCO_NAMES),
    _from_one(*_BODY_LIMBS, (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
    _COCO_SIGMAS,
)
POSECLI19 = Skeleton(
    "posecli19",
    (*_COCO_NAMES, "neck", "head_top"),
    _from_one(*_BODY_LIMBS, (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (18, 1), (1, 19), (18, 6), (18, 7)),
    (*_COCO_SIGMAS, 0.025, 0.025),
)
POSETRACK18 = Skeleton(
    "posetrack18",
    tuple(_POSETRACK_NAMES),
    _from_one(*_BODY_LIMBS, (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
    (0.026, 0.025, 0.025, 0.035, 0.035, *_COCO_SIGMAS[5:]),
)

SKELETONS: Mapping[str, Skeleton] = MappingProxyType({s.name: s for s in (COCO17, POSECLI19, POSETRACK18)})

_SAME_POINT = {"head_bottom": "neck", "neck": "head_bottom"}


def get_skeleton(name: str) -> Skeleton:
    """The skeleton of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in SKELETONS:
        raise ConfigError(f"unknown skeleton {name!r}", hint=f"one of {', '.join(SKELETONS)}")
    return SKELETONS[name]


def mapping(source: Skeleton, target: Skeleton) -> IntArray:
    """(K_target,): for each keypoint of ``target`` its index in ``source``, or -1 where ``source`` lacks it."""
    found = {name: i for i, name in enumerate(source.keypoint_names)}
    return np.array([found.get(n, found.get(_SAME_POINT.get(n, ""), -1)) for n in target.keypoint_names], np.int64)


def convert_keypoints(
    keypoints: FloatArray, scores: FloatArray, source: Skeleton, target: Skeleton
) -> tuple[FloatArray, FloatArray]:
    """Reorder poses from one skeleton to another; what ``source`` lacks becomes NaN with score 0.

    Args:
        keypoints: (..., K_source, 2) px.
        scores: (..., K_source).
        source: The skeleton the poses are in.
        target: The skeleton wanted.

    Returns:
        (..., K_target, 2) px and (..., K_target).
    """
    index = mapping(source, target)
    missing = index < 0
    points, values = keypoints[..., index, :].copy(), scores[..., index].copy()
    points[..., missing, :] = np.nan
    values[..., missing] = 0.0
    return points, values


@dataclass(frozen=True)
class JointTree:
    """The joints of a 3D pose, each hanging on its parent; the first is the root (parent -1)."""

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.joint_names)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, joint) of every joint but the root."""
        return tuple((parent, joint) for joint, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def flip_indices(self) -> IntArray:
        """(J,): where each joint is found in the mirrored body (left and right exchanged)."""
        return np.array([self.joint_names.index(_mirror(name)) for name in self.joint_names], np.int64)


H36M17 = JointTree(
    "h36m17",
    tuple(
        "root right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck head "
        "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist".split()
    ),
    (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
)
"""The 17 joints of Human3.6M, in its order. In posecli the joints of the trunk are places between others, so that they mean the same
whatever the data call by these names: root and thorax are the middles of the hips and of the shoulders, spine lies halfway between
them, head is the middle of the ears, neck halfway between thorax and head."""

STANDARD_BONES_MM = 4000.0
"""Lengths of `H36M17`'s 16 bones together, in the body that 3D poses are given for: about an adult of 1.70 m."""
STANDARD_HEIGHT_CM = 170.0

_MIDDLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "root": ("left_hip", "right_hip"),
        "spine": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
        "thorax": ("left_shoulder", "right_shoulder"),
        "neck": ("left_shoulder", "right_shoulder", "left_ear", "right_ear"),
        "head": ("left_ear", "right_ear"),
    }
)


def to_h36m17(points: FloatArray, scores: FloatArray, source: Skeleton) -> tuple[FloatArray, FloatArray]:
    """The joints of `H36M17` from keypoints, in 2D or 3D: stated here once, for training and for use.

    Args:
        points: (..., K, D) coordinates, D = 2 or 3.
        scores: (..., K).
        source: Their skeleton; it must have ears, shoulders, elbows, wrists, hips, knees and ankles.

    Returns:
        (..., 17, D) and (..., 17): a joint between keypoints has the lowest of their scores, and is NaN with score 0 where one of
        them is missing.
    """
    sources = [[source.index(part) for part in _MIDDLES.get(name, (name,))] for name in H36M17.joint_names]
    joints = np.stack([points[..., parts, :].mean(axis=-2) for parts in sources], axis=-2)
    values = np.stack([scores[..., parts].min(axis=-1) for parts in sources], axis=-1)
    values = np.where(np.isnan(joints).any(axis=-1), 0.0, values)
    return joints.astype(np.float32), values.astype(np.float32)
