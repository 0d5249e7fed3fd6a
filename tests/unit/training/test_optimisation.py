"""The optimiser step that every kind of training shares: who decays, who learns slower, what a checkpoint holds."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from posecli.training.detector.recipe import ScheduleConfig
from posecli.training.optimisation import Optimisation, decay_groups

RATE = 0.1


@pytest.fixture
def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"encoder": nn.Linear(2, 3), "head": nn.Linear(3, 1)})


def optimisation_of(model: nn.Module, *, own_rate: float) -> Optimisation:
    groups = decay_groups(model, 0.0, has_own_rate=lambda name: name.startswith("encoder"), own_rate=own_rate)
    schedule = ScheduleConfig(steps=2, learning_rate=RATE, warmup_steps=1)
    return Optimisation(model, groups, schedule, gradient_clip=1.0, ema_decay=0.5)


def take_step(optimisation: Optimisation) -> None:
    def add_gradients() -> float:
        loss = torch.stack([parameter.sum() for parameter in optimisation.model.parameters()]).sum()
        loss.backward()
        return float(loss.detach())

    optimisation.advance(add_gradients, name="tiny")


def test_only_matrices_decay_and_not_those_that_say_so(model: nn.ModuleDict) -> None:
    head = model["head"]
    assert isinstance(head, nn.Linear)
    head.weight.no_weight_decay = True  # type: ignore[attr-defined]
    head.bias.requires_grad = False
    decayed, kept = decay_groups(model, 0.25)
    assert decayed == {"params": [model["encoder"].weight], "factor": 1.0, "weight_decay": 0.25}
    assert kept == {"params": [model["encoder"].bias, model["head"].weight], "factor": 1.0, "weight_decay": 0.0}


@pytest.mark.parametrize("own_rate", [0.5, 1.0])
def test_groups_stay_apart_whatever_the_factor(model: nn.ModuleDict, own_rate: float) -> None:
    groups = decay_groups(model, 0.25, has_own_rate=lambda name: name.startswith("encoder"), own_rate=own_rate)
    assert [(group["factor"], group["weight_decay"]) for group in groups] == [
        (own_rate, 0.25),
        (own_rate, 0.0),
        (1.0, 0.25),
        (1.0, 0.0),
    ]


def test_a_part_learns_at_its_own_rate(model: nn.ModuleDict) -> None:
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    take_step(optimisation_of(model, own_rate=0.5))
    moved = {name: before[name] - value.detach() for name, value in model.named_parameters()}
    # the first step of Adam is as long as its rate
    torch.testing.assert_close(moved["encoder.weight"], torch.full((3, 2), 0.5 * RATE), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved["head.weight"], torch.full((1, 3), RATE), rtol=1e-3, atol=0)


def test_a_checkpoint_has_the_keys_that_old_ones_have(model: nn.ModuleDict) -> None:
    optimisation = optimisation_of(model, own_rate=1.0)
    take_step(optimisation)
    state = optimisation.state()
    assert list(state) == ["step", "model", "averaged", "optimiser"]
    other = nn.ModuleDict({"encoder": nn.Linear(2, 3), "head": nn.Linear(3, 1)})
    restored = optimisation_of(other, own_rate=1.0)
    restored.restore(deepcopy(state))  # as from disk: nothing shared
    take_step(restored)
    take_step(optimisation)
    assert restored.step == optimisation.step == 2
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
