"""The baselines take and give what PoseMamba does, are as large, and see as far as they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from posecli.errors import ConfigError
from posecli.lifting.config import get_lift_config
from posecli.lifting.network import PoseMamba
from posecli.training.lifting.baselines import DilatedTCN, SpaceTimeAttention, TimeLayer, build_lifter
from posecli.training.lifting.losses import mean_distance

NUM_PARAMETERS = {"posecli-lifter": 1_299_843, "tcn": 1_298_867, "attention": 1_297_555}
SMALL: dict[str, Callable[[], nn.Module]] = {
    "tcn": lambda: DilatedTCN(width=16),
    "attention": lambda: SpaceTimeAttention(width=32, depth=1, heads=2, hidden=64),
}


def clip(frames: int, *, batch: int = 1, channels: int = 3) -> Tensor:
    return torch.randn(batch, frames, 17, channels, generator=torch.Generator().manual_seed(0))


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[name]()


def frames_seen(network: nn.Module, frames: int, frame: int) -> list[int]:
    """Which frames of the input move a frame of the output."""
    joints = clip(frames).requires_grad_()
    network.eval()(joints)[0, frame].sum().backward()
    assert joints.grad is not None
    return torch.nonzero(joints.grad[0].abs().amax(dim=(1, 2))).flatten().tolist()


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_baselines_are_as_large_as_the_lifter(name: str) -> None:
    assert sum(parameter.numel() for parameter in build_lifter(name).parameters()) == NUM_PARAMETERS[name]


@pytest.mark.parametrize("frames", [1, 2, 27, 301])
@pytest.mark.parametrize("name", SMALL)
def test_every_frame_of_a_clip_of_any_length_has_an_answer(name: str, frames: int) -> None:
    lifted = small(name)(clip(frames, batch=2))
    assert lifted.shape == (2, frames, 17, 3)
    assert torch.isfinite(lifted).all()


def test_baselines_take_clips_without_scores() -> None:
    assert DilatedTCN(in_channels=2, width=16)(clip(3, channels=2)).shape == (1, 3, 17, 3)
    assert SpaceTimeAttention(in_channels=2, width=16, depth=1)(clip(3, channels=2)).shape == (1, 3, 17, 3)


def test_a_frame_of_the_tcn_sees_121_frames_to_either_side() -> None:
    network = DilatedTCN(width=16)
    assert network.receptive_field == 243
    assert frames_seen(network, 301, 150) == list(range(29, 272))
    assert frames_seen(network, 301, 0) == list(range(122))


def test_the_tcn_sees_the_last_frame_again_beyond_the_end() -> None:
    network = small("tcn").eval()
    still = clip(1).expand(1, 30, 17, 3)
    assert torch.allclose(network(still), network(clip(1)).expand(1, 30, 17, 3), atol=1e-6)


def test_dropout_leaves_a_channel_out_of_the_whole_clip() -> None:
    torch.manual_seed(0)
    layer = TimeLayer(8, 64, dilation=0, dropout=0.5)
    full = layer.eval()(torch.ones(2, 5, 8))
    seen = layer.train()(torch.ones(2, 5, 8))
    assert (seen == seen[:, :1]).all()
    is_left_out = (seen == 0) & (full > 0)
    assert 0.2 < is_left_out.float().sum() / (full > 0).sum() < 0.8
    assert not torch.equal(is_left_out[0], is_left_out[1])


def test_attention_sees_every_joint_of_every_frame() -> None:
    network = small("attention").eval()
    joints = clip(9).requires_grad_()
    network(joints)[0, 4, 3].sum().backward()
    assert joints.grad is not None
    assert (joints.grad[0].abs().amax(dim=-1) > 0).all()


def test_attention_tells_frames_and_joints_apart() -> None:
    lifted = small("attention").eval()(torch.ones(1, 5, 17, 3))[0]
    assert (lifted.diff(dim=0).abs().amax(dim=(1, 2)) > 1e-6).all()
    assert (lifted.diff(dim=1).abs().amax(dim=(0, 2)) > 1e-6).all()


@pytest.mark.parametrize("name", SMALL)
def test_clips_of_a_batch_do_not_see_each_other(name: str) -> None:
    network, joints = small(name).eval(), clip(9, batch=3)
    assert torch.allclose(network(joints)[1], network(joints[1:2])[0], atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_baselines_learn(name: str) -> None:
    network, joints = small(name), clip(5)
    true = 0.3 * joints.flip(1)  # the answer lies in other frames
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        mean_distance(network(joints), true).backward()
        optimiser.step()
    assert mean_distance(network(joints), true) < 0.5 * mean_distance(torch.zeros_like(true), true)


@pytest.mark.parametrize("scan", ["unidirectional", "bidirectional"])
def test_a_scan_after_a_colon_changes_nothing_else(scan: str) -> None:
    network = build_lifter(f"posecli-lifter:{scan}")
    assert isinstance(network, PoseMamba)
    assert network.config.scan == scan
    plain = get_lift_config("posecli-lifter")
    assert {**network.config.to_json(), "scan": plain.scan} == plain.to_json()
    assert sum(parameter.numel() for parameter in network.parameters()) == NUM_PARAMETERS["posecli-lifter"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tnc", "unknown lifter 'tnc'.*posecli-lifter.*'tcn' or 'attention'"),
        ("posecli-lifter:sideways", "unknown scan 'sideways'.*bidirectional"),
        ("posecli-lifter:", "unknown scan ''"),
        ("tcn:unidirectional", "unknown lifter 'tcn'"),
    ],
)
def test_unknown_names_say_what_there_is(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_lifter(name)
