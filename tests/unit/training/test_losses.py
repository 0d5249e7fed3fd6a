"""The heatmap loss by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from posecli.pose.heatmaps import encode
from posecli.skeletons import POSECLI19
from posecli.training.losses import heatmap_loss, keypoint_weights, off_centre

SIZE = (12, 10)
WIDE = (24, 20)
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


def centred(frames: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """As `truth`, on maps large enough for peaks to lie far from their labels."""
    cells = 6 + torch.rand(2, frames, 19, 2, generator=torch.Generator().manual_seed(1)) * 8
    return cells, torch.ones(2, frames, 19, dtype=torch.bool), encode(cells, WIDE, SIGMA)


def moved_by(cells: Tensor, x: float) -> Tensor:
    """Perfect maps of points that lie x cells farther right."""
    return encode(cells + torch.tensor([x, 0.0]), WIDE, SIGMA)


def test_a_map_that_is_right_is_not_off_centre_even_where_the_border_cuts_it() -> None:
    cells, labelled, perfect = truth()
    assert off_centre(perfect, perfect, cells, labelled) == 0.0
    assert heatmap_loss(perfect, cells, labelled, sigma=SIGMA, exactness=3.0) == 0.0


def test_off_centre_is_the_distance_that_the_window_around_the_label_shows() -> None:
    cells, labelled, perfect = centred()
    # of two Gaussians' product the centre lies between theirs: squared maps have variance 1.125, the window 9
    shown = 0.3 * 9.0 / (9.0 + SIGMA**2 / 2)
    found = off_centre(moved_by(cells, 0.3), perfect, cells, labelled)
    assert float(found) == pytest.approx(0.5 * shown**2, rel=0.02)


def test_a_cell_off_costs_more_with_exactness_and_a_far_peak_does_not() -> None:
    cells, labelled, _ = centred()
    for x, is_dearer in ((1.0, True), (8.0, False)):
        maps = moved_by(cells, x)
        plain, precise = (heatmap_loss(maps, cells, labelled, sigma=SIGMA, exactness=p) for p in (0.0, 1.0))
        assert bool(precise > plain + 0.1) == is_dearer
        assert bool(precise == plain) != is_dearer


def test_an_eye_off_centre_costs_four_times_what_a_hip_does() -> None:
    cells, labelled, perfect = centred()

    def cost(name: str) -> float:
        maps, k = perfect.clone(), POSECLI19.index(name)
        maps[:, :, k] = moved_by(cells, 0.3)[:, :, k]
        return float(off_centre(maps, perfect, cells, labelled))

    assert cost("left_eye") / cost("left_hip") == pytest.approx(0.107 / 0.025, rel=0.02)


def test_exactness_pulls_towards_the_label() -> None:
    cells, labelled, perfect = centred()
    maps = moved_by(cells, 1.0).requires_grad_()
    (gradient,) = torch.autograd.grad(off_centre(maps, perfect, cells, labelled), maps)
    after = off_centre((maps - 50.0 * gradient).detach(), perfect, cells, labelled)
    assert after < off_centre(maps.detach(), perfect, cells, labelled)


def test_points_without_a_label_or_outside_the_crop_are_not_off_centre() -> None:
    cells, labelled, perfect = centred()
    maps = moved_by(cells, 1.0)
    assert off_centre(maps, perfect, cells, torch.zeros_like(labelled)) == 0.0
    outside = torch.full_like(cells, torch.nan)
    assert off_centre(maps, perfect, outside, labelled) == 0.0


def test_targets_are_made_where_the_maps_are() -> None:
    """On a device without numbers, so that no accelerator is needed: a tensor made elsewhere would be refused."""
    cells, labelled, maps = (tensor.to("meta") for tensor in truth())
    assert encode(cells, SIZE, SIGMA).device.type == "meta"
    assert heatmap_loss(maps, cells, labelled, sigma=SIGMA, steadiness=1.0).device.type == "meta"
