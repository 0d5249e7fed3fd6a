"""Targets and losses of PersonNet.

A person's centre is an elliptical Gaussian in proportion to the box, and all cells in its middle learn the box, weighted by the same
Gaussian (TTFNet, Liu et al. 2020): far more box supervision a picture than one cell a person, hence fewer steps.

Legend: B pictures, h and w cells, N people of one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from posecli.people.personnet import STRIDE
from posecli.records import FloatArray
from posecli.training.detector.augment import Example

_REACH = 0.27  # half the middle part of a box, in parts of its sides


@dataclass(frozen=True, slots=True)
class Targets:
    """What PersonNet should say.

    Attributes:
        centre: (B, h, w), 1 at the cell of each centre, falling off around it.
        centre_weight: (B, h, w), 0 where nothing is known.
        boxes: (B, 4, h, w) xyxy px.
        box_weight: (B, h, w), sums to the box's weight over each person's cells.
    """

    centre: Tensor
    centre_weight: Tensor
    boxes: Tensor
    box_weight: Tensor


def make_targets(examples: Sequence[Example]) -> Targets:
    """The targets of a batch of equally large pictures."""
    made = [_targets(example) for example in examples]
    centre, weight, boxes, box_weight = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
    return Targets(centre, weight, boxes, box_weight)


def _targets(example: Example) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    height, width = (side // STRIDE for side in example.image.shape[:2])
    centre, weight = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    boxes, box_weight = np.zeros((4, height, width), np.float32), np.zeros((height, width), np.float32)
    for region in example.unlabelled:
        weight[_cells(region)] = 0.0
    sides = example.boxes[:, 2:] - example.boxes[:, :2]
    # Large people first: where two meet, the cell belongs to the smaller one.
    order = np.argsort(-sides.prod(axis=1))
    people = [i for i in order if not example.is_ignored[i]]
    if len(example.unlabelled):
        for i in people:
            weight[_cells(example.boxes[i])] = 1.0
    for i in order:
        if example.is_ignored[i]:
            weight[_cells(example.boxes[i])] = 0.0
    for i in people:
        rows, columns, gaussian = _gaussian(example.boxes[i], height, width)
        centre[rows, columns] = np.maximum(centre[rows, columns], gaussian)
        weight[rows, columns] = 1.0
        boxes[:, rows, columns] = example.boxes[i][:, None, None]
        share = example.box_weights[i] * np.log1p(sides[i].prod() / STRIDE**2)
        box_weight[rows, columns] = share * gaussian / gaussian.sum()
    return centre, weight, boxes, box_weight


def _cells(box: FloatArray) -> tuple[slice, slice]:
    """The cells whose centre lies in the box."""
    low = np.ceil((box[:2] + 0.5) / STRIDE - 0.5).astype(int).clip(0)
    high = np.floor((box[2:] + 0.5) / STRIDE - 0.5).astype(int) + 1
    return slice(low[1], max(high[1], low[1])), slice(low[0], max(high[0], low[0]))


def _gaussian(box: FloatArray, height: int, width: int) -> tuple[slice, slice, FloatArray]:
    """Cells of the middle of a box, and a Gaussian over them with peak 1 at the cell of the centre."""
    centre = ((box[:2] + box[2:]) / 2 + 0.5) / STRIDE - 0.5
    cell = np.clip(np.rint(centre).astype(int), 0, [width - 1, height - 1])
    reach = np.floor((box[2:] - box[:2]) / STRIDE * _REACH).astype(int)
    sigma = (2 * reach + 1) / 6
    low, high = np.maximum(cell - reach, 0), np.minimum(cell + reach, [width - 1, height - 1]) + 1
    x, y = (np.exp(-0.5 * ((np.arange(low[k], high[k]) - cell[k]) / sigma[k]) ** 2) for k in range(2))
    return slice(low[1], high[1]), slice(low[0], high[0]), (y[:, None] * x[None]).astype(np.float32)


def centre_loss(logits: Tensor, targets: Targets) -> Tensor:
    """Focal loss with less penalty around centres (CornerNet), a person's share."""
    positive = (targets.centre >= 1.0).float() * targets.centre_weight
    probability = logits.sigmoid()
    hit = -functional.logsigmoid(logits) * (1 - probability) ** 2 * positive
    miss = -functional.logsigmoid(-logits) * probability**2 * (1 - targets.centre) ** 4 * targets.centre_weight
    return (hit.sum() + (miss * (1 - positive)).sum()) / positive.sum().clamp_min(1.0)


def box_loss(boxes: Tensor, targets: Targets) -> Tensor:
    """Weighted mean of 1 - GIoU over the cells that know a box."""
    where = targets.box_weight > 0
    if not bool(where.any()):
        return boxes.sum() * 0.0
    weight = targets.box_weight[where]
    loss = 1.0 - generalised_iou(boxes.movedim(1, -1)[where], targets.boxes.movedim(1, -1)[where])
    return (loss * weight).sum() / weight.sum()


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4) and (N, 4) xyxy -> (N,): IoU less the empty part of the box around both."""
    shared = _area(torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:]))
    union = _area(a[:, :2], a[:, 2:]) + _area(b[:, :2], b[:, 2:]) - shared
    hull = _area(torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])).clamp_min(1e-6)
    return shared / union.clamp_min(1e-6) - (hull - union) / hull


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp_min(0.0).prod(dim=1)
