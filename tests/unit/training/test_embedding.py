"""The fitted embedding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from posecli.encoder import normalise_images
from posecli.errors import ConfigError
from posecli.pose.config import PoseConfig
from posecli.pose.network import PoseNetwork
from posecli.training.embedding import fit_embedding


def test_features_that_are_mixed_give_the_old_tokens_again(tiny_pose_config: PoseConfig) -> None:
    torch.manual_seed(0)
    old, new = PoseNetwork(tiny_pose_config).eval(), PoseNetwork(tiny_pose_config)
    new.load_state_dict(old.state_dict())
    # the same encoder, its last channels in reverse
    encoder: Any = new.encoder
    last = encoder.smooth[0]
    order = torch.arange(tiny_pose_config.encoder.out_channels).flip(0)
    norm = last.norm
    with torch.no_grad():
        for tensor in (last.conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(tensor[order])
    new.train()
    height, width = tiny_pose_config.crop_hw
    crops = [torch.randint(0, 256, (4, 1, 3, height, width), dtype=torch.uint8) for _ in range(3)]
    explained = fit_embedding(new, old, crops)
    assert explained > 0.97 and new.training
    images = normalise_images(crops[0].flatten(0, 1))[:, None]
    with torch.no_grad():
        ours, theirs = new.eval().encode(images), old.encode(images)
    assert (ours - theirs).square().mean() < 0.05 * theirs.var()


def test_blocks_of_another_width_are_refused(tiny_pose_config: PoseConfig) -> None:
    wider = replace(tiny_pose_config, d_model=2 * tiny_pose_config.d_model)
    with pytest.raises(ConfigError, match="d_model"):
        fit_embedding(PoseNetwork(wider), PoseNetwork(tiny_pose_config), [])
