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


def heatmap_loss(predicted: Tensor, cells: Tensor, is_labelled: Tensor, *, sigma: float) -> Tensor:
    """Squared error against Gaussian targets, averaged over the labelled maps.

    A labelled point outside the crop has an all-zero target: the network learns to stay silent about what it cannot see. Every
    frame of a window is supervised, so that the same weights serve both window modes.

    Args:
        predicted: (B, T, K, h, w).
        cells: (B, T, K, 2), positions in heatmap cells.
        is_labelled: (B, T, K) bool.
        sigma: Cells.

    Returns:
        Scalar. The factor 100 puts it near 1 at the start; AdamW does not notice.
    """
    height, width = predicted.shape[-2:]
    target = encode(cells, (height, width), sigma)
    error = (predicted.float() - target).square().mean(dim=(-2, -1))
    weights = is_labelled.float() * keypoint_weights().to(error.device)
    return 100.0 * (error * weights).sum() / weights.sum().clamp(min=1.0)
