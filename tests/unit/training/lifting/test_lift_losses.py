"""PoseMamba's losses against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from posecli.training.lifting.losses import LossWeights, best_scaled, lifting_loss, mean_distance


def standing(frames: int = 2) -> torch.Tensor:
    """(1, F, 17, 3): joint j at (j, 0, 1) in every frame."""
    pose = torch.zeros(17, 3)
    pose[:, 0], pose[:, 2] = torch.arange(17), 1.0
    return pose.expand(1, frames, 17, 3).clone()


def test_distance_is_euclidean() -> None:
    moved = standing() + torch.tensor([3.0, 4.0, 0.0])
    assert float(mean_distance(moved, standing())) == pytest.approx(5.0)


def test_position_counts_its_weight() -> None:
    moved = standing() + torch.tensor([3.0, 4.0, 0.0])
    assert float(lifting_loss(moved, standing(), LossWeights(2.0, 0.0, 0.0, 0.0))) == pytest.approx(10.0)


def test_a_pose_of_another_size_is_right_but_for_its_size() -> None:
    weights = LossWeights(position=0.0, scale_free=1.0, velocity=0.0, smoothness=0.0)
    assert float(lifting_loss(0.5 * standing(), standing(), weights)) == pytest.approx(0.0, abs=1e-5)
    assert torch.allclose(best_scaled(0.5 * standing(), standing()), standing())


def test_velocity_sees_motion_alone() -> None:
    weights = LossWeights(position=0.0, scale_free=0.0, velocity=1.0, smoothness=0.0)
    elsewhere = standing(3) + 7.0
    assert float(lifting_loss(elsewhere, standing(3), weights)) == pytest.approx(0.0, abs=1e-6)
    elsewhere[:, 1] += torch.tensor([0.0, 2.0, 0.0])  # there and back: 2 in each of two differences
    assert float(lifting_loss(elsewhere, standing(3), weights)) == pytest.approx(2.0)


def test_smoothness_weighs_wrists_more_and_ignores_the_truth() -> None:
    weights = LossWeights(position=0.0, scale_free=0.0, velocity=0.0, smoothness=1.0)
    predicted = standing()
    predicted[:, 1, 13, 0] += 1.0  # the left wrist moves by 1: 4 * 1 over 17 joints and 3 axes
    assert float(lifting_loss(predicted, torch.randn(1, 2, 17, 3), weights)) == pytest.approx(4.0 / 51.0)


def test_a_single_frame_has_no_motion() -> None:
    weights = LossWeights(position=0.0, scale_free=0.0, velocity=1.0, smoothness=1.0)
    assert float(lifting_loss(standing(1), standing(1) + 1.0, weights)) == 0.0


def test_exact_predictions_have_finite_gradients() -> None:
    predicted = standing().requires_grad_()
    lifting_loss(predicted, standing(), LossWeights()).backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
