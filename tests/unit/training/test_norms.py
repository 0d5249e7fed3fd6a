"""Batch norms put in for training: they change nothing at first, and fold away at the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from posecli.people.personnet import PersonNet, PersonNetConfig
from posecli.training.norms import add_norms, fit_norms, without_norms

TINY = PersonNetConfig(width=0.1)


def pictures(seed: int) -> Tensor:
    return torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def network() -> PersonNet:
    torch.manual_seed(0)
    return PersonNet(TINY)


def norms_of(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]


def test_norms_change_nothing_at_first() -> None:
    plain, normed = network(), network()
    normed.train()
    added = add_norms(normed)
    assert len(added) == len(norms_of(normed)) > 50
    fit_norms(added, lambda: normed(pictures(0)))
    for found, expected in zip(normed(pictures(0)), plain(pictures(0)), strict=True):  # by the statistics of the batch
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    normed.eval()
    for found, expected in zip(normed(pictures(1)), plain(pictures(1)), strict=True):  # by those that were kept
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_trained_norms_fold_into_the_network_they_came_to() -> None:
    normed = network()
    normed.train()
    fit_norms(add_norms(normed), lambda: normed(pictures(0)))
    optimiser = torch.optim.SGD(normed.parameters(), lr=1e-3)
    for step in range(3):
        optimiser.zero_grad()
        centre, boxes = normed(pictures(step))
        (centre.square().mean() + boxes.abs().mean()).backward()
        optimiser.step()
    normed.eval()
    expected = normed(pictures(9))
    released = network()
    released.load_state_dict(without_norms(normed, normed.state_dict()))  # every tensor, and no other
    released.eval()
    assert not norms_of(released)
    for found, wanted in zip(released(pictures(9)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    untouched = network().state_dict()["centre.1.bias"]
    assert not torch.equal(released.state_dict()["centre.1.bias"], untouched)


def test_held_levels_get_none() -> None:
    normed = network()
    normed.train()
    normed.encoder.hold(1)
    add_norms(normed)
    assert not norms_of(normed.encoder.stem)
    assert not norms_of(normed.encoder.levels[0])
    assert norms_of(normed.encoder.levels[1])
    assert add_norms(normed) == []  # they have them
