"""Losses on heatmaps.

Legend: B windows, T frames, K keypoints, h and w cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from posecli.pose.heatmaps import encode
from posecli.skeletons import POSECLI19

_WEIGHTS = {"elbow": 1.2, "knee": 1.2, "wrist": 1.5, "ankle": 1.5}
_NEAR_CELLS = 4.0  # a peak farther off is another part of the picture: pulling at it would not find the point
_SIGHT_CELLS = 3.0
_HUBER_CELLS = 0.5


def keypoint_weights() -> Tensor:
    """(K,): extremities count more (1.2 elbows and knees, 1.5 wrists and ankles: the authors' habit in DCPose and FAMI-Pose)."""
    return torch.tensor([_WEIGHTS.get(name.split("_")[-1], 1.0) for name in POSECLI19.keypoint_names])


def heatmap_loss(
    predicted: Tensor,
    cells: Tensor,
    is_labelled: Tensor,
    *,
    sigma: float,
    steadiness: float = 0.0,
    exactness: float = 0.0,
) -> Tensor:
    """Squared error against Gaussian targets, averaged over the labelled maps; and that of the changes from frame to frame.

    A labelled point outside the crop has an all-zero target: the network learns to stay silent about what it cannot see. Every
    frame of a window is supervised, so that the same weights serve both window modes. An error that stays the same is as wrong as
    one that comes and goes, but does not tremble: ``steadiness`` weighs the difference. A peak that is off by a cell costs a map
    little beside one in the wrong place, yet OKS and angles want it right: ``exactness`` weighs `off_centre`.

    Args:
        predicted: (B, T, K, h, w).
        cells: (B, T, K, 2), positions in heatmap cells.
        is_labelled: (B, T, K) bool.
        sigma: Cells.
        steadiness: Weight of the squared error of the changes between neighbouring frames.
        exactness: Weight of `off_centre`.

    Returns:
        Scalar. The factor 100 puts it near 1 at the start; AdamW does not notice.
    """
    predicted = predicted.float()
    target = encode(cells, (predicted.shape[-2], predicted.shape[-1]), sigma)
    error = predicted - target
    weights = is_labelled.float() * keypoint_weights().to(error.device)
    loss = _mean_square(error, weights)
    if steadiness and error.shape[1] > 1:
        loss = loss + steadiness * _mean_square(error.diff(dim=1), torch.minimum(weights[:, 1:], weights[:, :-1]))
    if exactness:
        loss = loss + exactness * off_centre(predicted, target, cells, is_labelled)
    return loss


def sharpness() -> Tensor:
    """(K,), 1 on average: how much a point suffers from being a cell off, as OKS sees it (the inverse of its constant)."""
    inverse = 1.0 / torch.from_numpy(POSECLI19.sigma_array)
    return inverse / inverse.mean()


def off_centre(predicted: Tensor, target: Tensor, cells: Tensor, is_labelled: Tensor) -> Tensor:
    """How far what a map shows around its label lies from the label, averaged over the labelled maps whose peak is near it.

    It puts that centre right, not the peak: read such maps with the refinement ``centred`` of `posecli.pose.heatmaps`.
    Points that OKS wants more exact count more (`sharpness`): eyes four times as much as hips.

    What it shows: the centre of its squares, as seen through a Gaussian around the label; of the target, which the border may cut,
    the same is taken (integral regression, Sun et al. 2018, kept local: a map that is undecided between two places is not pulled to
    the middle).

    Args:
        predicted: (B, T, K, h, w).
        target: (B, T, K, h, w), see `posecli.pose.heatmaps.encode`.
        cells: (B, T, K, 2), positions in heatmap cells.
        is_labelled: (B, T, K) bool.

    Returns:
        Scalar: Huber's loss in cells, the sum of both axes; 0 where no peak is near.
    """
    peaks = predicted.detach().flatten(-2).argmax(dim=-1)
    width = predicted.shape[-1]
    found = torch.stack([peaks % width, peaks // width], dim=-1)
    is_near = is_labelled & ((found - cells).norm(dim=-1) < _NEAR_CELLS)
    if not is_near.any():
        return predicted.new_zeros(())
    maps, places = (predicted[is_near], target[is_near]), cells[is_near]
    shown, wanted = (_centre(some.clamp(min=0.0).square(), places) for some in maps)
    misses = huber_loss(shown, wanted, delta=_HUBER_CELLS, reduction="none").sum(dim=-1)
    weights = sharpness().to(misses.device).expand_as(is_near)[is_near]
    return (weights * misses).sum() / weights.sum()


def _centre(maps: Tensor, places: Tensor) -> Tensor:
    """(N, 2): centre of mass of maps (N, h, w), weighted by a Gaussian around ``places`` (N, 2), relative to them."""
    height, width = maps.shape[-2:]
    seen = maps * encode(places, (height, width), _SIGHT_CELLS)
    ys, xs = (torch.arange(side, device=maps.device) for side in (height, width))
    across, down = xs - places[:, :1], ys - places[:, 1:]
    mass = seen.sum(dim=(-2, -1)).clamp(min=1e-6)
    moments = (seen.sum(dim=-2) * across).sum(dim=-1), (seen.sum(dim=-1) * down).sum(dim=-1)
    return torch.stack(moments, dim=-1) / mass[:, None]


def _mean_square(error: Tensor, weights: Tensor) -> Tensor:
    """Of the maps, weighted; times 100."""
    return 100.0 * (error.square().mean(dim=(-2, -1)) * weights).sum() / weights.sum().clamp(min=1.0)
