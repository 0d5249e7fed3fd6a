"""How good a lifter is on motion that it never saw: held-out recordings under fixed random cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posecli.evaluation.joints import joints_report
from posecli.records import FloatArray
from posecli.skeletons import H36M17
from posecli.training.lifting.clips import LiftSample, batch

Lift = Callable[[Tensor], Tensor]
"""(B, F, J, 3) as `posecli.lifting.normalise` makes it -> (B, F, J, 3) metres."""

_BATCH_FRAMES = 972
_MM_PER_M = 1000.0


def judge(lift: Lift, clips: Sequence[LiftSample], *, is_mirrored: bool = True) -> dict[str, Any]:
    """Lift clips and compare.

    Args:
        lift: A network in eval mode.
        clips: Of any lengths, see `posecli.training.lifting.clips.held_out_clips`.
        is_mirrored: Whether every clip is lifted a second time in the mirror and averaged, as papers do.

    Returns:
        `posecli.evaluation.joints.joints_report` over all frames of all clips; a pose's root is set to 0 as in protocol 1 of
        Human3.6M. Millimetres of the standard body.
    """
    predicted: list[FloatArray] = []
    true: list[FloatArray] = []
    for same_length in batches_of(clips):
        predicted.extend(_lift(lift, same_length, is_mirrored=is_mirrored))
        true.extend(sample.target_mm for sample in same_length)
    longest = max(map(len, true))
    # shorter clips are filled up with what is not compared, so that no difference over time crosses from one clip to the next
    return joints_report(_stacked(predicted, longest), _stacked(true, longest))


def keypoint_error_mm(exact: Sequence[LiftSample], seen: Sequence[LiftSample]) -> float:
    """How far keypoints are off before anything is lifted: what no lifter that believes them can do better than.

    Args:
        exact: Clips without errors.
        seen: The same clips with them.

    Returns:
        Mean distance in the picture's plane, both relative to their roots, millimetres at the depth of the root; missing joints do
        not count. 0 where nothing is seen.
    """
    found = [_plane_errors(true, noisy) for true, noisy in zip(exact, seen, strict=True)]
    errors = np.concatenate([each[np.isfinite(each)] for each in found])
    return float(errors.mean()) if errors.size else 0.0


def _plane_errors(true: LiftSample, noisy: LiftSample) -> FloatArray:
    """(F, J)."""
    moved = (noisy.joints_px - noisy.joints_px[:, :1]) - (true.joints_px - true.joints_px[:, :1])
    mm_per_px = true.root_mm[:, 2] / true.focal_px
    return np.asarray(np.linalg.norm(moved, axis=-1) * mm_per_px[:, None], np.float32)


def batches_of(clips: Sequence[LiftSample]) -> list[list[LiftSample]]:
    """Clips of one length together, a thousand frames or so in each batch."""
    batches = []
    for length, group in groupby(sorted(clips, key=len), key=len):
        same_length = list(group)
        size = max(1, _BATCH_FRAMES // length)
        batches += [same_length[start : start + size] for start in range(0, len(same_length), size)]
    return batches


def _lift(lift: Lift, samples: Sequence[LiftSample], *, is_mirrored: bool) -> list[FloatArray]:
    inputs = torch.from_numpy(batch(samples).inputs)
    with torch.no_grad():
        lifted = lift(inputs)
        if is_mirrored:
            lifted = (lifted + mirrored(lift(mirrored(inputs)))) / 2
    lifted = (lifted - lifted[:, :, :1]) * _MM_PER_M
    return list(lifted.numpy())


def mirrored(joints: Tensor) -> Tensor:
    """(B, F, J, C) of the mirrored body: x reversed, left and right exchanged."""
    flipped = joints[:, :, torch.from_numpy(H36M17.flip_indices)].clone()
    flipped[..., 0] *= -1
    return flipped


def _stacked(clips: Sequence[FloatArray], length: int) -> FloatArray:
    shapes = [((0, length - len(clip)), (0, 0), (0, 0)) for clip in clips]
    return np.stack([np.pad(clip, shape, constant_values=np.nan) for clip, shape in zip(clips, shapes, strict=True)])
