"""Packed convolutions: the same numbers."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from torch import nn

from posecli import packed
from posecli.encoder import CompactEncoder, ConvNorm, EncoderConfig, fold_batch_norms
from posecli.mobile_encoder import MobileEncoder, MobileEncoderConfig
from posecli.packed import can_pack, pack_convolutions
from posecli.people.personnet import PersonNet, PersonNetConfig

_ENCODER = EncoderConfig(widths=(16, 32, 32, 48), depths=(1, 2, 1, 2), out_channels=32, stem_channels=8)


def _shaken(network: nn.Module) -> nn.Module:
    """In eval mode, with batch norms that do something, folded."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                assert values is not None
                nn.init.normal_(values, std=0.5)
    return fold_batch_norms(network.eval())


@pytest.fixture(autouse=True)
def _needs_the_operators() -> None:
    if not can_pack():
        pytest.skip("this torch has no oneDNN")


@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_an_encoder_gives_the_same_maps(batch: int) -> None:
    plain = _shaken(CompactEncoder(_ENCODER)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    quick = pack_convolutions(copy.deepcopy(plain))
    assert not any(isinstance(module, nn.Conv2d) for module in quick.modules())
    for size in ((64, 32), (96, 160)):
        images = torch.randn(batch, 3, *size).contiguous(memory_format=torch.channels_last)
        expected = plain(images)
        assert (quick(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.inference_mode()
def test_a_detector_with_its_heads_gives_the_same_answers() -> None:
    plain = _shaken(PersonNet(PersonNetConfig(width=0.5)))
    quick = pack_convolutions(copy.deepcopy(plain))
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    for ours, expected in zip(quick(images), plain(images), strict=True):
        assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()


@torch.inference_mode()
def test_an_encoder_with_depthwise_convolutions_gives_the_same_maps() -> None:
    plain = _shaken(MobileEncoder(MobileEncoderConfig())).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    quick = pack_convolutions(copy.deepcopy(plain))
    images = torch.randn(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    expected = plain(images)
    assert (quick(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.inference_mode()
def test_weights_are_packed_for_the_size_of_the_picture() -> None:
    """Packed for an unknown size, this one took 24 times as long as not packed at all on processors without AVX-512."""
    plain = nn.Sequential(nn.Conv2d(320, 320, 3, padding=1)).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    quick = pack_convolutions(copy.deepcopy(plain))
    images = torch.randn(5, 320, 6, 5).contiguous(memory_format=torch.channels_last)

    def seconds(network: nn.Module) -> float:
        rounds = []
        for _ in range(6):
            start = time.process_time()
            network(images)
            rounds.append(time.process_time() - start)
        return min(rounds)

    assert seconds(quick) < 3.0 * seconds(plain)


@torch.inference_mode()
def test_many_sizes_do_not_pile_up() -> None:
    plain = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)).eval()
    quick = pack_convolutions(copy.deepcopy(plain))
    for side in (*range(4, 20), 4):
        images = torch.randn(1, 8, side, 2 * side)
        assert (quick(images) - plain(images)).abs().max() <= 1e-5
    kept = next(quick.children())._weights
    assert isinstance(kept, dict) and len(kept) == 4 and (4, 8) in kept and (19, 38) in kept


def test_batch_norms_must_be_folded() -> None:
    with pytest.raises(ValueError, match="fold batch norms"):
        pack_convolutions(nn.Sequential(ConvNorm(8, 8)).eval())


def test_without_the_operators_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_OPERATORS", ("no_such_operator",))
    network = _shaken(CompactEncoder(_ENCODER))
    assert pack_convolutions(network) is network
    assert any(isinstance(module, nn.Conv2d) for module in network.modules())
