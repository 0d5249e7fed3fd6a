"""Targets and losses of PersonNet.

Which cells speak for a person is not fixed but decided anew at every step: of the cells in the middle of a box those whose score and
box fit the person best (task-aligned assignment: TOOD, Feng et al. 2021), and the score they learn is how well their box fits. So a
person half behind somebody else is found by what is seen of them, and a good score means a good box.

Legend: B pictures, h and w cells, M people of the whole batch, P pairs of a person and a cell that might speak for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from posecli.people.personnet import STRIDE
from posecli.records import FloatArray, IntArray
from posecli.training.detector.augment import Example

_REACH = 0.36  # half the middle part of a box, in parts of its sides
_TOP = 9  # so many cells at most speak for a person
_SCORE_POWER, _IOU_POWER = 0.5, 6.0  # what "fits best" means
_SCORE_WEIGHT = 2.0
_LEAST_TARGET = 0.1  # for a person's best cell, lest people whom no box fits yet are taught to be background


@dataclass(frozen=True, slots=True)
class Targets:
    """What PersonNet should say.

    Attributes:
        weight: (B, h, w), 0 where nothing is known.
        people: (M, 4) xyxy px.
        box_weights: (M,) weights of the box loss.
        pair_people: (P,) which person, in increasing order.
        pair_cells: (P,) which cell of the flattened (B, h, w).
    """

    weight: Tensor
    people: Tensor
    box_weights: Tensor
    pair_people: Tensor
    pair_cells: Tensor


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who speaks for whom, Q cells.

    Attributes:
        cells: (Q,) of the flattened (B, h, w), each once.
        people: (Q,).
        scores: (Q,) that the cells should have, 0..1.
        shares: (Q,) what the cells contribute, 1 in all for each person: a small person's one cell as much as a large one's nine.
    """

    cells: Tensor
    people: Tensor
    scores: Tensor
    shares: Tensor


def make_targets(examples: Sequence[Example]) -> Targets:
    """The targets of a batch of equally large pictures."""
    weights, pair_people, pair_cells, num_people = [], [], [], 0
    kept = [example.boxes[~example.is_ignored] for example in examples]
    for row, (example, boxes) in enumerate(zip(examples, kept, strict=True)):
        height, width = (side // STRIDE for side in example.image.shape[:2])
        cells = [_middle(box, height, width) for box in boxes]
        weights.append(_weight(example, boxes, cells))
        pair_people += [np.full(len(own), num_people + i) for i, own in enumerate(cells)]
        pair_cells += [own + row * height * width for own in cells]
        num_people += len(boxes)
    none = np.zeros(0, np.int64)
    box_weights = [example.box_weights[~example.is_ignored] for example in examples]
    return Targets(
        torch.from_numpy(np.stack(weights)),
        torch.from_numpy(np.concatenate(kept).astype(np.float32)),
        torch.from_numpy(np.concatenate(box_weights).astype(np.float32)),
        torch.from_numpy(np.concatenate([none, *pair_people])),
        torch.from_numpy(np.concatenate([none, *pair_cells])),
    )


def _weight(example: Example, people: FloatArray, cells: list[IntArray]) -> FloatArray:
    """(h, w): nothing is learnt outside the boxes of pictures that are labelled in part, nor in ignored boxes, except about people."""
    height, width = (side // STRIDE for side in example.image.shape[:2])
    weight = np.ones((height, width), np.float32)
    for region in example.unlabelled:
        weight[_cells(region)] = 0.0
    if len(example.unlabelled):
        for box in people:
            weight[_cells(box)] = 1.0
    for box in example.boxes[example.is_ignored]:
        weight[_cells(box)] = 0.0
    for own in cells:
        weight.reshape(-1)[own] = 1.0
    return weight


def _cells(box: FloatArray) -> tuple[slice, slice]:
    """The cells whose centre lies in the box."""
    low = np.ceil((box[:2] + 0.5) / STRIDE - 0.5).astype(int).clip(0)
    high = np.floor((box[2:] + 0.5) / STRIDE - 0.5).astype(int) + 1
    return slice(low[1], max(high[1], low[1])), slice(low[0], max(high[0], low[0]))


def _middle(box: FloatArray, height: int, width: int) -> IntArray:
    """Cells of the middle of a box, flattened; at least the one nearest to its centre."""
    centre = ((box[:2] + box[2:]) / 2 + 0.5) / STRIDE - 0.5
    cell = np.clip(np.rint(centre).astype(int), 0, [width - 1, height - 1])
    reach = (box[2:] - box[:2]) / STRIDE * _REACH
    low = np.clip(np.ceil(centre - reach).astype(int), 0, cell)
    high = np.clip(np.floor(centre + reach).astype(int), cell, [width - 1, height - 1])
    rows, columns = np.arange(low[1], high[1] + 1), np.arange(low[0], high[0] + 1)
    return np.asarray((rows[:, None] * width + columns).reshape(-1), np.int64)


@torch.no_grad()
def assign(logits: Tensor, boxes: Tensor, targets: Targets) -> Assignment:
    """Choose the cells that speak for people.

    Args:
        logits: (B, h, w), of the scores.
        boxes: (B, 4, h, w) xyxy px, as the network says them.
        targets: The people, and which cells are asked.
    """
    people, cells = targets.pair_people, targets.pair_cells
    iou = overlap(boxes.movedim(1, -1).reshape(-1, 4)[cells], targets.people[people])
    fit = logits.reshape(-1)[cells].sigmoid() ** _SCORE_POWER * iou**_IOU_POWER + 1e-12 * (1.0 + iou)
    order = torch.argsort(fit, descending=True, stable=True)
    order = order[torch.argsort(people[order], stable=True)]  # by person, best first
    first = torch.searchsorted(people, torch.arange(len(targets.people)))
    is_top = torch.arange(len(order)) - first[people[order]] < _TOP
    chosen = order[is_top]
    # A cell that two people claim goes to the one whom its box fits better.
    chosen = chosen[torch.argsort(iou[chosen], descending=True, stable=True)]
    chosen = chosen[torch.argsort(cells[chosen], stable=True)]
    is_first = torch.ones(len(chosen), dtype=torch.bool)
    is_first[1:] = cells[chosen][1:] != cells[chosen][:-1]
    chosen = chosen[is_first]
    best_fit, best_iou = (_most(values[chosen], people[chosen], len(targets.people)) for values in (fit, iou))
    owner = people[chosen]
    relative = fit[chosen] / best_fit[owner]
    total = torch.zeros(len(targets.people)).index_add(0, owner, relative)
    scores = relative * best_iou[owner].clamp_min(_LEAST_TARGET)
    return Assignment(cells[chosen], owner, scores, relative / total[owner])


def _most(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The largest value of each of so many groups, tiny for a group without any."""
    return torch.full((count,), 1e-12).scatter_reduce(0, groups, values, "amax")


def score_loss(logits: Tensor, targets: Targets, assignment: Assignment) -> Tensor:
    """Cross-entropy, cells that are nearly right counting less (quality focal loss, Li et al. 2020), a person's share.

    Cells of people and of background, of small people and of large ones weigh the same, so that equal scores are equally often right.
    """
    wanted = torch.zeros(logits.numel()).index_put((assignment.cells,), assignment.scores).view_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    importance = (wanted - logits.detach().sigmoid()).abs() * targets.weight
    return _SCORE_WEIGHT * (entropy * importance).sum() / assignment.scores.sum().clamp_min(1.0)


def box_loss(boxes: Tensor, targets: Targets, assignment: Assignment) -> Tensor:
    """Mean over people of 1 - GIoU of the cells that speak for them."""
    weight = assignment.shares * targets.box_weights[assignment.people]
    if not len(weight):
        return boxes.sum() * 0.0
    told = boxes.movedim(1, -1).reshape(-1, 4)[assignment.cells]
    loss = 1.0 - generalised_iou(told, targets.people[assignment.people])
    return (loss * weight).sum() / weight.sum().clamp_min(1e-6)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4) and (N, 4) xyxy -> (N,): IoU."""
    shared = _area(torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:]))
    return shared / (_area(a[:, :2], a[:, 2:]) + _area(b[:, :2], b[:, 2:]) - shared).clamp_min(1e-6)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4) and (N, 4) xyxy -> (N,): IoU less the empty part of the box around both."""
    shared = _area(torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:]))
    union = _area(a[:, :2], a[:, 2:]) + _area(b[:, :2], b[:, 2:]) - shared
    hull = _area(torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])).clamp_min(1e-6)
    return shared / union.clamp_min(1e-6) - (hull - union) / hull


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp_min(0.0).prod(dim=1)
