"""Losses on heatmaps.

Legend: B windows, T frames, K keypoints, h and w cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from posecli.pose.heatmaps import encode
from posecli.skeletons import POSECLI19

_WEIGHTS = {"elbow": 1.2, "knee": 1.2, "wrist": 1.5, "ankle": 1.5}


def keypoint_weights() -> Tensor:
    """(K,): extremities count more (1.2 elbows and knees, 1.5 wrists and ankles: the authors' habit in DCPose and FAMI-Pose)."""
    return torch.tensor([_WEIGHTS.get(name.split("_")[-1], 1.0) for name in POSECLI19.keypoint_names])


def heatmap_loss(
    predicted: Tensor, cells: Tensor, is_labelled: Tensor, *, sigma: float, steadiness: float = 0.0
) -> Tensor:
    """Squared error against Gaussian targets, averaged over the labelled maps; and that of the changes from frame to frame.

    A labelled point outside the crop has an all-zero target: the network learns to stay silent about what it cannot see. Every
    frame of a window is supervised, so that the same weights serve both window modes. An error that stays the same is as wrong as
    one that comes and goes, but does not tremble: ``steadiness`` weighs the difference.

    Args:
        predicted: (B, T, K, h, w).
        cells: (B, T, K, 2), positions in heatmap cells.
        is_labelled: (B, T, K) bool.
        sigma: Cells.
        steadiness: Weight of the squared error of the changes between neighbouring frames.

    Returns:
        Scalar. The factor 100 puts it near 1 at the start; AdamW does not notice.
    """
    error = predicted.float() - encode(cells, (predicted.shape[-2], predicted.shape[-1]), sigma)
    weights = is_labelled.float() * keypoint_weights().to(error.device)
    loss = _mean_square(error, weights)
    if steadiness and error.shape[1] > 1:
        loss = loss + steadiness * _mean_square(error.diff(dim=1), torch.minimum(weights[:, 1:], weights[:, :-1]))
    return loss


def _mean_square(error: Tensor, weights: Tensor) -> Tensor:
    """Of the maps, weighted; times 100."""
    return 100.0 * (error.square().mean(dim=(-2, -1)) * weights).sum() / weights.sum().clamp(min=1.0)
