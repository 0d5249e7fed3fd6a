"""PCK, percentage of correct keypoints: how many labelled points are predicted within a fraction of a body length.

A point is correct when its distance is strictly below the fraction of the length. Points are pooled over all people (not averaged
per person or per keypoint). Two lengths:

- *torso*: left shoulder to right hip of the ground truth; the other diagonal when one of the two is not labelled; people with
  neither are left out;
- *box*: the longer side of the person's box.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from posecli.records import BoolArray, FloatArray
from posecli.skeletons import POSECLI19

Normaliser = Literal["torso", "box"]

PCK_CRITERIA: Mapping[str, tuple[Normaliser, float]] = MappingProxyType(
    {"pck_torso_0.2": ("torso", 0.2), "pck_box_0.05": ("box", 0.05), "pck_box_0.1": ("box", 0.1)}
)
LIMB_POINTS: tuple[int, ...] = tuple(range(POSECLI19.index("left_shoulder"), POSECLI19.index("right_ankle") + 1))
"""The 12 points from shoulders to ankles: what nearly every data set labels."""


class PckGroups(TypedDict):
    """PCK in per cent by group of points; ``None`` where nothing is labelled."""

    limb: float | None
    all: float | None
    per_keypoint: dict[str, float | None]


PckTable = dict[str, PckGroups]

_TORSO_DIAGONALS = tuple(
    (POSECLI19.index(f"{a}_shoulder"), POSECLI19.index(f"{b}_hip")) for a, b in (("left", "right"), ("right", "left"))
)


def torso_lengths(truth: FloatArray) -> NDArray[np.float64]:
    """(N, 19, 3) labels x, y, v -> (N,) px; NaN for people without a labelled torso diagonal."""
    lengths = np.full(len(truth), np.nan)
    for shoulder, hip in reversed(_TORSO_DIAGONALS):
        is_labelled = (truth[:, shoulder, 2] > 0) & (truth[:, hip, 2] > 0)
        distance = np.linalg.norm(truth[:, shoulder, :2].astype(np.float64) - truth[:, hip, :2], axis=-1)
        lengths = np.where(is_labelled, distance, lengths)
    return lengths


def box_lengths(boxes: FloatArray) -> NDArray[np.float64]:
    """(N, 4) xyxy -> (N,) px, the longer side."""
    return np.asarray((boxes[:, 2:].astype(np.float64) - boxes[:, :2]).max(axis=1, initial=0.0), np.float64)


def pck(keypoints: FloatArray, truth: FloatArray, boxes: FloatArray) -> PckTable:
    """PCK by every criterion and group, in per cent.

    Args:
        keypoints: (N, 19, 2) px predicted; NaN counts as missed.
        truth: (N, 19, 3) labels x, y, v.
        boxes: (N, 4) xyxy px of the labelled people.

    Returns:
        For each of `PCK_CRITERIA`: ``limb`` (the 12 points of `LIMB_POINTS`), ``all`` (every labelled point) and ``per_keypoint``
        by name; ``None`` where nothing is labelled.
    """
    lengths = {"torso": torso_lengths(truth), "box": box_lengths(boxes)}
    distances = np.linalg.norm(keypoints.astype(np.float64) - truth[..., :2], axis=-1)
    table: PckTable = {}
    for name, (normaliser, fraction) in PCK_CRITERIA.items():
        length = lengths[normaliser]
        is_counted = (truth[..., 2] > 0) & np.isfinite(length)[:, None]
        # A comparison with NaN is false: missed.
        table[name] = _groups(distances < fraction * length[:, None], is_counted)
    return table


def _groups(is_correct: BoolArray, is_counted: BoolArray) -> PckGroups:
    limbs = list(LIMB_POINTS)
    return {
        "limb": _per_cent(is_correct[:, limbs], is_counted[:, limbs]),
        "all": _per_cent(is_correct, is_counted),
        "per_keypoint": {
            name: _per_cent(is_correct[:, i], is_counted[:, i]) for i, name in enumerate(POSECLI19.keypoint_names)
        },
    }


def _per_cent(is_correct: BoolArray, is_counted: BoolArray) -> float | None:
    return float(100.0 * is_correct[is_counted].mean()) if is_counted.any() else None
