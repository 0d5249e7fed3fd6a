"""The heatmap loss by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from posecli.pose.heatmaps import encode
from posecli.training.losses import heatmap_loss, keypoint_weights

SIZE = (12, 10)
SIGMA = 1.5


def truth(frames: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Cells (B, T, K, 2), whether labelled, and perfect heatmaps."""
    cells = torch.rand(2, frames, 19, 2, generator=torch.Generator().manual_seed(0)) * 8
    return cells, torch.ones(2, frames, 19, dtype=torch.bool), encode(cells, SIZE, SIGMA)


def test_perfect_heatmaps_cost_nothing() -> None:
    cells, labelled, perfect = truth()
    assert heatmap_loss(perfect, cells, labelled, sigma=SIGMA, steadiness=1.0) == 0.0


def test_it_is_the_weighted_mean_of_squares() -> None:
    cells, labelled, perfect = truth()
    wrong = perfect.clone()
    wrong[:, :, 9] += 0.5  # a wrist in every frame
    weights = keypoint_weights()
    expected = 100 * 0.25 * weights[9] / weights.sum()
    torch.testing.assert_close(heatmap_loss(wrong, cells, labelled, sigma=SIGMA), expected)


def test_unlabelled_points_do_not_count() -> None:
    cells, labelled, perfect = truth()
    wrong = perfect.clone()
    wrong[:, 1, 3] += 5.0
    labelled[:, 1, 3] = False
    assert heatmap_loss(wrong, cells, labelled, sigma=SIGMA, steadiness=2.0) == 0.0


def test_steadiness_makes_errors_that_come_and_go_dearer_than_errors_that_stay() -> None:
    cells, labelled, perfect = truth()
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 4, 1, 1, 1)
    stays, trembles = perfect + 0.1, perfect + 0.1 * sign
    plain = [float(heatmap_loss(maps, cells, labelled, sigma=SIGMA)) for maps in (stays, trembles)]
    steady = [float(heatmap_loss(maps, cells, labelled, sigma=SIGMA, steadiness=0.5)) for maps in (stays, trembles)]
    assert plain[0] == pytest.approx(plain[1]) == pytest.approx(steady[0])
    assert steady[1] == pytest.approx(plain[1] + 0.5 * 100 * 0.2**2, rel=1e-4)


def test_steadiness_means_nothing_to_a_single_frame() -> None:
    cells, labelled, perfect = truth(frames=1)
    losses = [heatmap_loss(perfect + 0.1, cells, labelled, sigma=SIGMA, steadiness=s) for s in (0.0, 3.0)]
    assert losses[0] == losses[1]
