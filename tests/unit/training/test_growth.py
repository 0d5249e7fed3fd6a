"""A grown encoder computes what the small one did, and learns in its new parts."""

from __future__ import annotations

import pytest
import torch

from posecli.encoder import CompactEncoder, EncoderConfig
from posecli.errors import ConfigError
from posecli.training.growth import grow

SMALL = EncoderConfig(widths=(8, 8, 12, 16), depths=(1, 1, 2, 1), out_channels=8, stem_channels=4)
BIG = EncoderConfig(widths=(8, 12, 16, 24), depths=(1, 2, 3, 2), out_channels=8, stem_channels=4)


def encoder(config: EncoderConfig, seed: int) -> CompactEncoder:
    """As if trained: norms with statistics and gains of their own."""
    torch.manual_seed(seed)
    made = CompactEncoder(config)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return made.eval()


def test_a_grown_encoder_computes_the_same() -> None:
    small, big = encoder(SMALL, 0), encoder(BIG, 1)
    images = torch.randn(2, 3, 64, 64)
    assert (big(images) - small(images)).abs().max() > 0.1
    big.load_state_dict(grow(small.state_dict(), big.state_dict()))
    torch.testing.assert_close(big(images), small(images), atol=1e-5, rtol=1e-5)


def test_the_new_channels_learn() -> None:
    big = encoder(BIG, 1)
    big.load_state_dict(grow(encoder(SMALL, 0).state_dict(), big.state_dict()))
    big(torch.randn(2, 3, 64, 64)).square().mean().backward()
    weight = dict(big.named_parameters())["levels.2.0.second.conv.weight"]
    assert weight.grad is not None and float(weight.grad[:, 12:].abs().sum()) > 0


def test_an_encoder_of_its_own_size_is_copied() -> None:
    state = encoder(SMALL, 0).state_dict()
    grown = grow(state, encoder(SMALL, 1).state_dict())
    assert all(torch.equal(grown[name], value) for name, value in state.items())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fit|has not"):
        grow(encoder(BIG, 0).state_dict(), encoder(SMALL, 1).state_dict())
