"""The cheap checks a re-implementation of GLSMamba should pass, at sizes that take milliseconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from posecli.encoder import CompactEncoder, EncoderConfig, fold_batch_norms
from posecli.errors import ConfigError, WeightsError
from posecli.pose.blocks import ChannelAttention, GlobalBlock, LocalBlock, Modulation, ScanMerging
from posecli.pose.config import POSE_CONFIGS, PoseConfig, ViTPoseConfig, get_pose_config
from posecli.pose.network import PoseNetwork, sine_cosine_table
from posecli.pose.vitpose import ViTPoseEncoder, load_vitpose

TINY = PoseConfig(
    encoder=EncoderConfig(widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), out_channels=16, stem_channels=8),
    crop_hw=(64, 32),
    num_frames=3,
    d_model=16,
    num_global_blocks=1,
    num_local_blocks=1,
    d_state=2,
    dt_rank=2,
    window_hw=(8, 4),
    merge_width=4,
)
FROZEN = replace(
    TINY,
    encoder=ViTPoseConfig(embed_dim=32, depth=2, num_heads=2, out_channels=16),
    is_encoder_frozen=True,
)


def tokens(config: PoseConfig, seed: int = 0, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.num_frames, *config.grid_hw, config.d_model, generator=generator)


def test_all_frames_come_out_and_one_frame_equals_its_row() -> None:
    torch.manual_seed(0)
    network = PoseNetwork(TINY).eval()
    images = torch.randn(2, 3, 3, 64, 32)
    with torch.no_grad():
        heatmaps, middle = network(images), network(images, frame=1)
    assert heatmaps.shape == (2, 3, 19, 16, 8)
    assert torch.equal(middle[:, 0], heatmaps[:, 1])


def test_merging_starts_as_plain_addition() -> None:
    torch.manual_seed(0)
    merging = ScanMerging(TINY)
    by_type = torch.randn(2, 3, 3, 16, 8, 16)
    assert (merging(by_type) - by_type.sum(dim=1)).abs().max() < 1e-6


def test_modulation_learns_offsets_masks_and_weights() -> None:
    torch.manual_seed(0)
    step = Modulation(16, 4)
    nn.init.normal_(step.predict.weight, std=0.3)
    base, added = torch.randn(2, 1, 3, 8, 8, 16, requires_grad=True)
    step(base, added).square().sum().backward()
    for parameter in step.parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0


def test_channel_attention_sees_all_frames() -> None:
    torch.manual_seed(0)
    attention = ChannelAttention(3, 16, 0.5)
    x = torch.randn(1, 3, 4, 4, 16)
    changed = x.clone()
    changed[:, 2] += 3.0
    assert not torch.allclose(attention(x)[:, 0], attention(changed)[:, 0])


@pytest.mark.parametrize("block", [GlobalBlock, LocalBlock])
def test_blocks_reach_from_any_token_to_any_other(block: type[GlobalBlock | LocalBlock]) -> None:
    """Global blocks always; local ones because their state is carried from window to window."""
    torch.manual_seed(0)
    module = block(TINY, 0.0).eval()
    x = tokens(TINY, batch=1).requires_grad_()
    module(x)[0, 0, 0, 0].sum().backward()
    assert x.grad is not None
    assert float(x.grad[0, -1, -1, -1].abs().max()) > 0


def test_a_reset_state_stays_inside_its_window() -> None:
    torch.manual_seed(0)
    block = LocalBlock(replace(TINY, reset_state_at_window=True), 0.0)
    x = torch.randn(1, 3, 16, 8, 16, requires_grad=True)
    block.selective_scan(x)[0, 0, 0, 0, 0].sum().backward()
    assert x.grad is not None
    assert float(x.grad[0, :, :8, :4].abs().max()) > 0
    assert float(x.grad[0, :, 8:].abs().max()) == 0 and float(x.grad[0, :, :, 4:].abs().max()) == 0


def test_t_of_1_makes_unified_and_spatial_scans_the_same() -> None:
    torch.manual_seed(0)
    one = replace(TINY, num_frames=1)
    scan = GlobalBlock(one, 0.0).selective_scan
    assert torch.equal(scan.order[0], scan.order[1])
    assert torch.equal(scan.order[2], scan.order[1])


def test_a_single_frame_reaches_every_weight_and_every_token() -> None:
    torch.manual_seed(0)
    network = PoseNetwork(TINY)
    images = torch.randn(2, 1, 3, 64, 32)
    heatmaps = network(images)
    assert heatmaps.shape == (2, 1, 19, 16, 8)
    assert torch.equal(network.eval()(images, frame=1), network(images))
    heatmaps.square().mean().backward()
    unused = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not unused


@pytest.mark.parametrize("block", [GlobalBlock, LocalBlock])
def test_a_single_frame_equals_a_network_made_for_one(block: type[GlobalBlock | LocalBlock]) -> None:
    config = replace(TINY, has_channel_attention=False)
    torch.manual_seed(0)
    ours, single = block(config, 0.0).eval(), block(replace(config, num_frames=1), 0.0).eval()
    single.load_state_dict(ours.state_dict())
    x = tokens(config)[:, :1]
    with torch.no_grad():
        assert torch.equal(ours(x), single(x))


def test_channel_attention_takes_a_single_frame_for_a_clip_that_stands_still() -> None:
    torch.manual_seed(0)
    attention = ChannelAttention(3, 16, 0.5)
    x = torch.randn(2, 1, 4, 4, 16)
    torch.testing.assert_close(attention(x)[:, 0], attention(x.expand(-1, 3, -1, -1, -1))[:, 1])


def test_freezing_leaves_the_encoder_and_its_statistics_alone() -> None:
    torch.manual_seed(0)
    network = PoseNetwork(FROZEN).train()
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.1)
    network(torch.randn(1, 3, 3, 64, 32)).square().mean().backward()
    optimiser.step()
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.encoder.state_dict().items())
    assert network.head.weight.grad is not None


def test_folding_batch_norms_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder = CompactEncoder(EncoderConfig(widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), out_channels=16))
    images = torch.randn(2, 3, 64, 32)
    encoder(images)  # moves the running statistics away from their start
    encoder.eval()
    with torch.no_grad():
        before = encoder(images)
        fold_batch_norms(encoder)
        after = encoder(images)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    assert torch.allclose(before, after, atol=1e-4)


def test_folding_refuses_a_training_network() -> None:
    with pytest.raises(ValueError, match="eval"):
        fold_batch_norms(CompactEncoder(EncoderConfig()))


def test_the_encoder_commutes_with_mirrors_when_its_weights_do() -> None:
    """Key-frame equivariance, in the form that holds for any weights: symmetric kernels give mirrored features."""
    torch.manual_seed(0)
    encoder = CompactEncoder(EncoderConfig(widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), out_channels=16)).eval()
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = (module.weight.data + module.weight.data.flip(-1)) / 2
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        plain, mirrored = encoder(images), encoder(images.flip(-1)).flip(-1)
    # stride-2 convolutions sample even columns, a mirror the odd ones: equal up to one column and the border
    difference = (plain[..., 8:-8] - mirrored[..., 8:-8]).abs().mean() / plain.abs().mean()
    shuffled = (plain[..., 8:-8] - mirrored[..., 8:-8].flip(-2)).abs().mean() / plain.abs().mean()
    assert difference < shuffled


def test_position_table_tells_every_position_apart() -> None:
    table = sine_cosine_table(16, 8, 16).reshape(-1, 16)
    distances = torch.cdist(table, table) + torch.eye(len(table)) * 9
    assert float(distances.min()) > 1e-3


@pytest.mark.parametrize("name", POSE_CONFIGS)
def test_configs_survive_json(name: str) -> None:
    config = get_pose_config(name)
    assert PoseConfig.from_json(config.to_json()) == config


def test_paper_configs_have_its_numbers() -> None:
    config = get_pose_config("glsmamba-b")
    assert config.num_frames * np.prod(config.grid_hw) == 15_360
    assert (config.num_global_blocks, config.num_local_blocks, config.window_hw) == (4, 2, (8, 6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_hw": (7, 4)}, "window_hw"),
        ({"crop_hw": (60, 32)}, "crop_hw"),
        ({"d_model": 20}, "multiple of 16"),
        ({"scan_types": ()}, "scan_types"),
        ({"num_frames": 0}, "num_frames"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]


def test_unknown_config_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="glsmamba-z") as caught:
        get_pose_config("glsmamba-z")
    assert "glsmamba-s" in (caught.value.hint or "")


def test_vitpose_reads_a_public_checkpoint_layout_and_refuses_another_size() -> None:
    config = ViTPoseConfig(embed_dim=32, depth=2, num_heads=2, out_channels=16)
    torch.manual_seed(0)
    source, target = ViTPoseEncoder(config, (64, 32)), ViTPoseEncoder(config, (64, 32))
    public = {}
    for name, value in source.state_dict().items():
        if name.startswith("deconv_layers"):
            public[f"keypoint_head.{name}"] = value
        else:
            public["backbone." + name.replace("patch_embed.", "patch_embed.proj.")] = value
    load_vitpose(target, public)
    images = torch.randn(1, 3, 64, 32)
    source.eval(), target.eval()
    assert torch.equal(source(images), target(images))
    with pytest.raises(WeightsError, match="not a ViTPose checkpoint"):
        load_vitpose(ViTPoseEncoder(replace(config, embed_dim=48, num_heads=3), (64, 32)), public)
