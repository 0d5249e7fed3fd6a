"""The fitted head."""

from __future__ import annotations

import pytest
import torch

from posecli.encoder import normalise_images
from posecli.errors import ConfigError
from posecli.pose.config import PoseConfig
from posecli.pose.heatmaps import encode
from posecli.training.batches import Batch
from posecli.training.linear_head import HeadFit, fit_linear_head
from posecli.training.models import EncoderPretraining


def test_a_head_that_made_the_targets_is_found_again() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 8), torch.randn(3)
    fit = HeadFit(8, 3)
    for _ in range(2):
        features = torch.randn(4, 8, 5, 6)
        targets = torch.einsum("kc,bchw->bkhw", weight, features) + bias[:, None, None]
        is_labelled = torch.tensor([[True, True, False]] * 3 + [[True, False, False]])
        targets[~is_labelled] = 99.0  # what is not labelled says nothing
        fit.add(features, targets, is_labelled)
    found_weight, found_bias = fit.solve()
    assert (found_weight[:2] - weight[:2]).abs().max() < 1e-3
    assert (found_bias[:2] - bias[:2]).abs().max() < 1e-3
    assert not found_weight[2].any() and not found_bias[2].any()


def _batch(config: PoseConfig, people: int) -> Batch:
    height, width = config.crop_hw
    images = torch.randint(0, 256, (people, 1, 3, height, width), dtype=torch.uint8)
    cells = torch.rand(people, 1, config.num_keypoints, 2) * torch.tensor([width / 4 - 1, height / 4 - 1])
    return Batch(images, cells, torch.rand(people, 1, config.num_keypoints) < 0.8)


def test_no_other_head_has_a_smaller_error(tiny_pose_config: PoseConfig) -> None:
    torch.manual_seed(0)
    model = EncoderPretraining(tiny_pose_config).train()
    batch = _batch(tiny_pose_config, 6)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    fit_linear_head(model, [[batch]], sigma=2.0)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    model.eval()
    features = model.encoder(normalise_images(batch.images.flatten(0, 1))).detach()
    targets = encode(batch.cells, (features.shape[2], features.shape[3]), 2.0).flatten(0, 1)
    labelled = batch.is_labelled.flatten(0, 1)[..., None, None]

    def error() -> torch.Tensor:
        return ((model.head(features) - targets).square() * labelled).sum()

    fitted = error()
    fitted.backward()
    assert model.head.bias is not None and model.head.bias.grad is not None
    assert float(model.head.bias.grad.abs().max()) < 1e-2 * float(targets.sum())
    with torch.no_grad():
        for _ in range(5):
            shift = torch.randn_like(model.head.weight) * 0.02
            model.head.weight.add_(shift)
            assert error() > fitted
            model.head.weight.sub_(shift)


def test_nobody_to_fit_on_is_said(tiny_pose_config: PoseConfig) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        fit_linear_head(EncoderPretraining(tiny_pose_config), [], sigma=2.0)
