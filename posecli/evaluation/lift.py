"""A lifter under test: any function from normalised 2D joints to 3D ones, and what its numbers mean.

Legend: B clips, F frames of a clip, C channels (x, y and perhaps the score).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from posecli.evaluation.joints import Reals
from posecli.lifting.config import Normalisation
from posecli.lifting.normalise import normalise_person
from posecli.records import FloatArray
from posecli.skeletons import H36M17, STANDARD_BONES_MM

Lift = Callable[[FloatArray], FloatArray]
"""(B, F, 17, C) normalised as the lifter wants it -> (B, F, 17, 3)."""
Progress = Callable[[int, int], None]

_MM = 1000.0
_Values = TypeVar("_Values", FloatArray, Reals)


@dataclass(frozen=True, slots=True)
class LiftedClips:
    """What a lifter made of clips.

    ``joints`` (B, F, 17, 3), the root 0: pixels of the picture (of an ``image`` lifter), or millimetres of the standard body (of a
    ``person`` lifter).
    """

    joints: Reals
    is_pixels: bool


@dataclass(frozen=True, slots=True)
class LifterUnderTest:
    """A lifter with what it wants to see.

    Attributes:
        lift: The function.
        normalisation: See `posecli.lifting.config.LiftConfig`.
        in_channels: 2 without the scores, or 3.
        is_mirrored: Whether the mirrored clip is lifted too, mirrored back, and averaged, as papers do.
        batch_size: Clips at a time.
    """

    lift: Lift
    normalisation: Normalisation
    in_channels: int
    is_mirrored: bool = True
    batch_size: int = 8

    def __call__(self, joints_px: FloatArray, scores: FloatArray, sizes_wh: FloatArray) -> LiftedClips:
        """Lift clips.

        Args:
            joints_px: (B, F, 17, 2) in the order of `posecli.skeletons.H36M17`; NaN where missing.
            scores: (B, F, 17).
            sizes_wh: (B, 2) of the pictures, px.

        Returns:
            B clips of F frames.
        """
        is_image = self.normalisation == "image"
        inputs = _about_image(joints_px, scores, sizes_wh) if is_image else _about_person(joints_px, scores)
        inputs = np.ascontiguousarray(inputs[..., : self.in_channels])
        joints = np.asarray(self.lift(inputs), np.float64)
        if self.is_mirrored:
            joints = (joints + mirrored(np.asarray(self.lift(mirrored(inputs)), np.float64))) / 2.0
        joints[..., 0, :] = 0.0  # not the difference to the root: what is predicted is where joints are from the root
        unit = sizes_wh[:, 0].astype(np.float64)[:, None, None, None] / 2.0 if is_image else _MM
        return LiftedClips(joints * unit, is_image)


def mirrored(joints: _Values) -> _Values:
    """(..., 17, C): left and right exchanged, x negated."""
    exchanged = joints[..., H36M17.flip_indices, :].copy()
    exchanged[..., 0] *= -1.0
    return exchanged


def normalise_image(joints_px: FloatArray, size_wh: FloatArray) -> FloatArray:
    """The authors' normalisation: x in [-1, 1] over the width, y in the same unit about the middle.

    Args:
        joints_px: (..., 17, 2).
        size_wh: (..., 2), px.

    Returns:
        (..., 17, 2).
    """
    width, height = size_wh[..., None, :1], size_wh[..., None, 1:]
    middle = np.concatenate([np.ones_like(width), height / width], axis=-1)
    return np.asarray(joints_px / width * 2.0 - middle, np.float32)


def standard_size(truth_mm: Reals) -> float:
    """How many times the standard body somebody is, by the lengths of their bones.

    Args:
        truth_mm: (T, 17, 3); NaN where unknown.

    Returns:
        The sum of the bones' median lengths over that of the standard body; NaN if a bone is never known.
    """
    parents, joints = np.array(H36M17.bones).T
    lengths = np.linalg.norm(truth_mm[:, joints] - truth_mm[:, parents], axis=-1)
    if not np.isfinite(lengths).any(axis=0).all():
        return float("nan")
    return float(np.nanmedian(lengths, axis=0).sum() / STANDARD_BONES_MM)


def _about_image(joints_px: FloatArray, scores: FloatArray, sizes_wh: FloatArray) -> FloatArray:
    xy = normalise_image(joints_px, sizes_wh[:, None])
    is_seen = np.isfinite(xy).all(axis=-1, keepdims=True)
    values = np.where(is_seen, scores[..., None], 0.0)
    return np.concatenate([np.where(is_seen, xy, 0.0), values], axis=-1).astype(np.float32)


def _about_person(joints_px: FloatArray, scores: FloatArray) -> FloatArray:
    return np.stack([normalise_person(clip, own).inputs for clip, own in zip(joints_px, scores, strict=True)])
