"""Batches of a stage, made ahead of time in other processes if wanted.

A batch is decided by the recipe's seed, the stage and the step alone, so who makes it, and when, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from posecli.encoder import CompactEncoder
from posecli.pose.config import Shown
from posecli.pose.heatmaps import crop_to_cell
from posecli.training.augment import Window, make_window
from posecli.training.people import People
from posecli.training.recipe import Recipe

_AHEAD = 4


class Batch(NamedTuple):
    """B windows of T frames and K keypoints."""

    images: Tensor
    """(B, T, 3, H, W) uint8."""
    cells: Tensor
    """(B, T, K, 2), positions in heatmap cells."""
    is_labelled: Tensor
    """(B, T, K) bool."""


def stack_windows(windows: Sequence[Window]) -> Batch:
    """A batch of windows of as many frames each."""
    return Batch(
        torch.from_numpy(np.stack([w.images for w in windows])).permute(0, 1, 4, 2, 3),
        torch.from_numpy(np.stack([crop_to_cell(w.keypoints, CompactEncoder.stride) for w in windows])),
        torch.from_numpy(np.stack([w.is_labelled for w in windows])),
    )


@dataclass
class _Steps(Dataset[tuple[Batch, ...]]):
    """The batches of a stage, by step: windows, and single frames if it wants any."""

    recipe: Recipe
    sets: Sequence[People]
    stage_index: int
    shows: Shown

    def __getitem__(self, step: int) -> tuple[Batch, ...]:
        recipe, stage = self.recipe, self.recipe.stages[self.stage_index]
        rng = np.random.default_rng((recipe.seed, self.stage_index, step))
        batches = [self._draw(stage.batch_size, stage.num_frames, rng)]
        if stage.num_singles:
            batches.append(self._draw(stage.num_singles, 1, rng))
        return tuple(batches)

    def _draw(self, size: int, num_frames: int, rng: np.random.Generator) -> Batch:
        shares = self.recipe.single_shares if num_frames == 1 else self.recipe.shares
        odds = np.array(shares) / sum(shares)
        crop_hw, augment = self.recipe.stages[self.stage_index].crop_hw, self.recipe.augment
        windows = []
        for _ in range(size):
            people = self.sets[int(rng.choice(len(odds), p=odds))]
            sample = people.draw(rng, num_frames)
            windows.append(
                make_window(sample, augment, num_frames=num_frames, crop_hw=crop_hw, rng=rng, shows=self.shows)
            )
        return stack_windows(windows)


def stage_batches(
    recipe: Recipe,
    sets: Sequence[People],
    stage_index: int,
    *,
    start: int,
    workers: int = 0,
    shows: Shown = "person",
) -> Iterator[tuple[Batch, ...]]:
    """The batches of a stage from step ``start`` to its end.

    Args:
        recipe: What to train.
        sets: In the order of the recipe's shares.
        stage_index: Which stage.
        start: First step.
        workers: Processes that make batches ahead; 0: made here, when asked for.
        shows: What the network's crops are cut around.

    Returns:
        The batches of every step in order: windows, then single frames if the stage wants any.
    """
    steps = range(start, recipe.stages[stage_index].steps)
    return iter(
        DataLoader(
            _Steps(recipe, sets, stage_index, shows),
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            prefetch_factor=_AHEAD if workers else None,
            worker_init_fn=_limit_threads,
        )
    )


def _limit_threads(worker: int) -> None:
    """A worker is one thread: OpenCV would otherwise start as many as there are cores, in each."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
