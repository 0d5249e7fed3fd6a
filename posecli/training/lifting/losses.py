"""PoseMamba's losses (its code's, with the weights of its S, B and L settings; the paper calls them MPJPE, "2D" and "T" loss).

Legend: B clips, F frames, J joints. Poses are (B, F, J, 3) relative to the root, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Weights of the joints in the smoothness term, in the order of Human3.6M: hands and feet must not shake.
_JOINT_WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
_TINY = 1e-8


@dataclass(frozen=True)
class LossWeights:
    """What each term counts.

    Attributes:
        position: Mean distance of the joints.
        scale_free: The same after the best scaling of each frame (N-MPJPE).
        velocity: Mean distance of the motions from frame to frame.
        smoothness: Squared motion from frame to frame of the prediction alone.
    """

    position: float = 1.0
    scale_free: float = 0.5
    velocity: float = 20.0
    smoothness: float = 0.5


def lifting_loss(predicted: Tensor, true: Tensor, weights: LossWeights) -> Tensor:
    """The sum of the weighted terms.

    Args:
        predicted: (B, F, J, 3).
        true: (B, F, J, 3).
        weights: Of the terms.

    Returns:
        A scalar. Clips of one frame have no motion: the last two terms are 0.
    """
    total = weights.position * mean_distance(predicted, true)
    total = total + weights.scale_free * mean_distance(best_scaled(predicted, true), true)
    if predicted.shape[1] > 1:
        motion, true_motion = predicted.diff(dim=1), true.diff(dim=1)
        total = total + weights.velocity * mean_distance(motion, true_motion)
        by_joint = predicted.new_tensor(_JOINT_WEIGHTS)[:, None]
        total = total + weights.smoothness * (by_joint * motion.square()).mean()
    return total


def mean_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean over all joints of the Euclidean distance."""
    # the root may be right to the last bit: a norm has no gradient there
    return torch.sqrt((predicted - true).square().sum(dim=-1) + _TINY**2).mean()


def best_scaled(predicted: Tensor, true: Tensor) -> Tensor:
    """Each frame's prediction times the number that brings it nearest to the truth."""
    dot = (predicted * true).sum(dim=(-2, -1), keepdim=True)
    square = predicted.square().sum(dim=(-2, -1), keepdim=True)
    return predicted * (dot / square.clamp_min(_TINY))
