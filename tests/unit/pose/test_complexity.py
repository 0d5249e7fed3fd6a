"""Counts: by hand for a small network, and the paper's configs as README states them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from posecli.pose.complexity import measure_complexity
from posecli.pose.config import ViTPoseConfig, get_pose_config
from posecli.pose.network import PoseNetwork


def test_glsmamba_b_runs_at_random_weights_and_costs_what_readme_says() -> None:
    """The paper: 9.8 M trainable, 138.9 G. Ours counts separate scan weights per direction, and what layer counters miss."""
    torch.manual_seed(0)
    network = PoseNetwork(get_pose_config("glsmamba-b")).eval()
    cost = measure_complexity(network)
    assert cost.num_trainable / 1e6 == pytest.approx(10.54, abs=0.005)
    assert cost.num_visible / 1e6 == pytest.approx(10.28, abs=0.005)
    assert cost.layers / 1e9 == pytest.approx(139.75, abs=0.005)
    assert cost.multiply_adds / 1e9 == pytest.approx(154.26, abs=0.005)


def test_glsmamba_h_runs_at_its_widths() -> None:
    """All of it but the depth of its transformer, which would only repeat the same layer 32 times (2.6 GB)."""
    torch.manual_seed(0)
    config = get_pose_config("glsmamba-h")
    assert isinstance(config.encoder, ViTPoseConfig)
    assert config.encoder.depth == 32
    shallow = replace(config, encoder=replace(config.encoder, depth=1), crop_hw=(64, 48), window_hw=(8, 6))
    network = PoseNetwork(shallow).eval()
    with torch.no_grad():
        heatmaps = network(torch.randn(1, 5, 3, 64, 48))
    assert heatmaps.shape == (1, 5, 19, 16, 12)
    assert torch.isfinite(heatmaps).all()


@pytest.mark.parametrize(
    ("name", "millions"), [("glsmamba-m", 6.56), ("glsmamba-s", 6.56), ("glsmamba-xs", 2.42), ("glsmamba-head", 2.42)]
)
def test_small_networks_have_the_parameters_that_readme_says(name: str, millions: float) -> None:
    network = PoseNetwork(get_pose_config(name))
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


def test_counts_add_up_by_hand() -> None:
    """A network whose blocks are gone: encoder, token projection and head are left."""
    config = replace(
        get_pose_config("glsmamba-s"), num_global_blocks=0, num_local_blocks=0, crop_hw=(64, 64), num_frames=2
    )
    cost = measure_complexity(PoseNetwork(config).eval())
    tokens, width = 2 * 16 * 16, config.d_model
    assert cost.by_part["blocks"] == tokens * (config.encoder.out_channels * width + width * 19)
    assert cost.hidden == 0
    stem = 2 * 32 * 32 * 56 * 3 * 9
    assert cost.by_part["encoder"] > stem
